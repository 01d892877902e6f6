//! What a Secret with signers may hold.

use super::*;

/// A key that ssh-keygen made for this.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

#[test]
fn unsupported_lines_are_refused_with_their_number() {
    let desk = Desk::new();
    let short = desk.ssh_key("short", "rsa", "1024").public;
    let dsa = desk.ssh_key("dsa", "dsa", "").public;
    for (line, problem) in [
        ("ann".to_owned(), "it has no public key"),
        (
            format!("ann cert-authority {KEY}"),
            "cert-authority is not supported: list the keys themselves",
        ),
        (
            format!("ann namespaces=\"git\",CERT-AUTHORITY {KEY}"),
            "cert-authority is not supported: list the keys themselves",
        ),
        (
            format!("ann verify-required {KEY}"),
            "it has no public key, or an unknown option before it",
        ),
        (format!("ann other=\"x\" {KEY}"), "it has an unknown option"),
        (
            format!("ann namespaces=git {KEY}"),
            "the value of an option is not in double quotes",
        ),
        (
            format!("ann namespaces=\"git {KEY}"),
            "it has no public key",
        ),
        (
            format!("ann namespaces=\"a\",namespaces=\"b\" {KEY}"),
            "it has an option twice",
        ),
        (
            format!("ann namespaces=\"a\"valid-after=\"20240101\" {KEY}"),
            "its options are not separated by commas",
        ),
        (
            format!("ann valid-after=\"2024\" {KEY}"),
            "a time is not written YYYYMMDD[HHMM[SS]][Z]",
        ),
        (
            format!("ann valid-after=\"20241301\" {KEY}"),
            "a time is not written YYYYMMDD[HHMM[SS]][Z]",
        ),
        (
            format!("ann valid-after=\"20240101ZZ\" {KEY}"),
            "a time is not written YYYYMMDD[HHMM[SS]][Z]",
        ),
        (
            format!("ann valid-after=\"20250101\",valid-before=\"20240101\" {KEY}"),
            "valid-before is not later than valid-after",
        ),
        (
            "ann ssh-ed25519 AAAA".to_owned(),
            "its public key cannot be read",
        ),
        (
            format!("ann {short}"),
            "its RSA key has fewer than 2048 bits",
        ),
        (
            format!("ann {dsa}"),
            "its kind of public key is not supported",
        ),
        (format!("\"\" {KEY}"), "it names no principal"),
        (
            format!("\"a b\",c {KEY}"),
            "its principals must be in double quotes as a whole, or have no quotes",
        ),
    ] {
        let text = format!("# who may sign\nann {KEY}\n{line}\n");
        let error = Signers::from_secret("ns/name", &secret(&[("allowed_signers", &text)]));
        let said = error.unwrap_err().to_string();
        assert_eq!(
            said,
            format!("key allowed_signers, line 3: {problem}"),
            "{line}"
        );
    }
}

#[test]
fn a_secret_must_hold_signers_and_nothing_else() {
    let desk = Desk::new();
    let key = desk.gpg_key("Ann <ann@example.com>", "ed25519");
    let public = desk.export(&key);
    let private = desk.gpg(&["--armor", "--export-secret-keys", &key]);
    for good in [
        public.clone(),
        format!("{public}\n{public}"),
        format!("Ann's key:\n{public}"),
    ] {
        signers(&[("ann.asc", &good)]);
    }
    let line = format!("ann {KEY}");
    for (data, problem) in [
        (vec![], "it holds no signer"),
        (
            vec![("allowed_signers", "# nobody\n")],
            "it holds no signer",
        ),
        (
            vec![("a.asc", "")],
            "key a.asc: it holds no ASCII-armoured OpenPGP public key",
        ),
        (
            vec![("a.asc", "AAAA")],
            "key a.asc: it holds no ASCII-armoured OpenPGP public key",
        ),
        (
            vec![("allowed_signers", line.as_str()), ("a.asc", "AAAA")],
            "key a.asc: it holds no ASCII-armoured OpenPGP public key",
        ),
        (
            vec![("a.asc", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n")],
            "key a.asc: an OpenPGP key in it has no end",
        ),
        (
            vec![(
                "a.asc",
                "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n",
            )],
            "key a.asc: an OpenPGP key in it cannot be read",
        ),
        (
            vec![("a.asc", private.as_str())],
            "key a.asc: it holds a private key, which must not be here",
        ),
    ] {
        let error = Signers::from_secret("ns/name", &secret(&data)).unwrap_err();
        assert!(error.to_string().starts_with(problem), "{error}");
    }
    let binary = std::collections::BTreeMap::from([("a.asc".to_owned(), vec![0x99, 0xff])]);
    let error = Signers::from_secret("ns/name", &binary).unwrap_err();
    assert_eq!(error.to_string(), "key a.asc: it is not text");
}
