//! `towline why`: one sentence about what is wrong, and the way out.

mod absent;

use kube::ResourceExt as _;
use serde_json::{Value, json};

use self::absent::{hinted, of_absent};
use super::access::Access;
use super::lineage::{Lineage, key, kind, wanted};
use super::standing::{ResourceState, Standing, Steered, ready};
use super::terminal::{Paint, Terminal};
use super::trace::failure;
use super::{CliError, Exit, output};
use crate::api::{
    self, Alert, Condition, ConditionType, GROUP, GitRepository, Provider, Reason, Sync,
};
use crate::config::ObjectArgs;
use crate::health::{Health, assess, cause, pod_selector};
use crate::manifest::Modes;

/// The page that describes all reasons.
const REASONS: &str = "docs/operate/reasons.md";

/// What is wrong, if anything is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Diagnosis {
    /// One sentence.
    sentence: String,
    /// What to do.
    way: Option<String>,
    /// Whether something is wrong.
    is_wrong: bool,
}

impl Diagnosis {
    fn wrong(sentence: impl Into<String>, way: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            way: Some(way.into()),
            is_wrong: true,
        }
    }

    fn fine(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            way: None,
            is_wrong: false,
        }
    }

    fn in_words(&self, terminal: Terminal) -> String {
        let way = self.way.iter().map(|way| format!("Way out: {way}"));
        let paragraphs = std::iter::once(self.sentence.clone()).chain(way);
        paragraphs
            .map(|text| terminal.paragraph(("", ""), &[(&text, Paint::Plain)]))
            .collect()
    }
}

/// Says why something is not as Git says.
pub(super) async fn why(args: &ObjectArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let viewer = access.viewer().await?;
    let name = &args.object.name;
    let served = match &*args.object.kind.to_lowercase() {
        "repo" => kind(&viewer, "gitrepository")?,
        word => kind(&viewer, word)?,
    };
    let diagnosis = match (&*served.resource.group, &*served.resource.kind) {
        (GROUP, "Sync") => of_resource(&access.get::<Sync>(name).await?),
        (GROUP, "GitRepository") => of_repository(&access.get::<GitRepository>(name).await?),
        (GROUP, "Alert") => {
            let status = access.get::<Alert>(name).await?.status.unwrap_or_default();
            of_teller(&format!("alert/{name}"), &status.conditions)
        }
        (GROUP, "Provider") => {
            let status = access
                .get::<Provider>(name)
                .await?
                .status
                .unwrap_or_default();
            of_teller(&format!("provider/{name}"), &status.conditions)
        }
        _ => match Lineage::read(&access, &viewer, &served, name).await? {
            Some(lineage) => {
                let sync = match &lineage.sync {
                    // Without the right to read it, the object's own state is all there is.
                    Some(sync) => access
                        .at(&sync.namespace)
                        .find::<Sync>(&sync.name)
                        .await
                        .ok()
                        .flatten(),
                    None => claimant(&access, lineage.top()).await,
                };
                let pods = pods(&access, &viewer, lineage.top()).await;
                of_object(&lineage, sync.as_ref(), &pods)
            }
            None => {
                let syncs = match access.list::<Sync>(true).await {
                    Ok(syncs) => syncs,
                    Err(_) => access.list::<Sync>(false).await?,
                };
                let object = wanted(&served, &args.object, &access.namespace);
                let elsewhere = viewer.namespaces_with(&served, name).await;
                of_absent(object, &syncs).map_err(|error| hinted(error, &elsewhere))?
            }
        },
    };
    let text = match args.output {
        Some(format) => {
            let Diagnosis {
                sentence,
                way,
                is_wrong,
            } = &diagnosis;
            let mut value = json!({"diagnosis": sentence, "wrong": is_wrong});
            if let Some(way) = way {
                value["wayOut"] = way.as_str().into();
            }
            output::value(&value, format)?
        }
        None => diagnosis.in_words(Terminal::of(args.cluster.color)),
    };
    Terminal::print(&text)?;
    Ok(match diagnosis.is_wrong {
        true => Exit::Differs,
        false => Exit::Done,
    })
}

/// The Sync that should manage an object and fails to. None where no Sync's status names it, or where none can be read.
async fn claimant(access: &Access, object: &Value) -> Option<Sync> {
    let name = key(object)?.to_string();
    let syncs = match access.list::<Sync>(true).await {
        Ok(syncs) => syncs,
        Err(_) => access.list::<Sync>(false).await.ok()?,
    };
    syncs.into_iter().find(|sync| {
        let failures = sync.status.as_ref().map(|status| &*status.failures);
        failure(&name, failures.unwrap_or_default()).is_some()
    })
}

