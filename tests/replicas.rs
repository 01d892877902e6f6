//! Two replicas never write at the same time, whatever happens to the leader. The audit log of the API
//! server shows this by the server's clock.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use towline::api::Sync;
use towline::leader::{LEASE_LABEL, WEBHOOK_ADDRESS};

use crate::bad_spec::{object, remove_schema, untyped, untyped_ready_becomes};
use crate::newer::many;
use crate::webhook::{call_at, pushed, secret};
use crate::world::{Case, PATIENCE, World, config_map};
use towline_testing::audit::{Entry, Mark};
use towline_testing::control_plane::Options;
use towline_testing::git::Served;
use towline_testing::kubeconfig::User;
use towline_testing::operator::{Operator, OperatorOptions};
use towline_testing::process::Lifetime;
use towline_testing::proxy::Proxy;
use towline_testing::wait::eventually;

/// Short, but long enough for a leader on a machine that also compiles.
const LEASE: Duration = Duration::from_secs(6);

/// The longest time from a leader's end until another replica holds the lease. It is the length of the
/// lease and two polls of a standby (each a fifteenth of the lease): the standby sees the last renewal up
/// to a poll late, and the end of the lease up to a poll late. The remaining two seconds are for requests
/// on a busy machine. A replica cancels its request after two seconds, and a leader gives up after two
/// cancelled requests.
const TAKEOVER: Duration = Duration::from_secs(9);

const ARGS: [&str; 2] = ["--leader-elect", "--lease-duration=6s"];

const USERS: [User; 2] = [User::Towline, User::Replica];

const COUNT: usize = 300;

/// More objects than are written at once. While more than these are missing, some writes have not begun.
const PENDING: usize = 50;

/// Two operators on one cluster, each with its own user. The world's operator leads first.
struct Pair {
    world: World,
    second: Operator,
}

impl Pair {
    async fn start() -> Self {
        let audited = Options {
            audit: true,
            ..Options::default()
        };
        let world = World::own(audited, &ARGS).await;
        becomes_leader(&world.operator).await;
        let second = Operator::start(OperatorOptions {
            program: None,
            kubeconfig: world.cp.kubeconfig_for(User::Replica),
            args: ARGS.map(str::to_owned).into(),
            env: Vec::new(),
            lifetime: Lifetime::Ours,
        })
        .await;
        is_ready(&second).await;
        Self { world, second }
    }

    /// The terms of all leaders so far. Panics if a replica wrote outside of its term.
    async fn terms(&self) -> Vec<Term> {
        let entries = self.world.cp.audit_since(Mark::default()).await;
        let terms = terms(&entries);
        one_at_a_time(&entries, &terms);
        terms
    }
}

/// A period in which one replica led.
#[derive(Debug)]
struct Term {
    user: String,
    /// The times of its first successful request for the lease: received, and answered.
    asked: Timestamp,
    got: Timestamp,
}

fn terms(entries: &[Entry]) -> Vec<Term> {
    // The API server has leases of its own.
    let is_lease = |entry: &&Entry| {
        ours(entry) && entry.resource == "leases" && entry.is_write() && done(entry)
    };
    let mut writes: Vec<&Entry> = entries.iter().filter(is_lease).collect();
    writes.sort_by_key(|entry| entry.completed);
    let mut terms: Vec<Term> = Vec::new();
    for write in writes {
        if terms.last().is_none_or(|term| term.user != write.user) {
            terms.push(Term {
                user: write.user.clone(),
                asked: write.received,
                got: write.completed.unwrap(),
            });
        }
    }
    terms
}

/// Whether the server carried out a write.
fn done(entry: &Entry) -> bool {
    entry.completed.is_some() && (200..300).contains(&entry.code)
}

/// Whether the server refused a write. If the server cancelled it, the result is unknown.
fn refused(entry: &Entry) -> bool {
    (400..500).contains(&entry.code)
}

