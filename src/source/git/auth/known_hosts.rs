//! Which host keys are known: OpenSSH's `known_hosts` (sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT").

use ring::hmac;
use ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use ssh_key::{Algorithm, HashAlg, PublicKey};

use crate::glob;

/// The lines of a `known_hosts` file. Certificates of host authorities are not supported: towline
/// asks no server for one, so it refuses a host that only an authority vouches for.
pub(in crate::source::git) struct KnownHosts(Vec<Entry>);

/// The problem with a host for which the file has only an authority.
const ONLY_AUTHORITY: &str = "it has an authority for the host (@cert-authority) and none of the \
                              host's own keys, and host certificates are not read: add the output \
                              of ssh-keyscan, once you have made sure that it is right";

/// How a server's key compares with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source::git) enum HostKey {
    /// The file has this key for the host.
    Known,
    /// The file has no line for the host.
    Unknown,
    /// The file has other keys for the host.
    Changed,
    /// A line marks the key as revoked.
    Revoked,
}

impl KnownHosts {
    /// Reads a file. The error says what is wrong. A line that cannot be read is an error, because
    /// the line may revoke a key.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let lines: Vec<Entry> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| parse(line).ok_or("a line in it is not in the known_hosts format"))
            .collect::<Result<_, _>>()?;
        let has = |marker: Option<&Marker>| lines.iter().any(|line| line.marker() == marker);
        match (has(None), has(Some(&Marker::CertAuthority))) {
            (true, _) => Ok(Self(lines)),
            (false, true) => Err(ONLY_AUTHORITY),
            (false, false) => Err("it holds no host key"),
        }
    }

    /// A problem with the file's lines for a host, found before the connection is made.
    pub(super) fn problem(&self, host: &str, port: u16) -> Option<&'static str> {
        let name = name(host, port);
        let has = |marker: Option<&Marker>| self.lines(&name).any(|line| line.marker() == marker);
        (has(Some(&Marker::CertAuthority)) && !has(None)).then_some(ONLY_AUTHORITY)
    }

    /// Whether the file has a key for a host.
    pub(super) fn has_key_of(&self, host: &str, port: u16) -> bool {
        let name = name(host, port);
        self.lines(&name).any(|line| line.marker().is_none())
    }

    /// Compares `key` with the lines for a host.
    pub(in crate::source::git) fn judge(&self, host: &str, port: u16, key: &PublicKey) -> HostKey {
        let name = name(host, port);
        let is_key = |line: &&Entry| line.public_key().key_data() == key.key_data();
        let has = |marker: Option<&Marker>| {
            let mut lines = self.lines(&name).filter(is_key);
            lines.any(|line| line.marker() == marker)
        };
        if has(Some(&Marker::Revoked)) {
            HostKey::Revoked
        } else if has(None) {
            HostKey::Known
        } else if self.lines(&name).any(|line| line.marker().is_none()) {
            HostKey::Changed
        } else {
            HostKey::Unknown
        }
    }

    /// The lines for the host called `name`.
    fn lines<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.0.iter().filter(move |line| is_for(line, name))
    }

    /// The algorithms of a host's known keys. The client must ask the server for one of these,
    /// because the server may also have keys of other kinds. None if the file has no key for the
    /// host.
    pub(in crate::source::git) fn algorithms(&self, host: &str, port: u16) -> Vec<Algorithm> {
        let name = name(host, port);
        let mut found = Vec::new();
        let hosts = self.lines(&name).filter(|line| line.marker().is_none());
        for algorithm in hosts.map(|line| line.public_key().algorithm()) {
            let signatures = match algorithm {
                // An RSA key can sign with several hashes. SHA-1 is left out.
                Algorithm::Rsa { .. } => [HashAlg::Sha512, HashAlg::Sha256]
                    .map(|hash| Algorithm::Rsa { hash: Some(hash) })
                    .to_vec(),
                other => vec![other],
            };
            for signature in signatures {
                if !found.contains(&signature) {
                    found.push(signature);
                }
            }
        }
        found
    }
}

/// Reads a line. None if the line does not have the format.
fn parse(line: &str) -> Option<Entry> {
    // OpenSSH takes any white space between fields, and any text as a comment. The ssh-key crate
    // takes neither, so the line is normalised first.
    let count = 3 + usize::from(line.starts_with('@'));
    let fields: Vec<&str> = line.split_ascii_whitespace().take(count).collect();
    let entry: Entry = fields.join(" ").parse().ok()?;
    let is_whole = match entry.host_patterns() {
        HostPatterns::Patterns(patterns) => !patterns.iter().any(|p| matches!(&**p, "" | "!")),
        HostPatterns::HashedName { .. } => true,
    };
    is_whole.then_some(entry)
}