/// The pods of a workload. None where they cannot be read: what is known without them is said all the same.
async fn pods(access: &Access, viewer: &crate::cluster::Viewer, workload: &Value) -> Vec<Value> {
    let Some(selector) = pod_selector(workload) else {
        return Vec::new();
    };
    let Some(served) = viewer.named("pods") else {
        return Vec::new();
    };
    let listed = viewer
        .list(&served, Some(&access.namespace), Some(&selector))
        .await;
    listed.unwrap_or_default()
}

/// What the page about reasons says about one.
fn see(reason: &str) -> String {
    let page = format!("{REASONS}#{}", reason.to_lowercase());
    match Reason::named(reason) {
        Some(known) => format!("{} ({page})", known.way_out()),
        None => format!("see {page}"),
    }
}

/// What is wrong with a Sync or a GitRepository.
fn of_resource<K: Steered>(object: &K) -> Diagnosis {
    let standing = Standing::of(object);
    let name = &standing.name;
    let said = ready(object).map_or("", |ready| &*ready.message);
    match &standing.state {
        ResourceState::Ready => Diagnosis::fine(format!("{name} is ready: {said}")),
        ResourceState::Suspended => Diagnosis::wrong(
            format!("{name} is {}", standing.message),
            format!("towline resume {name} -n {}", standing.namespace),
        ),
        ResourceState::Waiting(reason) => {
            Diagnosis::wrong(format!("{name} waits ({reason}): {said}"), see(reason))
        }
        ResourceState::Failing(reason) => {
            Diagnosis::wrong(format!("{name} fails ({reason}): {said}"), see(reason))
        }
        ResourceState::Deleting => {
            Diagnosis::wrong(format!("{name} is being deleted: {said}"), see("Deleting"))
        }
        ResourceState::Unseen => unseen(name),
    }
}

/// What is wrong with an Alert or a Provider.
fn of_teller(name: &str, conditions: &[Condition]) -> Diagnosis {
    let Some(Condition {
        status,
        reason,
        message,
        ..
    }) = api::ready(conditions)
    else {
        return unseen(name);
    };
    match &**status {
        "True" => Diagnosis::fine(format!("{name} is ready: {message}")),
        "False" => Diagnosis::wrong(format!("{name} fails ({reason}): {message}"), see(reason)),
        _ => Diagnosis::wrong(format!("{name} waits ({reason}): {message}"), see(reason)),
    }
}

fn unseen(name: &str) -> Diagnosis {
    Diagnosis::wrong(
        format!("{name} has no status: no operator has seen it"),
        "check that the operator runs and drives this namespace: towline check",
    )
}

/// The same for a GitRepository, whose plans of pull requests have a condition of their own.
fn of_repository(repository: &GitRepository) -> Diagnosis {
    let diagnosis = of_resource(repository);
    let plans = ConditionType::PullRequestsPlanned.as_str();
    let mut conditions = repository
        .status
        .iter()
        .flat_map(|status| &status.conditions);
    let is_failed =
        |condition: &&Condition| condition.type_ == plans && condition.status == "False";
    let failed = conditions.find(is_failed);
    match failed {
        Some(failed) if !diagnosis.is_wrong => Diagnosis::wrong(
            format!(
                "{}; but its pull requests are not all planned ({}): {}",
                diagnosis.sentence, failed.reason, failed.message
            ),
            see(&failed.reason),
        ),
        _ => diagnosis,
    }
}

fn refused(
    object: &str,
    sync: &Sync,
    reason: &str,
    message: &str,
    file: Option<&str>,
) -> Diagnosis {
    let file = file.map(|file| format!(" ({file})")).unwrap_or_default();
    let sync = format!(
        "{}/{}",
        sync.namespace().unwrap_or_default(),
        sync.name_any()
    );
    Diagnosis::wrong(
        format!("{object}{file} of Sync {sync} fails ({reason}): {message}"),
        see(reason),
    )
}

