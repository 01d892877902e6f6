//! Fetches from a real OpenSSH server.

use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::source::git::testing::Sshd;

const MARK: &str = "m4rk3r";

fn credentials(url: &str, identity: &str, known_hosts: &str, password: &str) -> Credentials {
    let mut data = BTreeMap::from([
        ("identity".to_owned(), identity.as_bytes().to_vec()),
        ("known_hosts".to_owned(), known_hosts.as_bytes().to_vec()),
        ("identity.pub".to_owned(), MARK.as_bytes().to_vec()),
    ]);
    if !password.is_empty() {
        data.insert("password".to_owned(), password.as_bytes().to_vec());
    }
    Credentials::from_secret(url, &data).unwrap()
}

fn request(url: &str, credentials: Credentials) -> FetchRequest {
    FetchRequest {
        credentials,
        ..FetchRequest::new("test", url, branch("main"), Duration::from_secs(30))
    }
}

async fn refusal(cache: &Cache, request: FetchRequest) -> (Error, String) {
    let error = cache.fetch(request).await.unwrap_err();
    let text = crate::chain(&error);
    assert!(!format!("{error:?} {text}").contains(MARK), "{error:?}");
    (error, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_key() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let sshd = Sshd::start(&["ed25519", "ecdsa", "rsa"]);
    let url = sshd.url(remote.repository.path());
    let (_folder, cache) = cache();
    for (kind, passphrase, host) in [
        ("ed25519", "", "ed25519"),
        ("ecdsa", "", "ecdsa"),
        ("rsa", "", "rsa"),
        ("ed25519", MARK, "rsa"),
    ] {
        // Only this one of the server's keys is known.
        let known = match kind {
            "ecdsa" => sshd.hashed_host(host),
            _ => sshd.known_host(host),
        };
        let identity = sshd.identity(kind, passphrase);
        let credentials = credentials(&url, &identity, &known, passphrase);
        let mut request = request(&url, credentials);
        let commit = remote.commit("main", &[("b.yaml", NewEntry::File(kind.as_bytes()))]);
        let snapshot = fetch(&cache, request.clone()).await;
        assert_eq!(snapshot.revision.to_string(), format!("main@sha1:{commit}"));
        snapshot.listing("").unwrap();
        request.known = Some(snapshot);
        let again = cache.fetch(request).await.unwrap();
        assert!(matches!(again, Fetched::Unchanged(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_keys_and_hosts_are_refused_with_the_reason() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let sshd = Sshd::start(&["ed25519"]);
    let other = Sshd::start(&["ed25519", "rsa"]);
    let url = sshd.url(remote.repository.path());
    let (identity, unknown_identity) = (sshd.identity("ed25519", ""), sshd.unknown_identity());
    let known = sshd.known_host("ed25519");
    let here = |line: String| line.replace(&other.port.to_string(), &sshd.port.to_string());
    let changed = here(other.known_host("ed25519"));
    let unasked = here(other.known_host("rsa"));
    let revoked = format!("{known}@revoked * {}", known.split_once(' ').unwrap().1);
    let (_folder, cache) = cache();
    for (identity, known, wanted) in [
        (
            &identity,
            &other.known_host("ed25519"),
            "has no key of this host",
        ),
        (
            &identity,
            &changed,
            "the server's key changed, or somebody intercepts the connection",
        ),
        (
            &identity,
            &unasked,
            "has no host key of the kinds in known_hosts",
        ),
        (&identity, &revoked, "says that it is revoked"),
        (
            &unknown_identity,
            &known,
            "does not accept the key (identity in the Secret)",
        ),
    ] {
        let credentials = credentials(&url, identity, known, "");
        let (error, text) = refusal(&cache, request(&url, credentials)).await;
        assert!(text.contains(wanted), "{text}");
        assert_eq!(error.reason(), crate::api::Reason::AuthenticationFailed);
    }
    let right = credentials(&url, &identity, &known, "");
    let missing = sshd.url(Path::new(
        "/nothing/it's $(touch here)".replace(' ', "_").as_str(),
    ));
    let (error, text) = refusal(&cache, request(&missing, right.clone())).await;
    assert!(matches!(error, Error::RepositoryNotFound { .. }), "{text}");
    assert!(text.contains("/nothing/it's_$(touch_here)"), "{text}");
    let (error, _) = refusal(&cache, request(&url, Credentials::None)).await;
    assert!(matches!(error, Error::WrongCredentials { .. }), "{error:?}");
    let (error, _) = refusal(&cache, request("http://h/r", right)).await;
    assert!(matches!(error, Error::WrongCredentials { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_is_given_up_in_time() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let sshd = Sshd::start(&["ed25519"]);
    let port = listener.local_addr().unwrap().port().to_string();
    let here = |text: String| text.replace(&sshd.port.to_string(), &port);
    let url = here(sshd.url(Path::new("/r.git")));
    let known = here(sshd.known_host("ed25519"));
    let (_folder, cache) = cache();
    let mut request = request(
        &url,
        credentials(&url, &sshd.unknown_identity(), &known, ""),
    );
    request.timeout = Duration::from_millis(500);
    let start = Instant::now();
    let (error, _) = refusal(&cache, request).await;
    assert!(matches!(error, Error::Timeout { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_secret_for_ssh_that_cannot_be_used_says_which_key() {
    let sshd = Sshd::start(&["ed25519"]);
    let (identity, locked) = (sshd.identity("ed25519", ""), sshd.identity("ed25519", MARK));
    let known = sshd.known_host("ed25519");
    for (entries, text) in [
        (
            &[("username", MARK), ("password", MARK)][..],
            "the Secret has none of the keys for ssh URLs: identity and known_hosts, password for \
             an encrypted identity",
        ),
        (
            &[("identity", &identity)],
            "the Secret has identity but not known_hosts",
        ),
        (
            &[("known_hosts", &known)],
            "the Secret has known_hosts but not identity",
        ),
        (
            &[("identity", MARK), ("known_hosts", &known)],
            "identity in the Secret cannot be used: it is not a supported private key",
        ),
        (
            &[("identity", &locked), ("known_hosts", &known)],
            "identity in the Secret cannot be used: it is encrypted, and the Secret has no \
             password for it",
        ),
        (
            &[
                ("identity", &locked),
                ("known_hosts", &known),
                ("password", "guess"),
            ],
            "identity in the Secret cannot be used: it is not a private key, or password is not \
             its passphrase",
        ),
        (
            &[("identity", &identity), ("known_hosts", MARK)],
            "known_hosts in the Secret cannot be used: a line in it is not in the known_hosts \
             format",
        ),
        (
            &[("identity", &identity), ("known_hosts", "")],
            "known_hosts in the Secret is empty",
        ),
    ] {
        let data = entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect();
        for url in ["ssh://git@h/r", "git@h:r"] {
            let error = Credentials::from_secret(url, &data).unwrap_err();
            assert_eq!(error.to_string(), text);
        }
    }
}

/// The limits and the end of a fetch are those of HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_server_is_refused_and_left() {
    let line = format!("{} refs/heads/a", "1".repeat(40));
    let length = line.len() + 5;
    let endless = format!("ForceCommand yes '{length:04x}{line}'");
    let slowly = "ForceCommand sh -c 'while printf f; do sleep 0.1; done'".to_owned();
    let floor = Floor {
        bytes: 1024,
        time: Duration::from_secs(1),
    };
    for (settings, says) in [
        (endless, "has more than 200000 references"),
        (slowly, "is too slow: it sent less than 1024 bytes in 1s"),
    ] {
        let sshd = Sshd::start_with(&["ed25519"], &settings);
        let url = sshd.url(Path::new("/r.git"));
        let identity = sshd.identity("ed25519", "");
        let credentials = credentials(&url, &identity, &sshd.known_host("ed25519"), "");
        let folder = TempDir::new().unwrap();
        let settings = CacheSettings {
            floor,
            ..CacheSettings::new(folder.path())
        };
        let cache = Cache::open(settings).unwrap();
        let (_, text) = refusal(&cache, request(&url, credentials)).await;
        assert!(text.contains(says), "{text}");
    }
    // A fetch that nobody waits for ends.
    let folder = TempDir::new().unwrap();
    let mark = folder.path().join("runs");
    let settings = format!(
        "ForceCommand sh -c 'touch {0}; cat; rm {0}'",
        mark.display()
    );
    let sshd = Sshd::start_with(&["ed25519"], &settings);
    let url = sshd.url(Path::new("/r.git"));
    let identity = sshd.identity("ed25519", "");
    let credentials = credentials(&url, &identity, &sshd.known_host("ed25519"), "");
    let (_folder, cache) = cache();
    let running = tokio::spawn(async move { cache.fetch(request(&url, credentials)).await });
    until("the server's program", || mark.exists()).await;
    running.abort();
    let start = Instant::now();
    until("the end of the server's program", || !mark.exists()).await;
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}
