//! Credentials of a private repository. A missing or wrong value is reported, a rotated value is used,
//! and no value of a Secret is disclosed.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::world::verdict::{assert_not_disclosed, assert_says, repository_ready_becomes};
use crate::world::{PATIENCE, config_map, world};
use towline_testing::git::GitServer;
use towline_testing::wait::eventually;

/// Part of every value of every Secret here.
const MARKER: &str = "hunter2-marker";

fn secret(name: &str, data: &Value) -> Secret {
    serde_json::from_value(json!({"metadata": {"name": name}, "stringData": data})).unwrap()
}

#[tokio::test]
async fn a_private_repository_is_read_once_its_secret_is_right() {
    let case = world().await.case("credentials").await;
    let (user, password) = ("ann", format!("{MARKER}-right"));
    // A server of its own, because its credentials apply to all of its repositories.
    let git = GitServer::start();
    git.allow_only(user, &password);
    let repo = git.repo("private");
    let live = config_map("a", &case.namespace, "one");
    let first = repo.commit(&[("a.yaml", Some(&live))], "first");
    case.repository(json!({"url": repo.url(), "secretRef": {"name": "git"}}))
        .await;
    case.sync("all", json!({})).await;

    let missing = repository_ready_becomes(&case, "False", "CredentialsInvalid").await;
    assert_says(
        &missing,
        &[&format!("Secret {}/git does not exist", case.namespace)],
    );

    let data = json!({"username": user, "password": ""});
    let secrets = case.api::<Secret>();
    secrets
        .create(&PostParams::default(), &secret("git", &data))
        .await
        .unwrap();
    let message = format!("Secret {}/git", case.namespace);
    eventually("the empty key is named", PATIENCE, async || {
        let says = repository_ready_becomes(&case, "False", "CredentialsInvalid").await;
        match says.contains("password") && says.contains(&message) {
            true => Ok(()),
            false => Err(says),
        }
    })
    .await;

    let wrong = json!({"stringData": {"password": format!("{MARKER}-wrong")}});
    case.patch::<Secret>("git", wrong).await;
    repository_ready_becomes(&case, "False", "AuthenticationFailed").await;

    let right = json!({"stringData": {"password": password}});
    case.patch::<Secret>("git", right).await;
    case.synced("all", &first).await;
    repository_ready_becomes(&case, "True", "Fetched").await;

    // Rotated on the server first. Applied objects stay, and the new Secret is used without a push.
    let rotated = format!("{MARKER}-rotated");
    git.allow_only(user, &rotated);
    case.announce().await;
    let refused = repository_ready_becomes(&case, "False", "AuthenticationFailed").await;
    assert_says(&refused, &["stays live"]);
    case.patch::<Secret>("git", json!({"stringData": {"password": rotated}}))
        .await;
    repository_ready_becomes(&case, "True", "Fetched").await;
    assert_not_disclosed(&case, MARKER).await;
}

/// A proxy that connects every request to `target` if the client sends `login` (of basic authentication).
async fn proxy(target: SocketAddr, login: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                if !head.contains(&format!("Proxy-Authorization: Basic {login}\r\n")) {
                    let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
                    return client.write_all(refusal).await.unwrap();
                }
                let mut server = TcpStream::connect(target).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn a_repository_behind_a_proxy_is_read_once_the_proxys_secret_is_right() {
    let case = world().await.case("proxy").await;
    let live = config_map("a", &case.namespace, "one");
    let first = case.repo.commit(&[("a.yaml", Some(&live))], "first");
    let server = case.world.git.url().replace("http://", "");
    // `ann:hunter2-marker` in base64.
    let address = proxy(server.parse().unwrap(), "YW5uOmh1bnRlcjItbWFya2Vy").await;
    let url = case.repo.url().replace(&server, "git.invalid");
    case.repository(json!({"url": url, "proxySecretRef": {"name": "proxy"}}))
        .await;
    case.sync("all", json!({})).await;
    let missing = repository_ready_becomes(&case, "False", "CredentialsInvalid").await;
    let secret_of = format!("spec.proxySecretRef: Secret {}/proxy", case.namespace);
    assert_says(&missing, &[&secret_of, "does not exist"]);

    let data = json!({
        "address": format!("http://{address}"), "username": "ann",
        "password": format!("{MARKER}-wrong"),
    });
    let secrets = case.api::<Secret>();
    secrets
        .create(&PostParams::default(), &secret("proxy", &data))
        .await
        .unwrap();
    let refused = repository_ready_becomes(&case, "False", "AuthenticationFailed").await;
    assert_says(&refused, &["the proxy refuses its user and password"]);

    let userinfo = format!("http://ann:{MARKER}@{address}");
    let patch = json!({"stringData": {"address": userinfo}});
    case.patch::<Secret>("proxy", patch).await;
    let message = repository_ready_becomes(&case, "False", "CredentialsInvalid").await;
    assert_says(&message, &[&secret_of, "address in the Secret"]);

    let right = json!({"stringData": {
        "address": format!("http://{address}"), "password": MARKER,
    }});
    case.patch::<Secret>("proxy", right).await;
    case.synced("all", &first).await;
    assert_not_disclosed(&case, MARKER).await;
}