/// What is wrong with an object.
fn of_object(lineage: &Lineage, sync: Option<&Sync>, pods: &[Value]) -> Diagnosis {
    let top = key(lineage.top())
        .map(|key| key.to_string())
        .unwrap_or_default();
    let failures = sync.and_then(|sync| sync.status.as_ref());
    let failures = failures
        .map(|status| status.failures.clone())
        .unwrap_or_default();
    let sick = ill(lineage, pods);
    // Ill is what an object does; refused is why it is not as Git says. The second comes first.
    if let (Some(sync), Some(failure)) = (sync, failure(&top, &failures))
        && (failure.reason != "HealthFailed" && failure.reason != "HealthPending" || sick.is_none())
    {
        return refused(
            &top,
            sync,
            &failure.reason,
            &failure.message,
            failure.file.as_deref(),
        );
    }
    if let Some(sick) = sick {
        return sick;
    }
    let words = lineage.in_words();
    let Some(name) = &lineage.sync else {
        return Diagnosis::fine(format!(
            "{words} is healthy, and towline does not manage it"
        ));
    };
    let annotations = &lineage.top()["metadata"]["annotations"];
    let annotations = serde_json::from_value(annotations.clone()).ok();
    if Modes::of_live(annotations.as_ref(), None).is_left_alone() {
        return Diagnosis::wrong(
            format!("{words} is left as it is: an annotation on it says so"),
            "remove the annotation towline.dev/reconcile or towline.dev/ssa (or Flux's) from the live object",
        );
    }
    match sync.map(of_resource) {
        Some(diagnosis) if diagnosis.is_wrong => Diagnosis {
            sentence: format!(
                "{words} is healthy, but its Sync is not ready: {}",
                diagnosis.sentence
            ),
            ..diagnosis
        },
        Some(_) => Diagnosis::fine(format!("{words} is healthy and as Git says (Sync {name})")),
        None => Diagnosis::fine(format!(
            "{words} is healthy; its Sync {name} cannot be read"
        )),
    }
}

/// Which object of a chain, or which of its pods, is not healthy. The closest cause counts.
fn ill(lineage: &Lineage, pods: &[Value]) -> Option<Diagnosis> {
    let of = |object: &Value| {
        let key = key(object)?;
        let (state, why, way) = match assess(&key.kind, object) {
            Health::Current => return None,
            Health::InProgress(why) => ("is not ready", why, "wait, or look at its events"),
            Health::Failed(why) => ("has failed", why, "correct it in Git"),
            Health::Terminating(why) => ("is being deleted", why, "look at what holds it"),
        };
        Some((key, state, why, way))
    };
    let objects = lineage.chain.iter().rev();
    let (key, state, why, way) = objects.into_iter().find_map(of)?;
    let namespace = key.namespace.as_deref().unwrap_or("default").to_owned();
    let describe =
        |kind: &str, name: &str| format!("kubectl describe {kind} {name} -n {namespace}");
    // A pod says more than the count of the workload.
    if let Some(cause) = cause(pods)
        && let Some(pod) = self::key(cause.pod).filter(|pod| *pod != key)
    {
        let pod_state = match cause.has_failed {
            true => "has failed",
            false => "is not ready",
        };
        return Some(Diagnosis::wrong(
            format!("{key} {state} ({why}): {pod} {pod_state}: {}", cause.why),
            format!("{way}: {}", describe("pod", &pod.name)),
        ));
    }
    Some(Diagnosis::wrong(
        format!("{key} {state}: {why}"),
        format!("{way}: {}", describe(&key.kind.to_string(), &key.name)),
    ))
}

#[cfg(test)]
mod tests {
    use super::super::lineage::manager;
    use super::super::standing::testing::{ready as ready_condition, sync};
    use super::*;
    use crate::plan::{IDENTITY, PART_OF, SyncName};

