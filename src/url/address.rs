//! The server in a URL, parsed with the HTTP client's own type.

use ::http::uri::Authority;

/// `[user@]host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) user: Option<String>,
    /// In lower case. An IPv6 address has no brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Reads the part of a URL between `://` and the path. None if the host is missing or the port
    /// is not a number.
    pub(crate) fn parse(text: &str, default_port: u16) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let (user, server) = match authority.as_str().rsplit_once('@') {
            Some((user, server)) => (Some(user), server),
            None => (None, authority.as_str()),
        };
        let host = authority.host();
        let port = match server.strip_prefix(host)? {
            "" | ":" => default_port,
            port => number(port.strip_prefix(':')?)?,
        };
        let host = host
            .strip_prefix('[')
            .map_or(host, |host| host.trim_end_matches(']'));
        (!host.is_empty()).then(|| Self {
            user: user.map(str::to_owned),
            host: host.to_ascii_lowercase(),
            port,
        })
    }

    /// `host:port`. An IPv6 address has brackets. The port is left out if it is `default_port`.
    pub(crate) fn server(&self, default_port: u16) -> String {
        let host = match self.host.contains(':') {
            true => format!("[{}]", self.host),
            false => self.host.clone(),
        };
        match self.port == default_port {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }
}

fn number(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_number && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_host_and_port_are_told_apart() {
        for (text, user, host, port) in [
            ("h", None, "h", 7),
            ("H:", None, "h", 7),
            ("h:80", None, "h", 80),
            ("u@h:80", Some("u"), "h", 80),
            ("u:p@h", Some("u:p"), "h", 7),
            ("[::1]", None, "::1", 7),
            ("u@[FE::1]:80", Some("u"), "fe::1", 80),
        ] {
            let address = Address {
                user: user.map(str::to_owned),
                host: host.to_owned(),
                port,
            };
            assert_eq!(Address::parse(text, 7), Some(address), "{text}");
        }
        for bad in [
            "", "u@", ":80", "h:0", "h:x", "h:+1", "h:65536", "a b", "[::1", "h\\@i", "h/p",
        ] {
            assert_eq!(Address::parse(bad, 7), None, "{bad}");
        }
    }
}
