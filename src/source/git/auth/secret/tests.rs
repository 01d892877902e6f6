use super::*;
use crate::source::git::testing::Authority;

const MARK: &str = "m4rk3r";
const URL: &str = "https://git.example/r.git";

fn data(entries: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    entries
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.replace("MARK", MARK).into_bytes()))
        .collect()
}

fn https_of(credentials: &Credentials) -> &Https {
    credentials.https().unwrap()
}

#[test]
fn headers_are_those_of_the_rfcs() {
    for (entries, header) in [
        (
            &[("username", "Aladdin"), ("password", "open sesame")][..],
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        ),
        (
            &[("username", "test"), ("password", "123£")],
            "Basic dGVzdDoxMjPCow==",
        ),
        (&[("bearerToken", "abc.DEF-1~+/=")], "Bearer abc.DEF-1~+/="),
    ] {
        for url in [URL, "http://git.example/r.git", "HTTPS://git.example/r"] {
            let credentials = Credentials::from_secret(url, &data(entries)).unwrap();
            let value = https_of(&credentials).authorization.clone().unwrap();
            assert_eq!(value.to_str().unwrap(), header);
            assert!(value.is_sensitive());
        }
    }
}

#[test]
fn what_is_wrong_is_named_without_a_value() {
    let authority = Authority::new();
    let (chain, key) = authority.issue("client");
    let (_, other_key) = authority.issue("other");
    let pair = [("username", "MARK"), ("password", "MARK")];
    let with = |more: &[(&str, &str)]| data(&[&pair[..], more].concat());
    for (data, text) in [
        (
            data(&[]),
            "the Secret has none of the keys for https URLs: username and password, bearerToken, \
             ca.crt, tls.crt and tls.key",
        ),
        (
            data(&[("identity", "MARK"), ("known_hosts", "MARK")]),
            "the Secret has none of the keys for https URLs: username and password, bearerToken, \
             ca.crt, tls.crt and tls.key",
        ),
        (data(&pair[..1]), "the Secret has username but not password"),
        (data(&pair[1..]), "the Secret has password but not username"),
        (
            with(&[("bearerToken", "MARK")]),
            "the Secret has both username and bearerToken: keep one of them",
        ),
        (with(&[("password", "")]), "password in the Secret is empty"),
        (
            with(&[("password", "MARK\n")]),
            "password in the Secret cannot be used: it holds a line break or another control \
             character",
        ),
        (
            with(&[("username", "MARK:x")]),
            "username in the Secret cannot be used: it holds a colon",
        ),
        (
            data(&[("bearerToken", "MARK\r\nx: y")]),
            "bearerToken in the Secret cannot be used: it holds a line break or another control \
             character",
        ),
        (
            data(&[("bearerToken", "MARK é")]),
            "bearerToken in the Secret cannot be used: it holds a character that a token cannot have",
        ),
        (with(&[("ca.crt", "")]), "ca.crt in the Secret is empty"),
        (
            with(&[("ca.crt", "MARK")]),
            "ca.crt in the Secret cannot be used: it holds no PEM certificate",
        ),
        (
            with(&[("caFile", "-----BEGIN CERTIFICATE-----\nMARK\n")]),
            "caFile in the Secret cannot be used: it is not PEM",
        ),
        (
            with(&[(
                "ca.crt",
                "-----BEGIN CERTIFICATE-----\nTUFSSw==\n-----END CERTIFICATE-----\n",
            )]),
            "ca.crt in the Secret cannot be used: a certificate in it cannot be used as an authority",
        ),
        (
            with(&[("tls.crt", &chain)]),
            "the Secret has tls.crt but not tls.key",
        ),
        (
            with(&[("keyFile", &key)]),
            "the Secret has keyFile but not tls.crt",
        ),
        (
            with(&[("tls.crt", &chain), ("tls.key", "MARK")]),
            "tls.key in the Secret cannot be used: it holds no unencrypted PEM private key",
        ),
        (
            with(&[("tls.crt", "MARK"), ("tls.key", &key)]),
            "tls.crt in the Secret cannot be used: it holds no PEM certificate",
        ),
        (
            with(&[("tls.crt", &chain), ("tls.key", &other_key)]),
            "tls.crt in the Secret cannot be used: its first certificate does not match the key",
        ),
    ] {
        let error = Credentials::from_secret(URL, &data).unwrap_err();
        assert_eq!(error.to_string(), text);
        assert!(!format!("{error:?}").contains(MARK), "{error:?}");
    }
    let error = Credentials::from_secret("http://h/r", &data(&[("ca.crt", "MARK")])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Secret has none of the keys for http URLs: username and password, bearerToken"
    );
    let error = Credentials::from_secret("ftp://h/r", &data(&pair)).unwrap_err();
    assert_eq!(error, CredentialsError::Scheme);
}

#[test]
fn credentials_are_equal_by_value_and_shown_without() {
    let authority = Authority::new();
    let (chain, key) = authority.issue("client");
    let all = data(&[
        ("username", "MARK"),
        ("password", "MARK"),
        ("ca.crt", &authority.pem()),
        ("certFile", &chain),
        ("keyFile", &key),
    ]);
    let read = |data: &BTreeMap<String, Vec<u8>>| Credentials::from_secret(URL, data).unwrap();
    assert_eq!(read(&all), read(&all));
    for key in ["username", "password"] {
        let mut other = all.clone();
        other.insert(key.to_owned(), b"other".to_vec());
        assert_ne!(read(&all), read(&other), "{key}");
    }
    let mut other = all.clone();
    other.remove("ca.crt");
    assert_ne!(read(&all), read(&other));
    assert_ne!(read(&all), Credentials::None);
    assert_eq!(format!("{:?}", read(&all)), "Https(..)");
}
