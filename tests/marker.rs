//! No secret is disclosed. A marker is part of every secret value and of URLs. Everything that can fail
//! is made to fail, and servers repeat the credentials that they received. Then the marker must not occur
//! anywhere.

mod beside;
mod ill;
mod look;

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use serde_json::{Value, json};
use towline::api::GitRepository;

use crate::world::verdict::named_repository_ready_becomes;
use crate::world::{Case, World};
use towline_testing::control_plane::Options;
use towline_testing::git::GitServer;
use towline_testing::hook;
use towline_testing::hostile::Hostile;
use towline_testing::scratch::Scratch;
use towline_testing::sshd::Sshd;
use towline_testing::tls::Authority;

/// Part of every secret value.
pub const MARKER: &str = "Zk7q1marker8Xw";

const REFUSED: &str = "AuthenticationFailed";
const INVALID: &str = "CredentialsInvalid";
const FAILED: &str = "FetchFailed";

/// A secret value that contains the marker.
fn mark(what: &str) -> String {
    format!("{MARKER}-{what}")
}

/// A repository that cannot be fetched, or whose revision is refused.
struct Failing {
    name: String,
    url: String,
    secret: Value,
    /// The field of the spec that names the Secret.
    field: &'static str,
    reason: &'static str,
}

impl Failing {
    fn spec(&self) -> Value {
        let mut spec = json!({
            "url": self.url, "ref": {"branch": "main"}, "interval": "1h", "timeout": "30s",
        });
        let named = json!({"name": self.name});
        spec[self.field] = match self.field {
            "verify" => json!({ "secretRef": named }),
            _ => named,
        };
        spec
    }
}

fn failing(name: &str, url: &str, secret: Value, reason: &'static str) -> Failing {
    Failing {
        name: name.to_owned(),
        url: url.to_owned(),
        secret,
        field: "secretRef",
        reason,
    }
}

fn basic() -> Value {
    json!({"username": mark("user"), "password": mark("password")})
}

/// Servers that each fail in a different way.
struct Servers {
    ill: Hostile,
    plain: GitServer,
    tls: GitServer,
    choosy: GitServer,
    authority: Authority,
    clients: Authority,
    sshd: Sshd,
    _banner: Scratch,
}

impl Servers {
    fn start() -> Self {
        let (authority, clients) = (Authority::new(), Authority::new());
        let banner = Scratch::new().unwrap();
        let file = banner.path().join("banner");
        std::fs::write(&file, format!("welcome, {}\n", mark("user"))).unwrap();
        let banner_line = format!("Banner {}", file.display());
        let servers = Self {
            ill: Hostile::start(ill::answer),
            plain: GitServer::start(),
            tls: GitServer::start_tls(&authority, None),
            choosy: GitServer::start_tls(&authority, Some(&clients)),
            authority,
            clients,
            sshd: Sshd::start_with(&["ed25519"], &banner_line),
            _banner: banner,
        };
        servers.plain.allow_only("ann", "another");
        servers.tls.allow_only("ann", "another");
        servers
    }

    /// Servers that repeat the credentials in every part of an answer.
    fn repeating(&self) -> Vec<Failing> {
        let bearer = json!({"bearerToken": mark("token")});
        let mut all = Vec::new();
        for (mode, reason) in ill::MODES {
            let url = format!("{}/{mode}.git", self.ill.url());
            all.push(failing(&format!("basic-{mode}"), &url, basic(), reason));
            let name = format!("bearer-{mode}");
            all.push(failing(&name, &url, bearer.clone(), reason));
            let url = format!("{url}?key={}", mark("query"));
            all.push(failing(&format!("query-{mode}"), &url, basic(), reason));
        }
        all
    }

