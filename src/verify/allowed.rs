//! Reads the SSH keys that may sign: the ALLOWED SIGNERS format of ssh-keygen(1).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

use super::shown;
use crate::glob;

/// An RSA key needs at least this many bits.
pub(super) const MIN_RSA_BITS: u32 = 2048;

/// One line of the file: a key, its owner, and its limits.
#[derive(Clone, Debug)]
pub(super) struct AllowedSigner {
    /// The principals as in the file. They are only a name: Git accepts a key whatever its
    /// principals are.
    pub(super) principals: String,
    pub(super) key: KeyData,
    pub(super) limits: Limits,
}

/// What a key may sign, and when. Without limits, anything at any time.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits {
    /// Patterns for the namespace. One must match, and no negated one may match. None allows every
    /// namespace.
    namespaces: Option<Vec<String>>,
    /// The first second, and the last second below, at which a signature is valid.
    pub(super) valid_after: Option<Timestamp>,
    pub(super) valid_before: Option<Timestamp>,
}

/// An error in a file, and its line. A line that cannot be read is an error, because it may be the
/// one that limits a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct LineError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// Reads a file.
pub(super) fn parse(text: &str) -> Result<Vec<AllowedSigner>, LineError> {
    text.lines()
        .map(str::trim)
        .enumerate()
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            AllowedSigner::parse(line).map_err(|problem| LineError {
                line: index + 1,
                problem,
            })
        })
        .collect()
}

impl AllowedSigner {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let (principals, rest) = match line.strip_prefix('"') {
            // The quotes must surround the principals as a whole.
            Some(line) => match line.split_once('"') {
                Some((principals, rest)) if rest.starts_with([' ', '\t']) => {
                    (principals, rest.trim_start())
                }
                _ => {
                    return Err(
                        "its principals must be in double quotes as a whole, or have no quotes",
                    );
                }
            },
            None => field(line)?,
        };
        if principals.is_empty() {
            return Err("it names no principal");
        }
        // As OpenSSH does: a text that is not a key must be options.
        let (key, limits) = match key(rest) {
            Ok(key) => (key, Limits::default()),
            Err(problem) if is_algorithm(rest) => return Err(problem),
            Err(_) => {
                let (options, rest) = field(rest)?;
                let limits = Limits::parse(options)?;
                (key(rest)?, limits)
            }
        };
        Ok(Self {
            principals: shown(principals),
            key,
            limits,
        })
    }
}

impl Limits {
    /// Reads `namespaces="git,file",valid-before="20300101Z"`.
    fn parse(mut text: &str) -> Result<Self, &'static str> {
        let mut limits = Self::default();
        loop {
            let end = text.find(['=', ',']).unwrap_or(text.len());
            let (name, rest) = text.split_at(end);
            let Some(rest) = rest.strip_prefix('=') else {
                return Err(match name.to_ascii_lowercase().as_str() {
                    "cert-authority" => "cert-authority is not supported: list the keys themselves",
                    _ => "it has no public key, or an unknown option before it",
                });
            };
            let (value, rest) = rest
                .strip_prefix('"')
                .and_then(|rest| rest.split_once('"'))
                .ok_or("the value of an option is not in double quotes")?;
            if value.contains('\\') {
                return Err("a backslash in the value of an option is not supported");
            }
            match name.to_ascii_lowercase().as_str() {
                "namespaces" => once(&mut limits.namespaces, patterns(value))?,
                "valid-after" => once(&mut limits.valid_after, time(value)?)?,
                "valid-before" => once(&mut limits.valid_before, time(value)?)?,
                _ => return Err("it has an unknown option"),
            }
            text = match rest.strip_prefix(',') {
                Some(rest) => rest,
                None if rest.is_empty() => break,
                None => return Err("its options are not separated by commas"),
            };
        }
        match (limits.valid_after, limits.valid_before) {
            (Some(after), Some(before)) if before <= after => {
                Err("valid-before is not later than valid-after")
            }
            _ => Ok(limits),
        }
    }

    /// Whether the key may sign in this namespace.
    pub(super) fn is_for(&self, namespace: &str) -> bool {
        let Some(patterns) = &self.namespaces else {
            return true;
        };
        let has = |negated| {
            patterns.iter().any(|pattern| {
                let (is_negated, glob) = match pattern.strip_prefix('!') {
                    Some(glob) => (true, glob),
                    None => (false, pattern.as_str()),
                };
                is_negated == negated && glob::matches(glob.as_bytes(), namespace.as_bytes())
            })
        };
        has(false) && !has(true)
    }
}

/// Splits the text at the next space outside double quotes.
fn field(text: &str) -> Result<(&str, &str), &'static str> {
    let mut quoted = false;
    let end = text.find(|c: char| {
        quoted ^= c == '"';
        !quoted && c.is_ascii_whitespace()
    });
    match end {
        Some(end) => Ok((&text[..end], text[end..].trim_start())),
        None => Err("it has no public key"),
    }
}

/// Whether the text begins with a key and not with an option.
fn is_algorithm(text: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"]
        .iter()
        .any(|prefix| text.starts_with(prefix))
}

fn key(text: &str) -> Result<KeyData, &'static str> {
    let mut fields = text.split_ascii_whitespace();
    let (Some(algorithm), Some(body)) = (fields.next(), fields.next()) else {
        return Err("it has no public key");
    };
    let key = PublicKey::from_openssh(&format!("{algorithm} {body}"))
        .map_err(|_| "its public key cannot be read")?;
    match key.key_data() {
        KeyData::Rsa(rsa) if rsa.key_size() < MIN_RSA_BITS => {
            Err("its RSA key has fewer than 2048 bits")
        }
        KeyData::Ecdsa(_)
        | KeyData::Ed25519(_)
        | KeyData::Rsa(_)
        | KeyData::SkEcdsaSha2NistP256(_)
        | KeyData::SkEd25519(_) => Ok(key.key_data().clone()),
        _ => Err("its kind of public key is not supported"),
    }
}

fn patterns(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

/// Reads `YYYYMMDD`, `YYYYMMDDHHMM` or `YYYYMMDDHHMMSS`, with or without `Z`. The time is always
/// UTC. Without `Z`, OpenSSH uses the local time zone, which has no meaning in a pod.
fn time(text: &str) -> Result<Timestamp, &'static str> {
    const PROBLEM: &str = "a time is not written YYYYMMDD[HHMM[SS]][Z]";
    let digits = text.strip_suffix(['Z', 'z']).unwrap_or(text);
    let is_time = matches!(digits.len(), 8 | 12 | 14) && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_time {
        return Err(PROBLEM);
    }
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or("0").parse::<i8>();
    let parts = || {
        let year = digits[..4].parse().ok()?;
        let [month, day, hour, minute, second] = [(4, 6), (6, 8), (8, 10), (10, 12), (12, 14)]
            .map(|(from, to)| part(from, to).unwrap_or(-1));
        DateTime::new(year, month, day, hour, minute, second, 0).ok()
    };
    let time = parts().ok_or(PROBLEM)?;
    let zoned = time.to_zoned(TimeZone::UTC).map_err(|_| PROBLEM)?;
    Ok(zoned.timestamp())
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), &'static str> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err("it has an option twice"),
    }
}
