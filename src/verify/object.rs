//! Commits and tags as Git stores them: what was signed, and the signature.

use jiff::Timestamp;

use super::MAX_SIGNATURE;
use super::refusal::Why;

/// The header of a commit's signature.
const SIGNATURE: &[u8] = b"gpgsig";

/// That of a signature over the same commit in a SHA-256 repository: no part of what was signed here.
const OTHER_SIGNATURE: &[u8] = b"gpgsig-sha256";

/// What was signed, and how.
#[derive(Debug)]
pub(super) struct Signed {
    /// The object without its signature.
    pub(super) payload: Vec<u8>,
    pub(super) signature: Signature,
    /// When it was committed or tagged, by its own account.
    pub(super) at: Option<Timestamp>,
}

/// A signature in its armour.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signature {
    Ssh(String),
    OpenPgp(String),
}

/// What a tag says of itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    /// The id of what is tagged, in hexadecimal.
    pub(super) target: &'a [u8],
    /// `commit`, as a rule.
    pub(super) kind: &'a [u8],
    pub(super) name: &'a [u8],
}

/// Takes a commit apart. The signature is the header `gpgsig`; everything else is what was signed.
pub(super) fn commit(raw: &[u8]) -> Result<Signed, Why> {
    let (headers, body) = headers(raw)?;
    let mut payload = Vec::with_capacity(raw.len());
    let (mut signature, mut other) = (None, false);
    for header in &headers {
        let slot_is_taken = match header.name {
            SIGNATURE => signature.replace(header).is_some(),
            OTHER_SIGNATURE => std::mem::replace(&mut other, true),
            // Git passes over any header that begins so: nobody would have signed it.
            name if name.starts_with(SIGNATURE) => {
                return Err(Why::Object("it has an unknown header of signatures"));
            }
            _ => {
                payload.extend_from_slice(header.raw);
                continue;
            }
        };
        if slot_is_taken {
            return Err(Why::Object("it has two signatures"));
        }
    }
    payload.extend_from_slice(body);
    let signature = signature.ok_or(Why::Unsigned)?;
    Ok(Signed {
        payload,
        signature: Signature::read(&signature.text())?,
        at: time(&headers, b"committer"),
    })
}

/// Takes a tag apart. The signature is the end of the message, from the last line on that begins one.
pub(super) fn tag(raw: &[u8]) -> Result<(Signed, Tag<'_>), Why> {
    let (headers, body) = headers(raw)?;
    if headers.iter().any(|h| h.name.starts_with(SIGNATURE)) {
        return Err(Why::Object("it has a signature among its headers"));
    }
    // At these places, for Git as well.
    let fields: [&[u8]; 3] = [b"object", b"type", b"tag"];
    let mut values = fields.iter().zip(&headers).map(|(field, header)| {
        let is_field = header.name == *field && !header.value.contains(&b'\n');
        is_field.then_some(header.value)
    });
    let mut value = || values.next().flatten().ok_or(Why::Object("it is no tag"));
    let inside = Tag {
        target: value()?,
        kind: value()?,
        name: value()?,
    };
    let mut at = raw.len() - body.len();
    let mut begin = None;
    for line in lines(body) {
        if line.starts_with(b"-----BEGIN ") {
            begin = Some(at);
        }
        at += line.len();
    }
    let (payload, signature) = raw.split_at(begin.ok_or(Why::Unsigned)?);
    let signed = Signed {
        payload: payload.to_vec(),
        signature: Signature::read(signature)?,
        at: time(&headers, b"tagger"),
    };
    Ok((signed, inside))
}

impl Signature {
    /// Finds out what kind an armour is of. It must be one, and nothing beside it: what follows a
    /// signature is not signed.
    fn read(text: &[u8]) -> Result<Self, Why> {
        if text.len() > MAX_SIGNATURE {
            return Err(Why::Unreadable("it is too long"));
        }
        let text = std::str::from_utf8(text).map_err(|_| Why::Unreadable("it is not text"))?;
        let text = text.trim_end();
        let kind = text
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.split_once("-----"))
            .map(|(kind, _)| kind)
            .ok_or(Why::Unreadable("it has no armour"))?;
        let is_one = text.ends_with(&format!("-----END {kind}-----"))
            && text.matches("-----BEGIN ").count() == 1
            && text.matches("-----END ").count() == 1;
        let signature = match kind {
            "SSH SIGNATURE" => Self::Ssh(text.to_owned()),
            "PGP SIGNATURE" => Self::OpenPgp(text.to_owned()),
            "SIGNED MESSAGE" => return Err(Why::Unsupported("an X.509 certificate")),
            _ => return Err(Why::Unreadable("its armour is of no known kind")),
        };
        match is_one {
            true => Ok(signature),
            false => Err(Why::Unreadable("its armour does not end where it does")),
        }
    }
}

/// One header, with its lines that go on.
struct Header<'a> {
    name: &'a [u8],
    /// What follows the name, without the last line's end.
    value: &'a [u8],
    /// All of it, with the last line's end.
    raw: &'a [u8],
}

impl Header<'_> {
    /// The value, without the space that begins each further line.
    fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.value.len());
        for (index, line) in lines(self.value).enumerate() {
            text.extend_from_slice(&line[usize::from(index > 0)..]);
        }
        text
    }
}

/// The headers, and the rest, which the empty line between them begins.
fn headers(raw: &[u8]) -> Result<(Vec<Header<'_>>, &[u8]), Why> {
    let mut headers: Vec<Header<'_>> = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for line in lines(raw) {
        if line == b"\n" {
            break;
        }
        if line.last() != Some(&b'\n') || line.contains(&0) {
            return Err(Why::Object("its headers do not end"));
        }
        let goes_on = line[0] == b' ';
        if goes_on && headers.pop().is_none() {
            return Err(Why::Object("its first header has no name"));
        }
        if !goes_on {
            begin = end;
        }
        end += line.len();
        let whole = &raw[begin..end];
        let name = whole.split(|b| matches!(b, b' ' | b'\n')).next();
        let name = name.unwrap_or_default();
        let value = &whole[name.len()..whole.len() - 1];
        headers.push(Header {
            name,
            value: value.strip_prefix(b" ").unwrap_or(value),
            raw: whole,
        });
    }
    Ok((headers, &raw[end..]))
}

/// The time at the end of `committer Name <address> 1700000000 +0100`.
fn time(headers: &[Header<'_>], name: &[u8]) -> Option<Timestamp> {
    let header = headers.iter().find(|header| header.name == name)?;
    let end = header.value.iter().rposition(|&b| b == b'>')?;
    let seconds = std::str::from_utf8(&header.value[end + 1..]).ok()?;
    let seconds = seconds.split_ascii_whitespace().next()?.parse().ok()?;
    Timestamp::from_second(seconds).ok()
}

/// The lines of `text`, each with its end.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|&byte| byte == b'\n')
}
