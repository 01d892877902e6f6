//! Splits stored commits and tags into the signed bytes and the signature.

use jiff::Timestamp;

use super::MAX_SIGNATURE;
use super::refusal::SignatureProblem;

/// The header of a commit's signature.
const SIGNATURE: &[u8] = b"gpgsig";

/// The header of a signature over the SHA-256 form of the same commit. The `gpgsig` signature does
/// not cover it.
const OTHER_SIGNATURE: &[u8] = b"gpgsig-sha256";

/// The signed bytes and their signature.
#[derive(Debug)]
pub(super) struct Signed {
    /// The object without its signature.
    pub(super) payload: Vec<u8>,
    pub(super) signature: Signature,
    /// The time of the commit or tag, as the object says.
    pub(super) at: Option<Timestamp>,
}

/// A signature in its armour.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Signature {
    Ssh(String),
    OpenPgp(String),
}

/// The headers of a tag.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    /// The id of the tagged object, in hexadecimal.
    pub(super) target: &'a [u8],
    /// The type of the tagged object, usually `commit`.
    pub(super) kind: &'a [u8],
    pub(super) name: &'a [u8],
}

/// Splits a commit. The signature is the header `gpgsig`. All other bytes are signed.
pub(super) fn commit(raw: &[u8]) -> Result<Signed, SignatureProblem> {
    let (headers, body) = headers(raw)?;
    let mut payload = Vec::with_capacity(raw.len());
    let (mut signature, mut other) = (None, false);
    for header in &headers {
        let slot_is_taken = match header.name {
            SIGNATURE => signature.replace(header).is_some(),
            OTHER_SIGNATURE => std::mem::replace(&mut other, true),
            // Git skips every header that begins like this, so no signature covers it.
            name if name.starts_with(SIGNATURE) => {
                return Err(SignatureProblem::Object(
                    "it has an unknown signature header",
                ));
            }
            _ => {
                payload.extend_from_slice(header.raw);
                continue;
            }
        };
        if slot_is_taken {
            return Err(SignatureProblem::Object("it has two signatures"));
        }
    }
    payload.extend_from_slice(body);
    let signature = signature.ok_or(SignatureProblem::Unsigned)?;
    Ok(Signed {
        payload,
        signature: Signature::read(&signature.text())?,
        at: time(&headers, b"committer"),
    })
}

/// Splits a tag. The signature is the end of the message, from the last line that begins a
/// signature.
pub(super) fn tag(raw: &[u8]) -> Result<(Signed, Tag<'_>), SignatureProblem> {
    let (headers, body) = headers(raw)?;
    if headers.iter().any(|h| h.name.starts_with(SIGNATURE)) {
        return Err(SignatureProblem::Object(
            "it has a signature among its headers",
        ));
    }
    // Git also reads these headers by their position.
    let fields: [&[u8]; 3] = [b"object", b"type", b"tag"];
    let mut values = fields.iter().zip(&headers).map(|(field, header)| {
        let is_field = header.name == *field && !header.value.contains(&b'\n');
        is_field.then_some(header.value)
    });
    let mut value = || {
        values
            .next()
            .flatten()
            .ok_or(SignatureProblem::Object("it is not a tag"))
    };
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
    let (payload, signature) = raw.split_at(begin.ok_or(SignatureProblem::Unsigned)?);
    let signed = Signed {
        payload: payload.to_vec(),
        signature: Signature::read(signature)?,
        at: time(&headers, b"tagger"),
    };
    Ok((signed, inside))
}

impl Signature {
    /// Reads the kind of armour. The text must be one armour and nothing else, because text after a
    /// signature is not signed.
    fn read(text: &[u8]) -> Result<Self, SignatureProblem> {
        if text.len() > MAX_SIGNATURE {
            return Err(SignatureProblem::Unreadable("it is too long"));
        }
        let text = std::str::from_utf8(text)
            .map_err(|_| SignatureProblem::Unreadable("it is not text"))?;
        let text = text.trim_end();
        let kind = text
            .strip_prefix("-----BEGIN ")
            .and_then(|rest| rest.split_once("-----"))
            .map(|(kind, _)| kind)
            .ok_or(SignatureProblem::Unreadable("it has no armour"))?;
        let is_one = text.ends_with(&format!("-----END {kind}-----"))
            && text.matches("-----BEGIN ").count() == 1
            && text.matches("-----END ").count() == 1;
        let signature = match kind {
            "SSH SIGNATURE" => Self::Ssh(text.to_owned()),
            "PGP SIGNATURE" => Self::OpenPgp(text.to_owned()),
            "SIGNED MESSAGE" => return Err(SignatureProblem::Unsupported("an X.509 certificate")),
            _ => {
                return Err(SignatureProblem::Unreadable(
                    "its kind of armour is unknown",
                ));
            }
        };
        match is_one {
            true => Ok(signature),
            false => Err(SignatureProblem::Unreadable(
                "it is not exactly one complete block of armour",
            )),
        }
    }
}

/// One header with its continuation lines.
struct Header<'a> {
    name: &'a [u8],
    /// The text after the name, without the end of the last line.
    value: &'a [u8],
    /// All bytes, with the end of the last line.
    raw: &'a [u8],
}

impl Header<'_> {
    /// The value, without the space at the start of each continuation line.
    fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.value.len());
        for (index, line) in lines(self.value).enumerate() {
            text.extend_from_slice(&line[usize::from(index > 0)..]);
        }
        text
    }
}

/// Splits an object into the headers, and the rest from the empty line on.
fn headers(raw: &[u8]) -> Result<(Vec<Header<'_>>, &[u8]), SignatureProblem> {
    let mut headers: Vec<Header<'_>> = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for line in lines(raw) {
        if line == b"\n" {
            break;
        }
        if line.last() != Some(&b'\n') || line.contains(&0) {
            return Err(SignatureProblem::Object("its headers do not end"));
        }
        let goes_on = line[0] == b' ';
        if goes_on && headers.pop().is_none() {
            return Err(SignatureProblem::Object("its first header has no name"));
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

/// The time at the end of a line such as `committer Name <address> 1700000000 +0100`.
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
