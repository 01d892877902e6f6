//! The webhook endpoint over real connections.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::fleet::SourceName;
use crate::leader::Leadership;
use crate::webhook::{Follows, RepositoryUrl, Secret};

const SECRET: &str = "not to be guessed";
const BODY: &str = r#"{"url": "git@h:team/shop.git", "ref": "refs/heads/main"}"#;

#[tokio::test]
async fn the_wildcard_address_accepts_ipv4_too() {
    let listener = listen("[::]:0".parse().unwrap()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .await
        .unwrap();
}

struct Endpoint {
    address: SocketAddr,
    receivers: Receivers,
    metrics: Metrics,
    /// Wakes `ns/shop`, which follows `main`.
    poke: Arc<Notify>,
}

impl Endpoint {
    async fn start(limits: Limits) -> Self {
        Self::of(limits, Leadership::alone()).await
    }

    async fn of(limits: Limits, leadership: Leadership) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let endpoint = Self {
            address,
            receivers: Receivers::default(),
            metrics: Metrics::default(),
            poke: Arc::default(),
        };
        endpoint.add("shop", SECRET, &endpoint.poke);
        let (receivers, metrics) = (endpoint.receivers.clone(), endpoint.metrics.clone());
        let hooks = Hooks::new(receivers, leadership, metrics, limits);
        tokio::spawn(async move {
            hooks.serve(listener, std::future::pending()).await.unwrap();
        });
        endpoint
    }

    fn add(&self, name: &str, secret: &str, poke: &Arc<Notify>) {
        let receiver = Receiver {
            urls: RepositoryUrl::parse(&format!("https://h/team/{name}.git"))
                .into_iter()
                .collect(),
            follows: Follows::Branch("main".to_owned()),
            secret: Secret::new(secret.as_bytes()).unwrap(),
            poke: Arc::clone(poke),
        };
        self.receivers.set(&SourceName::new("ns", name), receiver);
    }

    /// Sends bytes and returns the status of the answer, or 0 without an answer.
    async fn send(&self, bytes: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The server may have answered and closed before it has read everything.
        let _ = stream.write_all(bytes).await;
        answer(&mut stream).await
    }

    async fn post(&self, headers: &str, body: &str) -> u16 {
        self.send(request(headers, body).as_bytes()).await
    }

    fn counted(&self, provider: &str, outcome: &str) -> u64 {
        let name =
            format!(r#"towline_webhooks_total{{provider="{provider}",outcome="{outcome}"}} "#);
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        line.map_or(0, |count| count.parse().unwrap())
    }

    fn woken(&self) -> bool {
        self.poke.notified().now_or_never().is_some()
    }
}

async fn answer(stream: &mut TcpStream) -> u16 {
    let mut text = Vec::new();
    // Bytes before a reset count.
    let _ = stream.read_to_end(&mut text).await;
    let text = String::from_utf8_lossy(&text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return 0;
    };
    assert_eq!(body, "", "an answer says little");
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

fn request(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST /hook HTTP/1.1\r\nHost: h\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

fn signed(secret: &str, body: &str) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let tag = mac.chain_update(body).finalize().into_bytes();
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("X-Towline-Signature: sha256={hex}\r\n")
}

#[tokio::test]
async fn a_signed_push_wakes_and_nothing_else_does() {
    let endpoint = Endpoint::start(Limits::default()).await;
    let other = Arc::new(Notify::new());
    endpoint.add("other", "another secret", &other);
    let elsewhere = BODY.replace("main", "dev");
    let unknown = BODY.replace("shop", "nothing");
    let foreign = BODY.replace("shop", "other");
    for (headers, body, status, outcome) in [
        (signed(SECRET, BODY), BODY, 202, "woken"),
        (signed(SECRET, &elsewhere), &*elsewhere, 202, "other_ref"),
        (signed(SECRET, &unknown), &*unknown, 202, "unmatched"),
        // A repository that exists gets the same answer as an unknown one if another secret was
        // used.
        (signed(SECRET, &foreign), &*foreign, 202, "unmatched"),
        (signed(SECRET, "{}"), "{}", 400, "malformed"),
        (signed("guessed", BODY), BODY, 401, "wrong_signature"),
        (signed(SECRET, BODY), &*elsewhere, 401, "wrong_signature"),
    ] {
        let before = endpoint.counted("generic", outcome);
        assert_eq!(endpoint.post(&headers, body).await, status, "{body}");
        assert_eq!(endpoint.counted("generic", outcome), before + 1, "{body}");
        assert_eq!(endpoint.woken(), outcome == "woken", "{body}");
    }
    assert!(other.notified().now_or_never().is_none());

    assert_eq!(endpoint.post("", BODY).await, 401);
    assert_eq!(endpoint.counted("unknown", "unsigned"), 1);
    assert_eq!(endpoint.post("X-GitHub-Event: push\r\n", BODY).await, 401);
    assert_eq!(endpoint.counted("github", "unsigned"), 1);
    let token = format!("X-Gitlab-Event: Job Hook\r\nX-Gitlab-Token: {SECRET}\r\n");
    assert_eq!(endpoint.post(&token, "{}").await, 202);
    assert_eq!(endpoint.counted("gitlab", "ignored"), 1);
    let token = "X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: guessed\r\n";
    assert_eq!(endpoint.post(token, BODY).await, 401);
    assert!(!endpoint.woken());

    endpoint.receivers.remove(&SourceName::new("ns", "shop"));
    endpoint.receivers.remove(&SourceName::new("ns", "other"));
    assert_eq!(endpoint.post(&signed(SECRET, BODY), BODY).await, 401);
}

#[tokio::test]
async fn a_request_that_is_not_a_delivery_is_refused() {
    let endpoint = Endpoint::start(Limits::default()).await;
    for (request, status, provider, outcome) in [
        (
            "GET /hook HTTP/1.1\r\nHost: h\r\n\r\n",
            405,
            "unknown",
            "wrong_method",
        ),
        (
            "POST / HTTP/1.1\r\nHost: h\r\n\r\n",
            404,
            "unknown",
            "wrong_path",
        ),
        (
            "POST /hook/x HTTP/1.1\r\nHost: h\r\n\r\n",
            404,
            "unknown",
            "wrong_path",
        ),
        ("nonsense\r\n\r\n", 400, "unknown", "malformed"),
    ] {
        assert_eq!(endpoint.send(request.as_bytes()).await, status, "{request}");
        assert!(endpoint.counted(provider, outcome) > 0, "{request}");
    }
}

#[tokio::test]
async fn heads_and_bodies_are_bounded() {
    let limits = Limits {
        body_bytes: 100_000,
        held_bytes: 150_000,
        hashed_bytes: 120_000,
        ..Limits::default()
    };
    let endpoint = Endpoint::start(limits).await;
    let long = format!("X-Long: {}\r\n", "a".repeat(20_000));
    assert_eq!(endpoint.post(&long, BODY).await, 431);
    let many = "X-Many: a\r\n".repeat(100);
    assert_eq!(endpoint.post(&many, BODY).await, 431);
    assert_eq!(endpoint.counted("unknown", "too_large"), 2);

    // Too large by its `Content-Length`, before any of it is read.
    let signature = signed(SECRET, BODY);
    let said =
        format!("POST /hook HTTP/1.1\r\nHost: h\r\n{signature}Content-Length: 100001\r\n\r\n");
    assert_eq!(endpoint.send(said.as_bytes()).await, 413);
    // Too large by its bytes.
    let chunk = format!("186a1\r\n{}\r\n0\r\n\r\n", " ".repeat(100_001));
    let chunked = format!(
        "POST /hook HTTP/1.1\r\nHost: h\r\n{signature}Transfer-Encoding: chunked\r\n\r\n{chunk}"
    );
    assert_eq!(endpoint.send(chunked.as_bytes()).await, 413);
    assert_eq!(endpoint.counted("generic", "too_large"), 2);
    // Too large for the check, with two secrets.
    let large = format!("{BODY}{}", " ".repeat(70_000));
    assert_eq!(endpoint.post(&signed(SECRET, &large), &large).await, 202);
    assert!(endpoint.woken());
    endpoint.add("other", "another secret", &Arc::default());
    assert_eq!(endpoint.post(&signed(SECRET, &large), &large).await, 413);

    // Too large because others hold memory: the first body is not complete.
    let mut first = TcpStream::connect(endpoint.address).await.unwrap();
    let unfinished = format!(
        "POST /hook HTTP/1.1\r\nHost: h\r\n{signature}Content-Length: 99999\r\n\r\n{}",
        " ".repeat(99_998)
    );
    first.write_all(unfinished.as_bytes()).await.unwrap();
    while endpoint.post(&signed(SECRET, &large), &large).await != 429 {
        tokio::task::yield_now().await;
    }
    drop(first);
    while endpoint.post(&signed(SECRET, BODY), BODY).await != 202 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn slow_senders_are_not_waited_for() {
    let limits = Limits {
        head_time: Duration::from_millis(200),
        body_time: Duration::from_millis(200),
        connections: 4,
        ..Limits::default()
    };
    let endpoint = Endpoint::start(limits).await;
    assert_eq!(endpoint.send(b"POST /hook HTTP/1.1\r\nHost:").await, 0);
    let body = format!(
        "POST /hook HTTP/1.1\r\nHost: h\r\n{}Content-Length: {}\r\n\r\n{{",
        signed(SECRET, BODY),
        BODY.len()
    );
    assert_eq!(endpoint.send(body.as_bytes()).await, 408);
    assert_eq!(endpoint.counted("unknown", "slow"), 1);
    assert_eq!(endpoint.counted("generic", "slow"), 1);

    // Silent clients hold all connections, but only for a short time.
    let mut silent = Vec::new();
    while endpoint.counted("unknown", "busy") == 0 {
        silent.push(TcpStream::connect(endpoint.address).await.unwrap());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(silent.len() > 4);
    while endpoint.post(&signed(SECRET, BODY), BODY).await != 202 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(endpoint.woken());
}

#[tokio::test]
async fn a_flood_of_replays_is_one_fetch_and_one_more() {
    let endpoint = Arc::new(Endpoint::start(Limits::default()).await);
    // A driver whose fetch takes as long as the flood.
    let fetches = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let go_on = Arc::new(tokio::sync::Semaphore::new(0));
    let driver = {
        let (poke, fetches, go_on) = (
            Arc::clone(&endpoint.poke),
            Arc::clone(&fetches),
            Arc::clone(&go_on),
        );
        tokio::spawn(async move {
            loop {
                poke.notified().await;
                fetches.fetch_add(1, Ordering::SeqCst);
                go_on.acquire().await.unwrap().forget();
            }
        })
    };
    let replay = Arc::new(request(&signed(SECRET, BODY), BODY));
    let senders: Vec<_> = (0..20)
        .map(|_| {
            let (endpoint, replay) = (Arc::clone(&endpoint), Arc::clone(&replay));
            tokio::spawn(async move {
                for _ in 0..50 {
                    assert_eq!(endpoint.send(replay.as_bytes()).await, 202);
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    assert_eq!(endpoint.counted("generic", "woken"), 1000);
    assert_eq!(fetches.load(Ordering::SeqCst), 1);
    go_on.add_permits(10);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(fetches.load(Ordering::SeqCst), 2);
    driver.abort();
}

#[tokio::test]
async fn a_standby_relays_deliveries_and_answers() {
    let leader = Endpoint::start(Limits::default()).await;
    let leadership = Leadership::standby();
    let standby = Endpoint::of(Limits::default(), leadership.clone()).await;
    let signature = signed(SECRET, BODY);
    assert_eq!(standby.post(&signature, BODY).await, 503, "no leader yet");
    assert_eq!(standby.counted("generic", "no_leader"), 1);

    leadership.stand_by(Some(leader.address));
    // A large body, and one without a `Content-Length`.
    let large = format!("{BODY}{}", " ".repeat(1 << 20));
    let chunked = format!(
        "POST /hook HTTP/1.1\r\nHost: h\r\n{signature}Transfer-Encoding: chunked\r\n\r\n\
         {:x}\r\n{BODY}\r\n0\r\n\r\n",
        BODY.len()
    );
    for request in [
        request(&signature, BODY),
        request(&signed(SECRET, &large), &large),
        chunked,
    ] {
        assert_eq!(standby.send(request.as_bytes()).await, 202);
        assert!(leader.woken() && !standby.woken());
    }
    // The leader checks the proof, and the sender gets the leader's answer.
    let forged = signed("guessed", BODY);
    assert_eq!(standby.post(&forged, BODY).await, 401);
    assert_eq!(leader.counted("generic", "wrong_signature"), 1);
    assert_eq!(standby.counted("generic", "relayed"), 4);
    // A delivery without a signature is not relayed.
    assert_eq!(standby.post("", BODY).await, 401);
    assert_eq!(leader.counted("unknown", "unsigned"), 0);

    leadership.lead();
    assert_eq!(standby.post(&signature, BODY).await, 202);
    assert!(standby.woken() && !leader.woken());
}

#[tokio::test]
async fn a_standby_does_not_wait_for_a_dead_leader_or_relay_in_a_circle() {
    let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let leadership = Leadership::standby();
    let standby = Endpoint::of(Limits::default(), leadership.clone()).await;
    let signature = signed(SECRET, BODY);
    leadership.stand_by(Some(nobody));
    assert_eq!(standby.post(&signature, BODY).await, 503);
    // This replica names itself as the leader. A relayed delivery is not relayed again.
    leadership.stand_by(Some(standby.address));
    assert_eq!(standby.post(&signature, BODY).await, 503);
    assert_eq!(standby.counted("generic", "relayed"), 1);
    assert_eq!(standby.counted("generic", "no_leader"), 2);
}
