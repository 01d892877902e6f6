//! `towline check`: whether a cluster, its towline and one's own rights are in order.

use jiff::Timestamp;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use serde_json::Value;

use super::access::{Access, AccessError, Doing};
use super::standing::{ResourceState, Standing};
use super::table::{Cell, table};
use super::terminal::{Paint, Terminal};
use super::{CliError, Exit};
use crate::api::{GROUP, Sync};
use crate::cluster::Viewer;
use crate::config::CheckArgs;

/// By how many seconds two clocks may differ. Leases, tokens and signatures are valid for minutes.
const SKEW: i64 = 30;

/// The label of the operator's pods, as the chart sets it.
const PODS: &str = "app.kubernetes.io/name=towline";

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
        let found = match right(&access, "list", resource).await? {
            CheckResult::Odd(why) => CheckResult::Bad(why),
            found => found,
        };
        all.push(("rights", found));
    }
    all.push(("rights", right(&access, "patch", "syncs").await?));
    all.push((
        "operator",
        match access.list_briefly::<Sync>(false).await {
            Ok(syncs) => operator(&syncs, namespace, pods(&viewer).await),
            Err(AccessError::Forbidden { .. }) => {
                CheckResult::Odd("you may not list Syncs".to_owned())
            }
            Err(AccessError::NoDefinitions { .. }) => CheckResult::Bad("not installed".to_owned()),
            Err(error) => return Err(error.into()),
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
async fn right(access: &Access, verb: &str, resource: &str) -> Result<CheckResult, AccessError> {
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
    let answer = answer.map_err(|error| access.explain(error, &doing))?;
    let what = format!("{verb} {resource}.{GROUP} in namespace {namespace}");
    Ok(match answer.status.is_some_and(|status| status.allowed) {
        true => CheckResult::Good(format!("you may {what}")),
        false => CheckResult::Odd(format!("you may not {what}")),
    })
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

/// Whether an operator drives the namespace, by the statuses that it writes, and by its `pods`. Statuses stay when it
/// ends.
fn operator(syncs: &[Sync], namespace: &str, pods: Option<(usize, usize)>) -> CheckResult {
    if let Some((0, all @ 1..)) = pods {
        return CheckResult::Bad(format!(
            "0 of {all} pods are ready: kubectl describe pods --all-namespaces --selector {PODS}"
        ));
    }
    let standings: Vec<Standing> = syncs.iter().map(Standing::of).collect();
    let unseen = standings
        .iter()
        .filter(|standing| standing.state == ResourceState::Unseen)
        .count();
    let ready = standings
        .iter()
        .filter(|standing| standing.is_ready())
        .count();
    match (standings.len(), unseen) {
        (0, _) if pods.is_none_or(|(ready, _)| ready == 0) => CheckResult::Odd(format!(
            "not known: namespace {namespace} has no Sync, and no pod with {PODS} is seen"
        )),
        (0, _) => CheckResult::Good(format!("runs; namespace {namespace} has no Sync")),
        (count, 0) if pods.is_none_or(|(ready, _)| ready == 0) => CheckResult::Odd(format!(
            "has written the status of every Sync of namespace {namespace}, of which {ready} of {count} are ready; \
             whether it runs now is not known, for no pod with {PODS} is seen"
        )),
        (count, 0) => CheckResult::Good(format!(
            "runs, and drives namespace {namespace}; {ready} of {count} Syncs ready"
        )),
        (count, unseen) => CheckResult::Bad(format!(
            "{unseen} of {count} Syncs of namespace {namespace} have no status: the operator does not run, \
             or drives another namespace"
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
        let good = operator(all, "a", Some((1, 2)));
        assert_eq!(
            good,
            CheckResult::Good("runs, and drives namespace a; 1 of 1 Syncs ready".to_owned())
        );
        assert!(matches!(
            operator(&[], "a", Some((1, 1))),
            CheckResult::Good(_)
        ));
        for pods in [None, Some((0, 0))] {
            assert!(matches!(operator(&[], "a", pods), CheckResult::Odd(_)));
            assert!(matches!(operator(all, "a", pods), CheckResult::Odd(_)));
        }
        // Its statuses are those of before.
        assert!(matches!(
            operator(all, "a", Some((0, 1))),
            CheckResult::Bad(_)
        ));
        assert!(matches!(
            operator(&[seen, unseen], "a", None),
            CheckResult::Bad(_)
        ));
    }
}
