//! Git over HTTPS: each kind of credential, valid and invalid, with Git's own server and a private
//! certificate authority.

use serde_json::{Value, json};

use crate::world::login::{
    InvalidSecret, delete_secret, follow, live, reports_and_recovers, set_secret,
};
use crate::world::verdict::{assert_not_disclosed, assert_says, repository_ready_becomes};
use crate::world::{Case, world};
use towline_testing::git::GitServer;
use towline_testing::repo::Repo;
use towline_testing::tls::Authority;

/// Part of every secret value.
const MARKER: &str = "sesame-marker";

const REFUSED: &str = "AuthenticationFailed";
const INVALID: &str = "CredentialsInvalid";

/// A repository of `server` with the manifest of a ConfigMap, and its commit.
fn filled(case: &Case<'_>, server: &GitServer) -> (Repo, String) {
    let repo = server.repo(&case.namespace);
    let commit = repo.commit(&[("a.yaml", Some(live(case, "one")))], "first");
    (repo, commit)
}

#[tokio::test]
async fn a_private_authority_is_trusted_where_the_secret_says_so() {
    let case = world().await.case("tls-authority").await;
    let (authority, stranger) = (Authority::new(), Authority::new());
    let server = GitServer::start_tls(&authority, None);
    let (user, password) = ("ann", format!("{MARKER}-password"));
    server.allow_only(user, &password);
    let (repo, commit) = filled(&case, &server);
    let with = |authority: Option<&Authority>| json!({"username": user, "password": password, "ca.crt": authority.map(Authority::pem)});
    let right = with(Some(&authority));
    follow(&case, repo.url(), &right, &commit).await;
    let says = format!("the certificate of {} is refused", repo.url());
    let unknown = [&*says, "an unknown authority signed it", "as ca.crt in"];
    for (data, reason, says) in [
        (with(None), REFUSED, &unknown[..]),
        (with(Some(&stranger)), REFUSED, &unknown),
        (
            json!({"ca.crt": "none of PEM"}),
            INVALID,
            &["ca.crt in the Secret cannot be used"],
        ),
    ] {
        let wrong = InvalidSecret { data, reason, says };
        reports_and_recovers(&case, &commit, &right, &wrong).await;
    }
    assert_not_disclosed(&case, MARKER).await;
}

#[tokio::test]
async fn a_password_or_a_token_opens_the_repository_and_a_wrong_one_does_not() {
    let case = world().await.case("tls-login").await;
    let authority = Authority::new();
    let server = GitServer::start_tls(&authority, None);
    let ca = authority.pem();
    let (repo, commit) = filled(&case, &server);
    let secret = |mut data: Value| {
        data["ca.crt"] = json!(ca);
        data
    };
    let (user, password) = ("ann", format!("{MARKER}-password"));
    let token = format!("{MARKER}-token");
    let basic = secret(json!({"username": user, "password": password}));
    let bearer = secret(json!({"bearerToken": token}));
    let guess = secret(json!({"username": user, "password": format!("{MARKER}-guess")}));
    let refused = [repo.url(), "refuses the credentials", "HTTP status 401"];

    server.allow_only(user, &password);
    follow(&case, repo.url(), &basic, &commit).await;
    for data in [guess, bearer.clone(), secret(json!({}))] {
        let (reason, says) = (REFUSED, &refused[..]);
        let wrong = InvalidSecret { data, reason, says };
        reports_and_recovers(&case, &commit, &basic, &wrong).await;
    }

    // The server changes to tokens. The new Secret is used at once.
    server.allow_token(&token);
    case.announce().await;
    let message = repository_ready_becomes(&case, "False", REFUSED).await;
    assert_says(&message, &refused);
    set_secret(&case, &bearer).await;
    repository_ready_becomes(&case, "True", "Fetched").await;
    for (data, reason, says) in [
        (basic, REFUSED, &refused[..]),
        (
            secret(json!({"bearerToken": format!("{MARKER}-guess")})),
            REFUSED,
            &refused,
        ),
        (
            secret(json!({"bearerToken": format!("{MARKER} in two")})),
            INVALID,
            &["bearerToken in the Secret cannot be used"],
        ),
        (
            secret(json!({"bearerToken": token, "password": MARKER})),
            INVALID,
            &["has both password and bearerToken"],
        ),
        (
            secret(json!({"username": MARKER})),
            INVALID,
            &["has username but not password"],
        ),
        (json!({"note": MARKER}), INVALID, &["has none of the keys"]),
    ] {
        let wrong = InvalidSecret { data, reason, says };
        reports_and_recovers(&case, &commit, &bearer, &wrong).await;
    }

    delete_secret(&case).await;
    let message = repository_ready_becomes(&case, "False", INVALID).await;
    let missing = format!("Secret {}/git does not exist", case.namespace);
    assert_says(&message, &[&missing, &format!("{commit} stays live")]);
    set_secret(&case, &bearer).await;
    repository_ready_becomes(&case, "True", "Fetched").await;
    assert_not_disclosed(&case, MARKER).await;
}

#[tokio::test]
async fn a_server_that_wants_a_client_certificate_gets_the_right_one() {
    let case = world().await.case("tls-client").await;
    let (authority, clients) = (Authority::new(), Authority::new());
    let server = GitServer::start_tls(&authority, Some(&clients));
    let (repo, commit) = filled(&case, &server);
    let ca = authority.pem();
    let secret =
        |pair: (String, String)| json!({"ca.crt": ca, "tls.crt": pair.0, "tls.key": pair.1});
    let pair = clients.issue("towline");
    let right = secret(pair.clone());
    follow(&case, repo.url(), &right, &commit).await;
    let wanted = [
        repo.url(),
        "wants another client certificate",
        "tls.crt and tls.key",
    ];
    let other = clients.issue("towline");
    for (data, reason, says) in [
        (json!({"ca.crt": ca}), REFUSED, &wanted[..]),
        (secret(authority.issue("towline")), REFUSED, &wanted),
        (
            secret((pair.0.clone(), other.1)),
            INVALID,
            &[
                "tls.crt in the Secret",
                "its first certificate does not match the key",
            ],
        ),
        (
            secret((pair.0.clone(), MARKER.to_owned())),
            INVALID,
            &["tls.key in the Secret", "no unencrypted PEM private key"],
        ),
        (
            json!({"ca.crt": ca, "tls.crt": pair.0}),
            INVALID,
            &["has tls.crt but not tls.key"],
        ),
    ] {
        let wrong = InvalidSecret { data, reason, says };
        reports_and_recovers(&case, &commit, &right, &wrong).await;
    }
    assert_not_disclosed(&case, MARKER).await;
}