    /// Servers that refuse the credentials over HTTP, and Secrets that HTTP cannot use.
    fn http(&self) -> Vec<Failing> {
        let url = self.plain.url() + "/r.git";
        let tls = self.tls.url() + "/r.git";
        let choosy = self.choosy.url() + "/r.git";
        let ca = self.authority.pem();
        let (chain, key) = self.clients.issue("towline");
        let (strange_chain, strange_key) = self.authority.issue(MARKER);
        let garbage = mark("garbage");
        let in_pem = format!("-----BEGIN CERTIFICATE-----\n{garbage}\n-----END CERTIFICATE-----\n");
        vec![
            failing("refused", &url, basic(), REFUSED),
            failing(
                "refused-token",
                &url,
                json!({"bearerToken": mark("t")}),
                REFUSED,
            ),
            failing(
                "password-lines",
                &url,
                json!({"username": mark("user"), "password": mark("a\nb")}),
                INVALID,
            ),
            failing(
                "user-colon",
                &url,
                json!({"username": mark("a:b"), "password": mark("password")}),
                INVALID,
            ),
            failing(
                "user-alone",
                &url,
                json!({"username": mark("user")}),
                INVALID,
            ),
            failing(
                "token-space",
                &url,
                json!({"bearerToken": mark("a b")}),
                INVALID,
            ),
            failing(
                "other-keys",
                &url,
                json!({"secret": mark("other")}),
                INVALID,
            ),
            failing("no-authority", &tls, basic(), REFUSED),
            failing("tls-refused", &tls, with(basic(), "ca.crt", &ca), REFUSED),
            failing("ca-garbage", &tls, json!({"ca.crt": garbage}), INVALID),
            failing("ca-in-pem", &tls, json!({"ca.crt": in_pem}), INVALID),
            failing(
                "no-certificate",
                &choosy,
                with(basic(), "ca.crt", &ca),
                REFUSED,
            ),
            failing(
                "strange-certificate",
                &choosy,
                json!({
                    "ca.crt": format!("{garbage}\n{ca}"), "tls.crt": format!("{garbage}\n{strange_chain}"),
                    "tls.key": format!("{garbage}\n{strange_key}"),
                }),
                REFUSED,
            ),
            failing(
                "chain-garbage",
                &choosy,
                json!({"tls.crt": garbage, "tls.key": key}),
                INVALID,
            ),
            failing(
                "key-garbage",
                &choosy,
                json!({"tls.crt": chain, "tls.key": garbage}),
                INVALID,
            ),
        ]
    }

    /// The same over SSH.
    fn ssh(&self) -> Vec<Failing> {
        let url = self.sshd.url("/nowhere.git".as_ref());
        let (_, place) = url.split_once('@').unwrap();
        let known = self.sshd.known_host("ed25519");
        let known = format!(
            "{} {} {}\n{known}",
            mark("host"),
            key_of(&known),
            mark("note")
        );
        let (identity, locked) = (
            self.sshd.identity("ed25519", ""),
            self.sshd.identity("ed25519", &mark("passphrase")),
        );
        let secret = |identity: &str, known: &str| {
            json!({
                "identity": identity, "identity.pub": mark("public"), "known_hosts": known,
                "password": mark("passphrase"),
            })
        };
        let right = secret(&identity, &known);
        let unknown = known.lines().next().unwrap();
        vec![
            failing("ssh-missing", &url, secret(&locked, &known), FAILED),
            failing(
                "ssh-user",
                &url,
                with(right.clone(), "username", &mark("user")),
                REFUSED,
            ),
            failing(
                "ssh-url-user",
                &format!("ssh://{}@{place}", mark("user")),
                right.clone(),
                REFUSED,
            ),
            failing(
                "ssh-scp-user",
                &format!("{}@nowhere.invalid:r.git", mark("user")),
                right,
                REFUSED,
            ),
            failing(
                "ssh-stranger",
                &url,
                secret(&self.sshd.unknown_identity(), &known),
                REFUSED,
            ),
            failing(
                "ssh-unknown-host",
                &url,
                secret(&identity, unknown),
                REFUSED,
            ),
            failing(
                "ssh-known-garbage",
                &url,
                secret(&identity, MARKER),
                INVALID,
            ),
            failing("ssh-key-garbage", &url, secret(MARKER, &known), INVALID),
            failing(
                "ssh-key-in-pem",
                &url,
                secret(&identity.replacen("b3Bl", MARKER, 1), &known),
                INVALID,
            ),
            failing(
                "ssh-passphrase",
                &url,
                with(secret(&locked, &known), "password", &mark("guess")),
                INVALID,
            ),
            failing("ssh-no-hosts", &url, json!({"identity": identity}), INVALID),
        ]
    }
}

/// Key type and key of a line of `known_hosts`.
fn key_of(line: &str) -> String {
    line.split(' ')
        .skip(1)
        .take(2)
        .collect::<Vec<_>>()
        .join(" ")
}

fn with(mut secret: Value, key: &str, value: &str) -> Value {
    secret[key] = json!(value);
    secret
}

async fn create_secret(case: &Case<'_>, name: &str, data: &Value) {
    let secret = json!({"metadata": {"name": name}, "stringData": data});
    let secret: Secret = serde_json::from_value(secret).unwrap();
    let api = case.api::<Secret>();
    api.create(&PostParams::default(), &secret).await.unwrap();
}

