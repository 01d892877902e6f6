//! Proxies: the environment's, and a Secret's, over HTTP, TLS and SSH.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::source::git::testing::{Authority, Sshd};

const MARK: &str = "m4rk3r";
const LOGIN: &str = "Proxy-Authorization: Basic dXNlcjptNHJrM3I="; // user:m4rk3r

/// A proxy for `CONNECT` that leads everywhere to `target`, if it gets `login`. Returns its
/// address, and the list of received requests.
async fn proxy(target: String, login: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (target, log) = (target.clone(), Arc::clone(&log));
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                log.lock()
                    .unwrap()
                    .push(head.lines().next().unwrap().to_owned());
                if !head.contains(login) {
                    let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
                    return client.write_all(refusal).await.unwrap();
                }
                let mut server = TcpStream::connect(target).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (format!("http://{address}"), heard)
}

fn secret(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
        .collect()
}

/// Fetches through the proxy at `address` with and without the right password.
async fn goes_through_the_proxy(request: FetchRequest, address: &str) {
    let (_folder, cache) = cache();
    let with = |password: &str| {
        let data = secret(&[
            ("address", address),
            ("username", "user"),
            ("password", password),
        ]);
        FetchRequest {
            proxy: Some(Proxy::from_secret(&request.url, &data).unwrap()),
            ..request.clone()
        }
    };
    let snapshot = fetch(&cache, with(MARK)).await;
    assert_eq!(snapshot.listing("").unwrap().files.len(), 1);
    let error = cache.fetch(with("m4rk3r2")).await.unwrap_err();
    let text = crate::chain(&error);
    assert!(
        text.ends_with("the proxy refuses its user and password (HTTP status 407)"),
        "{text}"
    );
    assert_eq!(error.reason(), crate::api::Reason::AuthenticationFailed);
    assert!(!format!("{text} {error:?}").contains(MARK));
    let data = secret(&[("address", "http://127.0.0.1:1")]);
    let closed = FetchRequest {
        proxy: Some(Proxy::from_secret(&request.url, &data).unwrap()),
        ..request.clone()
    };
    let error = cache.fetch(closed).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_and_tls_go_through_a_secrets_proxy() {
    let plain = Remote::start().await;
    let authority = Authority::new();
    let tls = Remote::start_tls(&authority, None).await;
    for (remote, credentials) in [
        (&plain, Credentials::None),
        (
            &tls,
            Credentials::from_secret(&tls.url(), &secret(&[("ca.crt", &authority.pem())])).unwrap(),
        ),
    ] {
        remote.commit("main", &[("a.yaml", FILE)]);
        let (_, rest) = remote.url().split_once("://").map(own).unwrap();
        let target = rest.replace("/repo.git", "");
        let (address, heard) = proxy(target.clone(), LOGIN).await;
        let request = FetchRequest {
            credentials,
            ..remote.request(branch("main"))
        };
        goes_through_the_proxy(request, &address).await;
        let heard = heard.lock().unwrap();
        let asked = format!("CONNECT {target} HTTP/1.1");
        assert!(!heard.is_empty() && heard.iter().all(|line| *line == asked));
    }
}

fn own((one, other): (&str, &str)) -> (String, String) {
    (one.to_owned(), other.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_goes_through_a_secrets_proxy() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let sshd = Sshd::start(&["ed25519"]);
    let url = sshd.url(remote.repository.path());
    let login = secret(&[
        ("identity", &sshd.identity("ed25519", "")),
        ("known_hosts", &sshd.known_host("ed25519")),
    ]);
    let (address, heard) = proxy(format!("127.0.0.1:{}", sshd.port), LOGIN).await;
    let request = FetchRequest {
        credentials: Credentials::from_secret(&url, &login).unwrap(),
        ..FetchRequest::new("test", &url, branch("main"), Duration::from_secs(30))
    };
    goes_through_the_proxy(request, &address).await;
    let asked = format!("CONNECT localhost:{} HTTP/1.1", sshd.port);
    assert!(heard.lock().unwrap().iter().all(|line| *line == asked));
}

/// The environment belongs to the process, so the fetch runs in a process of its own.
#[tokio::test(flavor = "multi_thread")]
async fn the_environment_names_the_proxy() {
    let remote = Remote::start().await;
    remote.commit("main", &[("a.yaml", FILE)]);
    let target = remote.url().replace("http://", "").replace("/repo.git", "");
    let (proxy, heard) = proxy(target, "").await;
    let run = async |no_proxy: &str| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child
            .args([
                "--ignored",
                "--exact",
                "--nocapture",
                "source::git::tests::proxies::fetch_in_a_process",
            ])
            .env("HTTP_PROXY", &proxy)
            .env("NO_PROXY", no_proxy);
        let run = tokio::task::spawn_blocking(move || child.output().unwrap());
        String::from_utf8(run.await.unwrap().stdout).unwrap()
    };
    let said = run("other.invalid").await;
    assert!(said.contains("result: main@sha1:"), "{said}");
    assert_eq!(
        heard.lock().unwrap().as_slice(),
        ["CONNECT git.invalid:80 HTTP/1.1"]
    );
    let said = run("other.invalid,.invalid").await;
    assert!(
        said.contains("result: cannot fetch http://git.invalid/repo.git"),
        "{said}"
    );
    assert_eq!(heard.lock().unwrap().len(), 1);
}

#[tokio::test]
#[ignore = "run by the_environment_names_the_proxy"]
async fn fetch_in_a_process() {
    let (_folder, cache) = cache();
    let url = "http://git.invalid/repo.git";
    let request = FetchRequest::new("test", url, branch("main"), Duration::from_secs(20));
    match cache.fetch(request).await {
        Ok(fetched) => println!("result: {}", fetched.snapshot().revision),
        Err(error) => println!("result: {}", crate::chain(&error)),
    }
}
