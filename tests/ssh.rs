//! Git over SSH: keys of every kind with OpenSSH's own server, and wrong host keys.

use serde_json::{Value, json};

use crate::world::login::{InvalidSecret, fetched, follow, live, reports_and_recovers, set_secret};
use crate::world::verdict::{assert_not_disclosed, assert_says, repository_ready_becomes};
use crate::world::{Case, world};
use towline_testing::sshd::Sshd;

/// Part of every secret value.
const MARKER: &str = "sesame-marker";

const REFUSED: &str = "AuthenticationFailed";
const INVALID: &str = "CredentialsInvalid";

fn secret(identity: &str, known_hosts: &str, passphrase: Option<&str>) -> Value {
    json!({"identity": identity, "known_hosts": known_hosts, "password": passphrase})
}

fn first_commit(case: &Case<'_>) -> String {
    let file = live(case, "one");
    case.repo.commit(&[("a.yaml", Some(file))], "first")
}

#[tokio::test]
async fn keys_of_every_kind_open_the_repository() {
    let case = world().await.case("ssh-keys").await;
    let sshd = Sshd::start(&["ed25519"]);
    let known = sshd.known_host("ed25519");
    let first = first_commit(&case);
    let right = secret(&sshd.identity("ed25519", ""), &known, None);
    follow(&case, &sshd.url(case.repo.path()), &right, &first).await;
    let passphrase = format!("{MARKER}-passphrase");
    for (kind, passphrase) in [
        ("ecdsa", None),
        ("rsa", None),
        ("ed25519", Some(&*passphrase)),
        ("ecdsa", Some(&passphrase)),
        ("rsa", Some(&passphrase)),
    ] {
        let identity = sshd.identity(kind, passphrase.unwrap_or_default());
        set_secret(&case, &secret(&identity, &known, passphrase)).await;
        let file = live(&case, &format!("{kind}-{}", passphrase.is_some()));
        let commit = case.push(&[("a.yaml", Some(&file))], kind).await;
        fetched(&case, &commit).await;
    }

    let locked = sshd.identity("ed25519", "another");
    let refused = ["ssh://localhost", "does not accept the key (identity in"];
    for (data, reason, says) in [
        (
            secret(&sshd.unknown_identity(), &known, None),
            REFUSED,
            &refused[..],
        ),
        (
            secret(&locked, &known, Some(MARKER)),
            INVALID,
            &["identity in the Secret", "password is not its passphrase"],
        ),
        (
            secret(&locked, &known, None),
            INVALID,
            &["it is encrypted, and the Secret has no password"],
        ),
        (
            secret(MARKER, &known, None),
            INVALID,
            &[
                "identity in the Secret",
                "it is not a supported private key",
            ],
        ),
        (
            json!({"identity": locked, "password": "another"}),
            INVALID,
            &["has identity but not known_hosts"],
        ),
    ] {
        let commit = case.repo.resolve("main").unwrap();
        let wrong = InvalidSecret { data, reason, says };
        reports_and_recovers(&case, &commit, &right, &wrong).await;
    }
    assert_not_disclosed(&case, MARKER).await;
}

#[tokio::test]
async fn a_host_that_is_not_known_or_has_another_key_is_refused() {
    let case = world().await.case("ssh-host").await;
    let mut sshd = Sshd::start(&["ed25519"]);
    let identity = sshd.identity("ed25519", "");
    let first = first_commit(&case);
    let right = secret(&identity, &sshd.known_host("ed25519"), None);
    follow(&case, &sshd.url(case.repo.path()), &right, &first).await;

    let elsewhere = sshd.known_host("ed25519").replace("localhost", "elsewhere");
    for (known_hosts, reason, says) in [
        (
            &*elsewhere,
            REFUSED,
            &["the host key of ssh://localhost", "no key of this host"][..],
        ),
        (
            MARKER,
            INVALID,
            &["known_hosts in the Secret", "not in the known_hosts format"],
        ),
        ("", INVALID, &["known_hosts in the Secret is empty"]),
    ] {
        let data = secret(&identity, known_hosts, None);
        let wrong = InvalidSecret { data, reason, says };
        reports_and_recovers(&case, &first, &right, &wrong).await;
    }

    // Another server answers, or the server was set up again. Its commit is not accepted.
    sshd.change_host_keys();
    let file = live(&case, "two");
    let second = case.push(&[("a.yaml", Some(&file))], "second").await;
    let message = repository_ready_becomes(&case, "False", REFUSED).await;
    let wanted = [
        "the host key of ssh://localhost",
        "SHA256:",
        "known_hosts in the Secret has another key: the server's key changed",
    ];
    assert_says(&message, &wanted);
    assert_says(&message, &[&format!("{first} stays live")]);
    case.has("a", "value", Some("one")).await;

    set_secret(&case, &secret(&identity, &sshd.known_host("ed25519"), None)).await;
    case.synced("all", &second).await;
    case.has("a", "value", Some("two")).await;
    fetched(&case, &second).await;
    assert_not_disclosed(&case, MARKER).await;
}