async fn create(case: &Case<'_>, name: &str, spec: Value) -> Result<(), kube::Error> {
    let object = json!({
        "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
        "metadata": {"name": name}, "spec": spec,
    });
    let object: GitRepository = serde_json::from_value(object).unwrap();
    let api = case.api::<GitRepository>();
    api.create(&PostParams::default(), &object).await.map(drop)
}

/// Makes everything fail. Returns the operator's answers to webhooks.
async fn drive(case: &Case<'_>, servers: &Servers) -> Vec<String> {
    let mut all = servers.repeating();
    all.extend(servers.http());
    all.extend(servers.ssh());
    all.extend(beside::proxies(servers));
    all.extend(beside::signers(servers, case.repo.url()));
    for one in &all {
        create_secret(case, &one.name, &one.secret).await;
        create(case, &one.name, one.spec()).await.unwrap();
    }
    create_secret(case, "hook", &json!({"token": mark("hook")})).await;
    create_secret(case, "no-hook", &json!({"password": mark("hook")})).await;
    let manifest = format!(
        "apiVersion: towline.dev/v1alpha1\nkind: GitRepository\nmetadata:\n  name: bad\n  namespace: {}\n\
         spec:\n  url: https://user:{MARKER}@git.example/r.git\n",
        case.namespace
    );
    case.repo
        .commit(&[("bad.yaml", Some(manifest))], "a password in a URL");
    let followed = case.repo.url();
    for (name, secret) in [("hooked", "hook"), ("bad-hook", "no-hook")] {
        let spec = json!({"url": followed, "webhook": {"secretRef": {"name": secret}}});
        create(case, name, spec).await.unwrap();
    }
    let sync = json!({"sourceRef": {"name": "basic-error"}});
    case.sync("all", sync).await;
    // Here towline sends the URL, and receives the API server's refusal of its password.
    let sync = json!({"sourceRef": {"name": "hooked"}});
    case.sync("bad", sync).await;
    for one in &all {
        let message = named_repository_ready_becomes(case, &one.name, "False", one.reason).await;
        // The server's words are shown, but without the secret in them.
        let is_quoted = one.name.ends_with("-error");
        assert!(!is_quoted || message.contains("***"), "{message}");
    }
    named_repository_ready_becomes(case, "bad-hook", "False", "WebhookInvalid").await;
    case.ready_becomes("bad", "False", "ApplyFailed").await;
    call(case, followed).await
}

/// Sends webhooks with valid and invalid proofs.
async fn call(case: &Case<'_>, url: &str) -> Vec<String> {
    let (secret, guess) = (mark("hook"), mark("guess"));
    let body = hook::pushed(url, "main");
    let gitlab = |token: &str| format!("X-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: {token}\r\n");
    let endpoint = hook::endpoint(&case.world.operator);
    let mut answers = Vec::new();
    for request in [
        hook::signed(&secret, &body),
        hook::signed(&guess, &body),
        hook::signed(&secret, &mark("body")),
        hook::post(&gitlab(&secret), &body),
        hook::post(&gitlab(&guess), &body),
        hook::post(&gitlab(&secret), &mark("body")),
        hook::post(&format!("X-Towline-Signature: {secret}\r\n"), &body),
        hook::post(
            &format!("Authorization: Basic {}\r\n", look::base64(&secret)),
            &body,
        ),
        hook::post(&format!("{secret}\r\n"), &body),
        hook::get(&format!("/hook?token={secret}")),
    ] {
        answers.push(hook::send(endpoint, request).await);
    }
    answers
}

/// The API server refuses a password in a URL. (Its answer to the sender repeats the URL.)
async fn passwords_in_urls_are_refused(case: &Case<'_>) {
    for url in [
        format!("https://{}@git.example/r.git", MARKER),
        format!("https://user:{MARKER}@git.example/r.git"),
        format!("ssh://git:{MARKER}@git.example/r.git"),
    ] {
        let refused = create(case, "userinfo", json!({"url": url})).await;
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("without a password"), "{text}");
    }
}

#[tokio::test]
async fn no_secret_is_disclosed_whatever_fails() {
    let mut world = World::own(
        Options::default(),
        &["--log-format=json", "--log-level=trace"],
    )
    .await;
    for (name, args) in [
        ("marker-json", None),
        (
            "marker-text",
            Some(["--log-format=text", "--log-level=trace"]),
        ),
    ] {
        if let Some(args) = args {
            world.operator.restart_with(&args).await;
        }
        let servers = Servers::start();
        let case = world.case(name).await;
        passwords_in_urls_are_refused(&case).await;
        let answers = drive(&case, &servers).await;
        look::everywhere(&case, &answers).await;
    }
}