    fn deployment() -> Value {
        let mut web = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "team-a", "generation": 1},
            "spec": {"replicas": 1}, "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1},
        });
        let owner = SyncName::new("team-a", "shop");
        web["metadata"]["labels"] = json!({ PART_OF: owner.applyset_id() });
        web["metadata"]["annotations"] = json!({ IDENTITY: owner.identity(&key(&web).unwrap()) });
        web
    }

    fn map() -> Value {
        let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "team-a"}});
        let owner = SyncName::new("team-a", "shop");
        map["metadata"]["labels"] = json!({ PART_OF: owner.applyset_id() });
        map["metadata"]["annotations"] = json!({ IDENTITY: owner.identity(&key(&map).unwrap()) });
        map
    }

    fn lineage(object: Value) -> Lineage {
        let sync = manager(&object);
        Lineage {
            chain: vec![object],
            sync,
        }
    }

    fn shop(status: &str, reason: &str, failures: &Value) -> Sync {
        let status = json!({"conditions": ready_condition(status, reason, "what is wrong"), "failures": failures});
        sync(&status, &json!({}))
    }

    #[test]
    fn a_service_that_takes_no_messages_is_told_with_its_cause() {
        let of = |status: &str| -> Diagnosis {
            let conditions = ready_condition(
                status,
                "DeliveryFailed",
                "HTTP status 404: correct the address",
            );
            let conditions: Vec<Condition> = serde_json::from_value(conditions).unwrap();
            of_teller("provider/chat", &conditions)
        };
        let failed = of("False");
        assert!(failed.is_wrong && failed.way.is_some());
        let says = "provider/chat fails (DeliveryFailed): HTTP status 404: correct the address";
        assert_eq!(failed.sentence, says);
        assert!(!of("True").is_wrong);
        assert!(of_teller("alert/a", &[]).sentence.contains("has no status"));
    }

    #[test]
    fn the_closest_cause_is_told() {
        let good = shop("True", "Converged", &json!([]));
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "team-a"},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "web", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
        });
        let told = of_object(&lineage(deployment()), Some(&good), &[pod]);
        assert!(
            told.sentence
                .contains("Pod team-a/web-1 has failed: container web crashes"),
            "{told:?}"
        );
        assert_eq!(
            told.way.as_deref(),
            Some("wait, or look at its events: kubectl describe pod web-1 -n team-a")
        );
        let told = of_object(&lineage(deployment()), Some(&good), &[]);
        assert!(
            told.sentence
                .starts_with("Deployment.apps team-a/web is not ready: "),
            "{told:?}"
        );
    }

    #[test]
    fn an_object_that_is_not_as_git_says_names_the_reason() {
        let failures = json!([{"object": "ConfigMap team-a/m", "file": "m.yaml", "reason": "ApplyFailed", "message": "no"}]);
        let bad = shop("False", "ApplyFailed", &failures);
        let told = of_object(&lineage(map()), Some(&bad), &[]);
        assert_eq!(
            told.sentence,
            "ConfigMap team-a/m (m.yaml) of Sync team-a/shop fails (ApplyFailed): no"
        );
        let way = told.way.as_deref().unwrap();
        assert!(
            way.starts_with("The message is that of the server."),
            "{way}"
        );
        assert!(
            way.ends_with("(docs/operate/reasons.md#applyfailed)"),
            "{way}"
        );
        let object = key(&map()).unwrap();
        assert_eq!(of_absent(object.clone(), &[bad]).unwrap(), told);

        let other = shop("False", "FetchFailed", &json!([]));
        let told = of_object(&lineage(map()), Some(&other), &[]);
        assert!(
            told.is_wrong
                && told
                    .sentence
                    .contains("sync/shop fails (FetchFailed): what is wrong"),
            "{told:?}"
        );
        let told = of_absent(object, &[other]).unwrap_err().to_string();
        assert!(told.contains("team-a/sync/shop (FetchFailed)"), "{told}");

        let unknown = CliError::Unknown {
            object: key(&map()).unwrap(),
            way: "w".to_owned(),
        };
        let told = hinted(unknown, &["shop".to_owned()]).to_string();
        assert!(
            told.ends_with("; but there is shop/m (-n shop); w"),
            "{told}"
        );

        let mut left = map();
        left["metadata"]["annotations"]["towline.dev/reconcile"] = "disabled".into();
        let good = shop("True", "Converged", &json!([]));
        let told = of_object(&lineage(left), Some(&good), &[]);
        assert!(
            told.is_wrong && told.sentence.contains("left as it is"),
            "{told:?}"
        );
        let told = of_object(&lineage(map()), Some(&good), &[]);
        assert_eq!(
            told,
            Diagnosis::fine("ConfigMap team-a/m is healthy and as Git says (Sync team-a/shop)")
        );
    }

    #[test]
    fn a_repository_whose_plans_fail_is_not_all_well() {
        let of = |reason: &str, status: &str| {
            let mut conditions = ready_condition("True", "Fetched", "main@sha1:1 by a");
            let plans = json!({"type": "PullRequestsPlanned", "status": status, "reason": reason,
                "message": "https://git.example: 401", "lastTransitionTime": "2026-01-02T03:04:05Z"});
            conditions.as_array_mut().unwrap().push(plans);
            let repository = json!({"apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
                "metadata": {"name": "web"}, "spec": {"url": "https://git.example/web"},
                "status": {"conditions": conditions}});
            of_repository(&serde_json::from_value(repository).unwrap())
        };
        assert!(!of("Planned", "True").is_wrong);
        let failed = of("PlanFailed", "False");
        assert!(failed.is_wrong && failed.way.unwrap().contains("#planfailed"));
        assert!(failed.sentence.contains("repo/web") && failed.sentence.contains("401"));
    }
}