/// All writes except those of the lease itself.
fn writes(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    let others = |entry: &&Entry| ours(entry) && entry.is_write() && entry.resource != "leases";
    entries.iter().filter(others)
}

fn ours(entry: &Entry) -> bool {
    USERS.iter().any(|user| user.name() == entry.user)
}

/// Panics unless the server received every write while its sender held the lease, and finished it before
/// the next replica requested the lease.
fn one_at_a_time(entries: &[Entry], terms: &[Term]) {
    for write in writes(entries) {
        let index = terms.iter().rposition(|term| term.asked <= write.received);
        let index = index.unwrap_or_else(|| panic!("a write before the first term: {write:#?}"));
        let term = &terms[index];
        assert_eq!(write.user, term.user, "in {terms:#?}: {write:#?}");
        assert!(write.received >= term.got, "in {terms:#?}: {write:#?}");
        if let Some(next) = terms.get(index + 1).filter(|_| !refused(write)) {
            let ended = write.completed.is_some_and(|at| at <= next.asked);
            assert!(ended, "in {terms:#?}: {write:#?}");
        }
    }
}

/// Waits until an operator logs that it leads.
async fn becomes_leader(operator: &Operator) {
    wait_for_metric(operator, "towline_leader 1").await;
}

/// Waits until an operator's metrics contain a line.
async fn wait_for_metric(operator: &Operator, line: &str) {
    eventually(line, PATIENCE, async || {
        let page = operator.page("/metrics").await;
        let page = page.map_err(|error| error.to_string())?;
        let has = page.lines().any(|is| is == line);
        has.then_some(()).ok_or(page)
    })
    .await;
}

/// Waits until an operator's readiness probe succeeds.
async fn is_ready(operator: &Operator) {
    eventually("ready", PATIENCE, async || {
        let page = operator.page("/readyz").await;
        let page = page.map_err(|error| error.to_string())?;
        let ready = page.starts_with("HTTP/1.1 200");
        ready.then_some(()).ok_or(page)
    })
    .await;
}

/// Waits until an operator has ended by itself because it lost the lease.
async fn gives_up(operator: &mut Operator) {
    let status = eventually("the end of the former leader", PATIENCE, async || {
        operator.exited()
    })
    .await;
    assert!(!status.success(), "{status}");
    let log = operator.log_tail();
    assert!(log.contains("no longer leads"), "{log}");
}

/// A Sync of many objects. Waits until the first objects are applied.
async fn busy<'a>(world: &'a World, name: &str) -> Case<'a> {
    let case = world.case(name).await;
    let text = many(COUNT, &case.namespace, "first");
    case.repo.commit(&[("all.yaml", Some(text))], "first");
    case.repository(json!({})).await;
    case.sync("all", json!({})).await;
    begun(&case, "first").await;
    case
}

async fn begun(case: &Case<'_>, value: &str) {
    eventually("the first objects", PATIENCE, async || {
        (case.maps_with(Some(value)).await > 0).then_some(())
    })
    .await;
}

/// Panics unless the stopped leader has written some objects but not all, and has more to write than was
/// under way.
async fn is_half_done(case: &Case<'_>, value: &str) {
    let count = case.maps_with(Some(value)).await;
    println!("{count} of {COUNT} objects were written");
    assert!((1..COUNT - PENDING).contains(&count), "{count} of {COUNT}");
}

async fn all_are(case: &Case<'_>, value: &str) {
    eventually("all objects", PATIENCE, async || {
        let count = case.maps_with(Some(value)).await;
        (count == COUNT).then_some(()).ok_or(count)
    })
    .await;
}

