//! Secrets other than Git credentials: those of proxies, and the public keys of signers.

use serde_json::{Value, json};

use super::{Failing, INVALID, MARKER, REFUSED, Servers, failing, key_of, mark, with};

/// Proxies that do not work. One of them repeats the credentials.
pub fn proxies(servers: &Servers) -> Vec<Failing> {
    let url = servers.plain.url() + "/r.git";
    let login = json!({"username": mark("user"), "password": mark("password")});
    let at = |address: &str| with(login.clone(), "address", address);
    let of = |name: &str, secret: Value, reason| Failing {
        field: "proxySecretRef",
        ..failing(name, &url, secret, reason)
    };
    vec![
        of("proxy-refused", at(&servers.ill.url()), REFUSED),
        of("proxy-garbage", at(MARKER), INVALID),
        of("proxy-scheme", at(&format!("socks5://{MARKER}:1")), INVALID),
        of("proxy-port", at(&format!("http://h:{MARKER}")), INVALID),
        of(
            "proxy-userinfo",
            at(&format!("http://user:{MARKER}@127.0.0.1:1")),
            INVALID,
        ),
        of(
            "proxy-user-alone",
            json!({"address": "http://127.0.0.1:1", "username": mark("user")}),
            INVALID,
        ),
        of("proxy-nowhere", json!({"other": mark("other")}), INVALID),
    ]
}

/// Signers that cannot be used, and a signer who has signed nothing at `url`.
pub fn signers(servers: &Servers, url: &str) -> Vec<Failing> {
    let (begin, end) = (
        "-----BEGIN PGP PUBLIC KEY BLOCK-----",
        "-----END PGP PUBLIC KEY BLOCK-----",
    );
    let armour = format!("{begin}\n\n{MARKER}\n{end}\n");
    let key = key_of(&servers.sshd.known_host("ed25519"));
    let line = format!("{} {key} {}", mark("principal"), mark("note"));
    let of = |name: &str, secret: Value, reason| Failing {
        field: "verify",
        ..failing(name, url, secret, reason)
    };
    let lines = |text: &str| json!({"allowed_signers": text});
    vec![
        of("signers-garbage", lines(MARKER), "SignersInvalid"),
        of(
            "signers-key",
            lines(&format!("ann ssh-ed25519 {MARKER}")),
            "SignersInvalid",
        ),
        of(
            "signers-option",
            lines(&format!("ann {MARKER}=\"{MARKER}\" {key}")),
            "SignersInvalid",
        ),
        of("signers-armour", json!({"a.asc": armour}), "SignersInvalid"),
        of(
            "signers-no-armour",
            json!({"a.asc": MARKER}),
            "SignersInvalid",
        ),
        of("unsigned", lines(&line), "VerificationFailed"),
    ]
}
