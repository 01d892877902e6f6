//! `towline check`: whether a cluster, its towline and one's own rights are in order.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use serde_json::Value;

use super::access::{Access, AccessError, Doing};
use super::standing::{ResourceState, Standing, Steered as _, ago};
use super::table::{Cell, table};
use super::terminal::{Paint, Terminal};
use super::{CliError, Exit};
use crate::api::{GROUP, Sync};
use crate::cluster::Viewer;
use crate::config::CheckArgs;
use crate::leader::LEASE_LABEL;

/// By how many seconds two clocks may differ. Leases, tokens and signatures are valid for minutes.
const SKEW: i64 = 30;

/// The label of the operator's pods, as the chart sets it.
const PODS: &str = "app.kubernetes.io/name=towline";

/// A status that is as old at most was written by an operator that is at work.
const FRESH: SignedDuration = SignedDuration::from_mins(5);

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
enum CheckResult {
    Good(String),
    /// Not as it should be, or not known.
    Odd(String),
    Bad(String),
}

/// Checks the cluster.
pub(super) async fn check(args: &CheckArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let viewer = access.viewer().await?;
    let mut all: Vec<(&str, CheckResult)> = Vec::new();
    let version = viewer.version().await;
    let version = version.map_err(|error| access.explain(error, &Doing::url("/version")))?;
    all.push((
        "cluster",
        CheckResult::Good(format!("Kubernetes {version}")),
    ));
    all.push(("clock", clock(&access).await));
    for kind in ["Sync", "GitRepository", "Alert", "Provider"] {
        let served = viewer.named(&format!("{kind}.{GROUP}"));
        all.push((
            kind,
            match served {
                Some(served) => {
                    CheckResult::Good(format!("served as {}", served.resource.api_version))
                }
                None => {
                    CheckResult::Bad("not served: kubectl apply --server-side -f crds/".to_owned())
                }
            },
        ));
    }
    let namespace = &access.namespace;
    match access.expect_namespace().await {
        Ok(()) => (),
        Err(error) => all.push(("namespace", CheckResult::Bad(error.to_string()))),
    }
    // Without these, nothing else can be said of the namespace. To change something is not everybody's work.
    for resource in ["syncs", "gitrepositories"] {
        let found = match right(&access, "list", resource).await {
            CheckResult::Odd(why) => CheckResult::Bad(why),
            found => found,
        };
        all.push(("rights", found));
    }
    all.push(("rights", right(&access, "patch", "syncs").await));
    all.push((
        "operator",
        match access.list_briefly::<Sync>(false).await {
            Ok(syncs) => operator(&syncs, namespace, &evidence(&access, &viewer, &syncs).await),
            Err(AccessError::Forbidden { .. }) => {
                CheckResult::Odd("you may not list Syncs".to_owned())
            }
            Err(AccessError::NoDefinitions { .. }) => CheckResult::Bad("not installed".to_owned()),
            // Definitions that were made a moment ago are not served at once.
            Err(error) => CheckResult::Bad(format!("not known: {error}")),
        },
    ));
    let rows: Vec<Vec<Cell>> = all.iter().map(|(name, found)| row(name, found)).collect();
    let heads = ["CHECK", "RESULT", "MESSAGE"];
    Terminal::print(&table(&heads, &rows, Terminal::of(args.cluster.color)))?;
    let is_bad = all
        .iter()
        .any(|(_, found)| matches!(found, CheckResult::Bad(_)));
    Ok(match is_bad {
        true => Exit::Differs,
        false => Exit::Done,
    })
}

fn row(name: &str, result: &CheckResult) -> Vec<Cell> {
    let (word, paint, text) = match result {
        CheckResult::Good(text) => ("ok", Paint::Green, text),
        CheckResult::Odd(text) => ("odd", Paint::Yellow, text),
        CheckResult::Bad(text) => ("failed", Paint::Red, text),
    };
    vec![
        Cell::from(name),
        Cell::new(word, paint),
        Cell::from(&**text),
    ]
}

/// The clock of the API server beside one's own.
async fn clock(access: &Access) -> CheckResult {
    let sent = Timestamp::now();
    skew(access.server_time().await, sent)
}

fn skew(theirs: Option<Timestamp>, own: Timestamp) -> CheckResult {
    let Some(theirs) = theirs else {
        return CheckResult::Odd("the API server does not say what time it is".to_owned());
    };
    let seconds = theirs.duration_since(own).as_secs();
    match seconds.abs() <= SKEW {
        true => CheckResult::Good("that of the API server is the same as here".to_owned()),
        false => CheckResult::Bad(format!(
            "that of the API server differs from the one here by {seconds} s: set the clocks by NTP"
        )),
    }
}