/// Panics unless a term began within [`TAKEOVER`] after `since` and continued the work.
fn took_over(what: &str, since: Timestamp, entries: &[Entry], term: &Term) {
    let later = writes(entries).filter(|write| write.received >= term.got && done(write));
    let on_objects = later.filter(|write| write.resource == "configmaps");
    let first = on_objects.map(|write| write.received).min();
    let first = first.unwrap_or_else(|| panic!("{what}: nothing was written in {term:#?}"));
    let taken = term.got.duration_since(since).unsigned_abs();
    let begun = first.duration_since(term.got).unsigned_abs();
    println!("{what}: lease taken after {taken:?}, first object written {begun:?} later");
    assert!(taken < TAKEOVER, "{what}: {taken:?}");
}

#[tokio::test]
async fn only_the_leader_writes_and_the_standby_relays_webhooks() {
    let mut pair = Pair::start().await;
    let case = pair.world.case("pair").await;
    let file = |value| config_map("a", &case.namespace, value);
    let first = case.repo.commit(&[("a.yaml", Some(file("one")))], "first");
    secret(&case, "token", "s").await;
    case.repository(json!({"webhook": {"secretRef": {"name": "hook"}}}))
        .await;
    case.sync("all", json!({})).await;
    case.synced("all", &first).await;
    wait_for_metric(&pair.second, "towline_leader 0").await;
    wait_for_metric(&pair.second, r#"towline_fetches_total{reason="Fetched"} 1"#).await;
    let client = case.client.clone();
    let leases: Api<Lease> = Api::namespaced(client, "default");
    let lease = leases.get("towline").await.unwrap();
    let address = &lease.metadata.annotations.unwrap()[WEBHOOK_ADDRESS];
    let (label, value) = LEASE_LABEL;
    assert_eq!(lease.metadata.labels.unwrap()[label], value);
    let hooks = pair.world.operator.find_address("receiving webhooks");
    assert_eq!(*address, hooks.unwrap().to_string());

    let second = case.repo.commit(&[("a.yaml", Some(file("two")))], "second");
    assert_eq!(
        call_at(&pair.second, "guessed", &pushed(&case, "main")).await,
        401
    );
    assert_eq!(
        call_at(&pair.second, "s", &pushed(&case, "main")).await,
        202
    );
    case.synced("all", &second).await;
    let relayed = r#"towline_webhooks_total{provider="github",outcome="relayed"} 2"#;
    wait_for_metric(&pair.second, relayed).await;
    let terms = pair.terms().await;
    assert_eq!(terms.len(), 1, "{terms:#?}");

    // The standby fetches each revision after the leader, and does not poll.
    let downloads = || {
        let served = pair.world.git.requests_of(&case.namespace);
        let is_download = |one: &&Served| one.path == "git-upload-pack";
        served.iter().filter(is_download).count()
    };
    wait_for_metric(&pair.second, r#"towline_fetches_total{reason="Fetched"} 2"#).await;
    let downloaded = downloads();

    // A rolling update: the leader releases the lease, so the next leader does not wait for its end.
    let body = pushed(&case, "main");
    let parts = case.into_parts();
    assert!(pair.world.operator.terminate(PATIENCE).success());
    let ended = Timestamp::now();
    becomes_leader(&pair.second).await;
    let terms = pair.terms().await;
    assert_eq!(terms.len(), 2, "{terms:#?}");
    let waited = terms[1].asked.duration_since(ended).unsigned_abs();
    assert!(waited < LEASE, "{waited:?}");
    println!("SIGTERM: lease taken {waited:?} after the end");
    let case = pair.world.resume(parts).await;
    // The new leader's first poll downloads nothing.
    wait_for_metric(&pair.second, r#"towline_fetches_total{reason="Fetched"} 3"#).await;
    let served = pair.world.git.take_requests();
    let downloads = served.iter().filter(|one| one.path == "git-upload-pack");
    assert_eq!(downloads.count(), downloaded);
    let file = config_map("a", &case.namespace, "three");
    let third = case.repo.commit(&[("a.yaml", Some(file))], "third");
    eventually("the new leader knows the webhook", PATIENCE, async || {
        let status = call_at(&pair.second, "s", &body).await;
        (status == 202).then_some(()).ok_or(status)
    })
    .await;
    case.synced("all", &third).await;
    pair.terms().await;
}

#[tokio::test]
async fn a_terminated_leader_hands_over_in_the_middle_of_its_work() {
    let mut pair = Pair::start().await;
    let case = busy(&pair.world, "rolled").await;
    let parts = case.into_parts();
    assert!(pair.world.operator.terminate(PATIENCE).success());
    let ended = Timestamp::now();
    becomes_leader(&pair.second).await;
    let case = pair.world.resume(parts).await;
    all_are(&case, "first").await;
    case.ready_becomes("all", "True", "Converged").await;
    let terms = pair.terms().await;
    assert_eq!(terms.len(), 2, "{terms:#?}");
    let waited = terms[1].asked.duration_since(ended).unsigned_abs();
    assert!(waited < LEASE, "{waited:?}");
    let entries = pair.world.cp.audit_since(Mark::default()).await;
    took_over("SIGTERM at work", ended, &entries, &terms[1]);
}

#[tokio::test]
async fn a_standby_finishes_what_a_killed_leader_began() {
    let mut pair = Pair::start().await;
    let case = busy(&pair.world, "killed").await;
    // Frozen only while the test counts the objects.
    pair.world.operator.freeze();
    is_half_done(&case, "first").await;
    let parts = case.into_parts();
    let killed = Timestamp::now();
    pair.world.operator.kill();
    let case = pair.world.resume(parts).await;
    remove_schema::<Sync>(&case).await;
    let syncs = untyped::<Sync>(&case);
    // Without a leader, nothing reports the invalid spec.
    eventually("the definition without a schema", PATIENCE, async || {
        let garbage = object("Sync", "bad", &json!({"path": 7}));
        syncs.create(&PostParams::default(), &garbage).await
    })
    .await;
    becomes_leader(&pair.second).await;
    all_are(&case, "first").await;
    case.ready_becomes("all", "True", "Converged").await;
    let message = untyped_ready_becomes(&syncs, "bad", "InvalidSpec").await;
    assert!(message.contains("the spec cannot be read"), "{message}");

    let terms = pair.terms().await;
    assert_eq!(terms.len(), 2, "{terms:#?}");
    let entries = pair.world.cp.audit_since(Mark::default()).await;
    took_over("SIGKILL", killed, &entries, &terms[1]);
    // The standby had already read the objects, so it lists them only once.
    let lists = entries.iter().filter(|entry| {
        let reads = matches!(entry.verb.as_str(), "list" | "watch");
        entry.user == terms[1].user && entry.resource == "configmaps" && reads
    });
    let lists: Vec<&Entry> = lists.collect();
    assert!(!lists.is_empty());
    for list in lists {
        assert!(list.received < terms[1].asked, "{list:#?}");
    }

    // The killed operator starts again and becomes the standby.
    let parts = case.into_parts();
    pair.world.operator.restart().await;
    is_ready(&pair.world.operator).await;
    let case = pair.world.resume(parts).await;
    let text = many(COUNT, &case.namespace, "second");
    case.push(&[("all.yaml", Some(&text))], "second").await;
    all_are(&case, "second").await;
    wait_for_metric(&pair.world.operator, "towline_leader 0").await;
    let terms = pair.terms().await;
    assert_eq!(terms.len(), 2, "{terms:#?}");
}

#[tokio::test]
async fn a_leader_frozen_past_its_lease_writes_nothing_when_it_continues() {
    let mut pair = Pair::start().await;
    let case = busy(&pair.world, "frozen").await;
    let mut parts = case.into_parts();
    let values = ["first", "second", "third", "fourth"];
    for (round, value) in values[1..].iter().enumerate() {
        // In the middle of an apply, with requests under way.
        let frozen = Timestamp::now();
        let mark = pair.world.cp.audit().mark();
        [&pair.world.operator, &pair.second][round % 2].freeze();
        let case = pair.world.resume(parts).await;
        is_half_done(&case, values[round]).await;
        parts = case.into_parts();
        let (leader, standby) = match round % 2 {
            0 => (&mut pair.world.operator, &pair.second),
            _ => (&mut pair.second, &pair.world.operator),
        };
        becomes_leader(standby).await;
        let user = USERS[(round + 1) % 2].name();
        eventually("the other one at work", PATIENCE, async || {
            let entries = pair.world.cp.audit().since(mark);
            let at_work = |write: &Entry| write.user == user && write.resource == "configmaps";
            writes(&entries).any(at_work).then_some(())
        })
        .await;
        leader.thaw();
        gives_up(leader).await;
        leader.restart().await;
        is_ready(leader).await;
        let terms = pair.terms().await;
        assert_eq!(terms.len(), round + 2, "{terms:#?}");
        let entries = pair.world.cp.audit_since(Mark::default()).await;
        took_over("SIGSTOP", frozen, &entries, &terms[round + 1]);

        let case = pair.world.resume(parts).await;
        let text = many(COUNT, &case.namespace, value);
        case.push(&[("all.yaml", Some(&text))], value).await;
        begun(&case, value).await;
        parts = case.into_parts();
    }
    let case = pair.world.resume(parts).await;
    all_are(&case, "fourth").await;
    case.ready_becomes("all", "True", "Converged").await;
    pair.terms().await;
}

#[tokio::test]
async fn a_leader_without_a_network_stops_by_its_own_clock() {
    let mut pair = Pair::start().await;
    // The second operator leads, through a network that can be cut.
    let target = pair
        .world
        .cp
        .url()
        .trim_start_matches("https://")
        .to_owned();
    let proxy = Proxy::to(target.parse().unwrap()).await;
    let config = std::fs::read_to_string(pair.world.cp.kubeconfig_for(User::Replica)).unwrap();
    let kubeconfig = pair.world.cp.folder().join("cut.kubeconfig");
    let config = config.replace(&target, &proxy.address.to_string());
    std::fs::write(&kubeconfig, config).unwrap();
    pair.second = Operator::start(OperatorOptions {
        kubeconfig,
        args: ARGS.map(str::to_owned).into(),
        ..OperatorOptions::new(&pair.world.cp)
    })
    .await;
    is_ready(&pair.second).await;
    assert!(pair.world.operator.terminate(PATIENCE).success());
    becomes_leader(&pair.second).await;
    pair.world.operator.restart().await;
    is_ready(&pair.world.operator).await;

    let case = busy(&pair.world, "cut").await;
    let cut = Timestamp::now();
    proxy.cut();
    is_half_done(&case, "first").await;
    let parts = case.into_parts();
    gives_up(&mut pair.second).await;
    becomes_leader(&pair.world.operator).await;
    let case = pair.world.resume(parts).await;
    all_are(&case, "first").await;
    case.ready_becomes("all", "True", "Converged").await;
    let terms = pair.terms().await;
    assert_eq!(terms.len(), 3, "{terms:#?}");
    let entries = pair.world.cp.audit_since(Mark::default()).await;
    took_over("cut off", cut, &entries, &terms[2]);

    // The network works again. The former leader restarts, finds work to do, and stays a standby.
    proxy.heal();
    let parts = case.into_parts();
    pair.second.restart().await;
    is_ready(&pair.second).await;
    let case = pair.world.resume(parts).await;
    let text = many(COUNT, &case.namespace, "second");
    case.push(&[("all.yaml", Some(&text))], "second").await;
    all_are(&case, "second").await;
    wait_for_metric(&pair.second, "towline_leader 0").await;
    let terms = pair.terms().await;
    assert_eq!(terms.len(), 3, "{terms:#?}");
}