/// Whether a line is for the host called `name`: one pattern must match, and no negated pattern.
fn is_for(entry: &Entry, name: &str) -> bool {
    let matches =
        |pattern: &str| glob::matches(pattern.to_ascii_lowercase().as_bytes(), name.as_bytes());
    match entry.host_patterns() {
        HostPatterns::HashedName { salt, hash } => {
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            hmac::verify(&key, name.as_bytes(), hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let negated = |pattern: &String| pattern.strip_prefix('!').is_some_and(matches);
            patterns.iter().any(|pattern| matches(pattern)) && !patterns.iter().any(negated)
        }
    }
}

/// The name of a host in the file.
fn name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    match port {
        22 => host,
        port => format!("[{host}]:{port}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ONE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    #[test]
    fn lines_have_the_same_meaning_as_for_openssh() {
        use HostKey::{Changed, Known, Revoked, Unknown};
        // OpenSSH made this hash of example.com.
        let hashed = "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak=";
        for (lines, host, port, standing) in [
            (format!("h {ONE}"), "h", 22, Known),
            (format!("h {ONE} comment\n"), "H", 22, Known),
            (format!("h {TWO}"), "h", 22, Changed),
            (format!("h {TWO}\nh {ONE}"), "h", 22, Known),
            (format!("h {ONE}"), "h", 2222, Unknown),
            (format!("[h]:2222 {ONE}"), "h", 2222, Known),
            (format!("[h]:2222 {ONE}"), "h", 22, Unknown),
            (format!("g,h,10.0.0.1 {ONE}"), "10.0.0.1", 22, Known),
            (format!("*.example.com {ONE}"), "git.example.com", 22, Known),
            (format!("*.example.com {ONE}"), "example.com", 22, Unknown),
            (
                format!("git?.example.com {ONE}"),
                "git1.example.com",
                22,
                Known,
            ),
            (format!("*,!evil.h {ONE}"), "evil.h", 22, Unknown),
            (format!("[*.h]:2222 {ONE}"), "a.h", 2222, Known),
            (format!("{hashed} {ONE}"), "example.com", 22, Known),
            (format!("{hashed} {ONE}"), "example.org", 22, Unknown),
            (format!("h {ONE}\n@revoked h {ONE}"), "h", 22, Revoked),
            (format!("h {ONE}\n@revoked * {ONE}"), "h", 22, Revoked),
            (format!("h {ONE}\n@revoked h {TWO}"), "h", 22, Known),
            (
                format!("g {ONE}\n@cert-authority h {ONE}"),
                "h",
                22,
                Unknown,
            ),
            (format!("# h\n\n\tg\t{TWO}\n"), "h", 22, Unknown),
            (format!("h {ONE} # a  comment é"), "h", 22, Known),
            (format!("h\t {ONE}\n@revoked\t*  {ONE}"), "h", 22, Revoked),
        ] {
            let known = KnownHosts::parse(&lines).unwrap();
            assert_eq!(
                known.judge(host, port, &key(ONE)),
                standing,
                "{lines} {host}:{port}"
            );
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_refused() {
        for (text, problem) in [
            ("", "it holds no host key"),
            ("# nothing\n", "it holds no host key"),
            (
                "h ssh-ed25519",
                "a line in it is not in the known_hosts format",
            ),
            (
                "h ssh-ed25519 AAAA",
                "a line in it is not in the known_hosts format",
            ),
            (
                "@other h ssh-ed25519 AAAA",
                "a line in it is not in the known_hosts format",
            ),
        ] {
            assert_eq!(KnownHosts::parse(text).err(), Some(problem), "{text}");
        }
        let authority = format!("@cert-authority h {ONE}");
        assert_eq!(KnownHosts::parse(&authority).err(), Some(ONLY_AUTHORITY));
        let known = KnownHosts::parse(&format!("g {ONE}\n{authority}")).unwrap();
        assert_eq!(known.problem("h", 22), Some(ONLY_AUTHORITY));
        assert_eq!(known.problem("g", 22), None);
        assert_eq!(known.problem("other", 22), None);
        let revoked = format!("@revoked h {ONE}");
        assert!(KnownHosts::parse(&revoked).is_err());
    }
}