/// Whether the user may do something with towline's resources.
async fn right(access: &Access, verb: &str, resource: &str) -> CheckResult {
    let namespace = &access.namespace;
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(GROUP.to_owned()),
                namespace: Some(namespace.clone()),
                resource: Some(resource.to_owned()),
                verb: Some(verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(access.client.clone());
    let doing = Doing::new::<SelfSubjectAccessReview>("create", None);
    let answer = api.create(&PostParams::default(), &review).await;
    let what = format!("{verb} {resource}.{GROUP} in namespace {namespace}");
    match answer {
        Ok(answer) if answer.status.as_ref().is_some_and(|status| status.allowed) => {
            CheckResult::Good(format!("you may {what}"))
        }
        Ok(_) => CheckResult::Odd(format!("you may not {what}")),
        Err(error) => {
            let error = access.explain(error, &doing);
            CheckResult::Odd(format!("whether you may {what} is not known: {error}"))
        }
    }
}

/// The operator's pods that are ready, and all of them; none where they cannot be seen.
async fn pods(viewer: &Viewer) -> Option<(usize, usize)> {
    let served = viewer.named("pods")?;
    let pods = viewer.list(&served, None, Some(PODS)).await.ok()?;
    let is_ready = |pod: &&Value| {
        let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
    };
    Some((pods.iter().filter(is_ready).count(), pods.len()))
}

/// What can be seen of an operator.
#[derive(Clone, Copy, Debug, Default)]
struct Evidence {
    /// Its pods that are ready, and all of them; none where they cannot be seen.
    pods: Option<(usize, usize)>,
    /// The Lease that was renewed last; none where none is seen.
    lease: Option<SeenLease>,
    /// How long ago the newest status was written; none where there is none.
    told: Option<SignedDuration>,
}

/// A Lease of an operator.
#[derive(Clone, Copy, Debug)]
struct SeenLease {
    /// How long ago it was renewed.
    age: SignedDuration,
    /// How long it is valid after that.
    valid: SignedDuration,
}

impl SeenLease {
    /// The holder renews it all the time. Clocks differ, so that it has some time more.
    fn is_renewed(self) -> bool {
        self.age <= self.valid * 2 + SignedDuration::from_secs(SKEW)
    }
}

impl Evidence {
    /// Whether an operator is known to be at work now.
    fn is_at_work(&self) -> bool {
        let is_ready = self.pods.is_some_and(|(ready, _)| ready > 0);
        match self.lease {
            // A ready pod may be a standby.
            Some(lease) => lease.is_renewed() || is_ready && self.has_told(),
            None => is_ready || self.has_told(),
        }
    }

    fn has_told(&self) -> bool {
        self.told.is_some_and(|age| age <= FRESH)
    }

    /// Whether it would be seen if it were at work.
    fn is_visible(&self) -> bool {
        self.pods.is_some() || self.lease.is_some()
    }

    /// What is seen, in words.
    fn in_words(&self) -> String {
        let age = |age: SignedDuration| ago(Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH + age);
        let pods = match self.pods {
            None => format!("pods with {PODS} may not be listed"),
            Some((_, 0)) => format!("there is no pod with {PODS}"),
            Some((ready, all)) => format!("{ready} of {all} pods are ready"),
        };
        let lease = match self.lease {
            None => format!("no Lease with {} is seen", lease_label()),
            Some(lease) => format!("its Lease was renewed {} ago", age(lease.age)),
        };
        let told = match self.told {
            None => "no status is there".to_owned(),
            Some(told) => format!("the newest status is {} old", age(told)),
        };
        format!("{pods}, {lease}, and {told}")
    }
}

async fn evidence(access: &Access, viewer: &Viewer, syncs: &[Sync]) -> Evidence {
    let now = access.server_time().await.unwrap_or_else(Timestamp::now);
    let told = syncs.iter().flat_map(|sync| sync.conditions());
    let told = told.map(|condition| condition.last_transition_time.0).max();
    Evidence {
        pods: pods(viewer).await,
        lease: lease(viewer, now).await,
        told: told.map(|told| now.duration_since(told)),
    }
}

/// The label of an operator's Lease, whose name may be any.
fn lease_label() -> String {
    let (label, value) = LEASE_LABEL;
    format!("{label}={value}")
}

/// The Lease of an operator that was renewed last. Every node has a Lease too, so only those with the label are listed.
async fn lease(viewer: &Viewer, now: Timestamp) -> Option<SeenLease> {
    let served = viewer.named("leases.coordination.k8s.io")?;
    let leases = viewer
        .list(&served, None, Some(&lease_label()))
        .await
        .ok()?;
    newest_lease(&leases, now)
}

fn newest_lease(leases: &[Value], now: Timestamp) -> Option<SeenLease> {
    let seen = leases.iter().filter_map(|lease| {
        let renewed: Timestamp = lease["spec"]["renewTime"].as_str()?.parse().ok()?;
        Some(SeenLease {
            age: now.duration_since(renewed),
            valid: SignedDuration::from_secs(lease["spec"]["leaseDurationSeconds"].as_i64()?),
        })
    });
    seen.min_by_key(|lease| lease.age)
}

/// Whether an operator drives the namespace, by the statuses that it writes, by its pods and by its Lease. Statuses stay when
/// it ends.
fn operator(syncs: &[Sync], namespace: &str, seen: &Evidence) -> CheckResult {
    if let Some((0, all @ 1..)) = seen.pods {
        return CheckResult::Bad(format!(
            "0 of {all} pods are ready: kubectl describe pods --all-namespaces --selector {PODS}"
        ));
    }
    let standings: Vec<Standing> = syncs.iter().map(Standing::of).collect();
    let unseen = standings
        .iter()
        .filter(|standing| standing.state == ResourceState::Unseen)
        .count();
    if unseen > 0 {
        return CheckResult::Bad(format!(
            "{unseen} of {} Syncs of namespace {namespace} have no status: the operator does not run, \
             or drives another namespace",
            standings.len()
        ));
    }
    let ready = standings
        .iter()
        .filter(|standing| standing.is_ready())
        .count();
    let which = match standings.len() {
        0 => format!("namespace {namespace} has no Sync"),
        count => format!("{ready} of {count} Syncs of namespace {namespace} are ready"),
    };
    match (seen.is_at_work(), seen.is_visible()) {
        (true, _) => CheckResult::Good(format!("runs; {which}")),
        (false, true) => CheckResult::Bad(format!(
            "no operator is found at work: {}; {which}",
            seen.in_words()
        )),
        (false, false) => CheckResult::Odd(format!(
            "whether one runs now is not known: {}; {which}",
            seen.in_words()
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::standing::testing::{ready, sync};
    use super::*;

    #[test]
    fn clocks_that_differ_are_told() {
        let own: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let same = skew("2026-01-02T03:04:20Z".parse().ok(), own);
        assert!(matches!(same, CheckResult::Good(_)), "{same:?}");
        let other = skew("2026-01-02T03:05:05Z".parse().ok(), own);
        assert!(
            matches!(&other, CheckResult::Bad(text) if text.contains("by 60 s")),
            "{other:?}"
        );
        assert!(matches!(skew(None, own), CheckResult::Odd(_)));
    }

    #[test]
    fn an_operator_is_known_by_what_it_writes() {
        let seen = sync(
            &json!({"conditions": ready("True", "Converged", "")}),
            &json!({}),
        );
        let unseen = sync(&Value::Null, &json!({}));
        let all = std::slice::from_ref(&seen);
        let lease = |age: i64| {
            Some(SeenLease {
                age: SignedDuration::from_secs(age),
                valid: SignedDuration::from_secs(15),
            })
        };
        let told = |age: i64| Some(SignedDuration::from_secs(age));
        let of = |pods, lease, told| Evidence { pods, lease, told };
        let (good, odd, bad) = ("good", "odd", "bad");
        for (pods, lease, told, result) in [
            (Some((1, 2)), lease(3), told(9_000), good),
            (Some((1, 2)), None, told(9_000), good),
            (None, lease(3), None, good),
            (None, None, told(10), good),
            // Outside of the cluster.
            (Some((0, 0)), None, told(10), good),
            // A leader that died, beside a standby or alone.
            (Some((1, 1)), lease(600), told(9_000), bad),
            (Some((0, 0)), lease(600), told(9_000), bad),
            (None, lease(600), told(9_000), bad),
            (Some((0, 0)), None, told(9_000), bad),
            (Some((0, 0)), None, None, bad),
            (Some((0, 1)), lease(3), told(10), bad),
            // Nothing can be seen of it.
            (None, None, told(9_000), odd),
            (None, None, None, odd),
        ] {
            for syncs in [&[], all] {
                let found = operator(syncs, "a", &of(pods, lease, told));
                let is = match &found {
                    CheckResult::Good(_) => good,
                    CheckResult::Odd(_) => odd,
                    CheckResult::Bad(_) => bad,
                };
                assert_eq!(is, result, "{pods:?} {lease:?} {told:?}: {found:?}");
            }
        }
        let found = operator(&[seen, unseen], "a", &of(None, lease(3), told(3)));
        assert!(matches!(found, CheckResult::Bad(_)));
        let found = operator(&[], "a", &of(Some((0, 0)), lease(600), None));
        assert!(
            matches!(&found, CheckResult::Bad(text) if text.contains("its Lease was renewed 10m ago")),
            "{found:?}"
        );
        // It says what it looked for.
        let found = operator(&[], "a", &of(Some((0, 0)), None, None));
        let sought = [PODS.to_owned(), lease_label()];
        assert!(
            matches!(&found, CheckResult::Bad(text) if sought.iter().all(|part| text.contains(part))),
            "{found:?}"
        );
    }

    #[test]
    fn the_lease_that_counts_is_the_one_that_was_renewed_last() {
        let lease =
            |renewed: Value| json!({"spec": {"renewTime": renewed, "leaseDurationSeconds": 15}});
        let leases = [
            lease(json!("2026-01-02T03:00:05.000000Z")),
            lease(json!("2026-01-02T03:04:00.000000Z")),
            lease(Value::Null),
        ];
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let found = newest_lease(&leases, now).unwrap();
        assert_eq!(found.age, SignedDuration::from_secs(5));
        assert!(newest_lease(&leases[2..], now).is_none());
    }
}
