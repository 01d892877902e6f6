//! Credentials over HTTP, right and wrong, and the servers that get them.

use std::collections::BTreeMap;

use super::*;
use crate::source::git::testing::Authority;

const MARK: &str = "m4rk3r";
const BASIC: &str = "Basic dXNlcjptNHJrM3I="; // user:m4rk3r

fn request(remote: &Remote, secret: &[(&str, &str)]) -> FetchRequest {
    let request = remote.request(branch("main"));
    let data: BTreeMap<_, _> = secret
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
        .collect();
    let credentials = match data.is_empty() {
        true => Credentials::None,
        false => Credentials::from_secret(&request.url, &data).unwrap(),
    };
    FetchRequest {
        credentials,
        ..request
    }
}

/// The full text of a failure. Checks that it shows no secret.
async fn refusal(cache: &Cache, request: FetchRequest) -> String {
    let error = cache.fetch(request).await.unwrap_err();
    let text = crate::chain(&error);
    assert!(!format!("{error:?} {text}").contains(MARK), "{error:?}");
    text
}

#[tokio::test]
async fn passwords_and_tokens_right_and_wrong() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let (_folder, cache) = cache();
    let user = ("username", "user");
    let refused = "refuses the credentials: the server answers with HTTP status 401";
    remote.want(BASIC);
    fetch(&cache, request(&remote, &[user, ("password", MARK)])).await;
    for wrong in [
        &[user, ("password", "m4rk3r2")][..],
        &[("bearerToken", MARK)],
        &[],
    ] {
        let text = refusal(&cache, request(&remote, wrong)).await;
        assert!(text.ends_with(refused), "{text}");
    }
    remote.want("Bearer m4rk3r");
    fetch(&cache, request(&remote, &[("bearerToken", MARK)])).await;
    let text = refusal(&cache, request(&remote, &[user, ("password", MARK)])).await;
    assert!(text.ends_with(refused), "{text}");
}

/// There is one database, but the server must accept each credential.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_never_shared_between_credentials() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    remote.want(BASIC);
    let (folder, cache) = cache();
    let right = request(&remote, &[("username", "user"), ("password", MARK)]);
    let wrong = request(&remote, &[("username", "user"), ("password", "guess")]);
    let known = fetch(&cache, right.clone()).await;
    let callers: Vec<_> = (0..20)
        .map(|number| {
            let is_right = number % 2 == 0;
            let mut request = if is_right { &right } else { &wrong }.clone();
            request.known = Some(Arc::clone(&known));
            let cache = cache.clone();
            tokio::spawn(async move { (is_right, cache.fetch(request).await.is_ok()) })
        })
        .collect();
    for caller in callers {
        let (is_right, is_answered) = caller.await.unwrap();
        assert_eq!(is_right, is_answered);
    }
    assert_eq!(generations(&folder), ["1"], "one object database");
}

#[tokio::test]
async fn a_private_authority_and_a_client_certificate() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let open = Remote::start_tls(&authority, None).await;
    let closed = Remote::start_tls(&authority, Some(&clients)).await;
    for remote in [&open, &closed] {
        remote.commit("main", &[("a.yaml", FILE)]);
    }
    let (ours, theirs) = (authority.pem(), clients.pem());
    let (chain, key) = clients.issue("towline");
    let (wrong_chain, wrong_key) = authority.issue("towline");
    let ca = ("ca.crt", ours.as_str());
    let (_folder, cache) = cache();
    open.want(BASIC);
    let login = [ca, ("username", "user"), ("password", MARK)];
    fetch(&cache, request(&open, &login)).await;
    fetch(
        &cache,
        request(&closed, &[ca, ("tls.crt", &chain), ("tls.key", &key)]),
    )
    .await;
    let unknown = "an unknown authority signed it; add the authority as ca.crt in the Secret";
    let unwanted = "the server wants another client certificate";
    for (remote, secret, wanted) in [
        (&open, &login[1..], unknown),
        (&open, &[("ca.crt", theirs.as_str())][..], unknown),
        (&closed, &[ca], unwanted),
        (
            &closed,
            &[ca, ("tls.crt", &wrong_chain), ("tls.key", &wrong_key)],
            unwanted,
        ),
    ] {
        let text = refusal(&cache, request(remote, secret)).await;
        assert!(text.contains(wanted), "{text}");
    }
    let mut by_address = request(&open, &login);
    by_address.url = by_address.url.replace("localhost", "127.0.0.1");
    let text = refusal(&cache, by_address).await;
    assert!(text.contains("certificate"), "{text}");
}

#[tokio::test]
async fn a_redirect_to_another_server_carries_nothing() {
    let authority = Authority::new();
    let home = Remote::start_tls(&authority, None).await;
    let other = Remote::start_tls(&authority, None).await;
    let plain = Remote::start().await;
    for remote in [&home, &other, &plain] {
        remote.commit("main", &[("a.yaml", FILE)]);
    }
    other.commit("main", &[("b.yaml", FILE)]);
    let ca = authority.pem();
    let secret = [
        ("ca.crt", ca.as_str()),
        ("username", "user"),
        ("password", MARK),
    ];
    let to = |path: &str| {
        let mut request = request(&home, &secret);
        request.url = request.url.replace("repo.git", path);
        request
    };
    let (_folder, cache) = cache();
    home.want(BASIC);
    fetch(&cache, to("moved.git")).await;
    home.redirect_to(&other.url());
    fetch(&cache, to("away.git")).await;
    assert!(other.requests().len() >= 2 && other.shown().iter().all(String::is_empty));
    assert!(home.shown().iter().all(|shown| shown == BASIC));
    other.want(BASIC);
    let text = refusal(&cache, to("away.git")).await;
    assert!(
        text.contains("which is not shown the credentials"),
        "{text}"
    );
    home.redirect_to(&plain.url());
    let text = refusal(&cache, to("away.git")).await;
    assert!(
        text.contains("redirects to a URL that towline does not follow"),
        "{text}"
    );
    home.redirect_to(&home.url().replace("repo", "away"));
    let text = refusal(&cache, to("away.git")).await;
    assert!(text.contains("redirects too often"), "{text}");
    assert!(plain.requests().is_empty());
}
