//! Commands that change what their arguments name: an annotation of one Sync or GitRepository, or its `spec.suspend`.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::access::{Access, AccessError, CLI_MANAGER, Doing};
use super::standing::{ResourceState, Standing, Steered, ready};
use super::terminal::{Progress, Terminal};
use super::{CliError, Exit};
use crate::api::{
    APPROVE_PRUNE, GitRepository, HeldPrune, REQUESTED_AT, RESUMED_AT, RESUMED_BY, SUSPEND_REASON,
    SUSPENDED_AT, SUSPENDED_BY, Sync,
};
use crate::config::{ApproveArgs, ReconcileArgs, ResumeArgs, SteeredName, SuspendArgs};
use crate::intent::SyncIntent;
use crate::text::start;

/// The pause between two looks at an object that is waited for.
const PAUSE: Duration = Duration::from_millis(300);

/// Digits of a digest in a command.
const DIGITS: usize = 12;

/// A Sync or a GitRepository.
pub(super) enum Either {
    Sync(Box<Sync>),
    Repository(Box<GitRepository>),
}

/// The object that a name means.
///
/// # Errors
/// [`AccessError::Missing`], among others.
pub(super) async fn resolve(access: &Access, name: &SteeredName) -> Result<Either, CliError> {
    let repository = async |name: &str| -> Result<_, AccessError> {
        let found = access.get::<GitRepository>(name).await?;
        Ok(Either::Repository(Box::new(found)))
    };
    Ok(match name {
        SteeredName::Sync(name) => Either::Sync(Box::new(access.get(name).await?)),
        SteeredName::Repository(name) => repository(name).await?,
        SteeredName::Any(name) => match access.find::<Sync>(name).await? {
            Some(sync) => Either::Sync(Box::new(sync)),
            None => repository(name).await.map_err(|error| match error {
                AccessError::Missing { place, .. } => AccessError::Missing {
                    what: format!("a Sync or GitRepository {name}"),
                    place,
                },
                other => other,
            })?,
        },
    })
}

/// Asks for a reconcile now.
pub(super) async fn reconcile(args: &ReconcileArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let until = Instant::now() + args.timeout;
    match resolve(&access, &args.name).await? {
        Either::Repository(repository) => request(&access, *repository, args.wait, until).await,
        Either::Sync(sync) => {
            if args.with_source {
                let source = SyncIntent::from(&*sync).source;
                let source: GitRepository = access.get(&source).await?;
                let exit = request(&access, source, true, until).await?;
                if exit != Exit::Done {
                    return Ok(exit);
                }
            }
            request(&access, *sync, args.wait, until).await
        }
    }
}

async fn request<K: Steered>(
    access: &Access,
    object: K,
    waits: bool,
    until: Instant,
) -> Result<Exit, CliError> {
    let name = object.name_any();
    let shown = format!("{}/{name}", K::WORD);
    if let Some(suspended) = object.suspended() {
        Terminal::say(&format!(
            "{shown} is {suspended}: it is not reconciled until `towline resume {shown}`\n"
        ))?;
        return Ok(Exit::Differs);
    }
    let now = Timestamp::now().to_string();
    let annotations = json!({ REQUESTED_AT: now });
    let patch = json!({"metadata": {"annotations": annotations}});
    access.patch::<K>(&name, &patch).await?;
    if !waits {
        Terminal::say(&format!("{shown}: reconcile requested\n"))?;
        return Ok(Exit::Done);
    }
    let mut progress = Progress::default();
    let exit = loop {
        let object: K = access.get(&name).await?;
        let standing = Standing::of(&object);
        let is_handled = object.told().handled == Some(&now);
        match outcome(&standing.state, is_handled) {
            Some(exit) => {
                progress.end();
                break told(&object, &standing, exit)?;
            }
            None if Instant::now() >= until => {
                progress.end();
                told(&object, &standing, Exit::Timeout)?;
                Terminal::note(&match is_handled {
                    true => format!("towline: {shown} is not ready in time"),
                    false => format!(
                        "towline: {shown}: the operator has not handled the request in time"
                    ),
                });
                break Exit::Timeout;
            }
            None => progress.tell(&format!("{shown}: {}", standing.state.word())),
        }
        tokio::time::sleep(PAUSE).await;
    };
    Ok(exit)
}

/// What became of a request; none while that is open.
fn outcome(state: &ResourceState, is_handled: bool) -> Option<Exit> {
    match state {
        ResourceState::Suspended | ResourceState::Deleting => Some(Exit::Differs),
        _ if !is_handled => None,
        ResourceState::Ready => Some(Exit::Done),
        ResourceState::Failing(_) => Some(Exit::Differs),
        ResourceState::Waiting(_) | ResourceState::Unseen => None,
    }
}

/// Prints how an object stands, with the whole message of `Ready`.
fn told<K: Steered>(object: &K, standing: &Standing, exit: Exit) -> Result<Exit, CliError> {
    let message = match standing.state {
        ResourceState::Suspended => &*standing.message,
        _ => ready(object).map_or("", |ready| &ready.message),
    };
    let text = format!("{}: {}: {message}", standing.name, standing.state.word());
    Terminal::say(&format!(
        "{}\n",
        crate::text::printable(text.trim_end_matches([':', ' ']))
    ))?;
    Ok(exit)
}

/// Sets `spec.suspend`, and records who did it and why.
pub(super) async fn suspend(args: &SuspendArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    match resolve(&access, &args.name).await? {
        Either::Sync(sync) => stop(&access, *sync, &args.reason).await,
        Either::Repository(repository) => stop(&access, *repository, &args.reason).await,
    }
}

async fn stop<K: Steered>(access: &Access, object: K, reason: &str) -> Result<Exit, CliError> {
    let who = who(access).await?;
    warn_of_owners(&object);
    let annotations = json!({
        SUSPENDED_BY: who, SUSPENDED_AT: now(),
        SUSPEND_REASON: reason, RESUMED_BY: null, RESUMED_AT: null,
    });
    let patch = json!({"metadata": {"annotations": annotations}, "spec": {"suspend": true}});
    let object = access.patch::<K>(&object.name_any(), &patch).await?;
    Terminal::say(&format!(
        "{}/{}: {}\n",
        K::WORD,
        object.name_any(),
        object.suspended().unwrap_or_default()
    ))?;
    Ok(Exit::Done)
}

/// Clears `spec.suspend`, and records who did it.
pub(super) async fn resume(args: &ResumeArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    match resolve(&access, &args.name).await? {
        Either::Sync(sync) => go_on(&access, *sync).await,
        Either::Repository(repository) => go_on(&access, *repository).await,
    }
}

async fn go_on<K: Steered>(access: &Access, object: K) -> Result<Exit, CliError> {
    let shown = format!("{}/{}", K::WORD, object.name_any());
    let Some(was) = object.suspended() else {
        Terminal::say(&format!("{shown} is not suspended\n"))?;
        return Ok(Exit::Done);
    };
    let who = who(access).await?;
    warn_of_owners(&object);
    let annotations = json!({
        SUSPENDED_BY: null, SUSPENDED_AT: null, SUSPEND_REASON: null,
        RESUMED_BY: who, RESUMED_AT: now(),
    });
    let patch = json!({"metadata": {"annotations": annotations}, "spec": {"suspend": null}});
    access.patch::<K>(&object.name_any(), &patch).await?;
    Terminal::say(&format!("{shown}: resumed by {who}; it was {was}\n"))?;
    Ok(Exit::Done)
}

/// The present time to the second.
pub(super) fn now() -> String {
    let now = Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

/// Warns where somebody else declares `spec.suspend`: the next apply of that manifest undoes the command.
fn warn_of_owners<K: Steered>(object: &K) {
    for manager in owners(object) {
        Terminal::note(&format!(
            "towline: warning: {manager} applies spec.suspend of {}/{}, and its next apply sets it \
             again; change it there too",
            K::WORD,
            object.name_any()
        ));
    }
}

/// The managers that apply `spec.suspend`.
fn owners<K: Steered>(object: &K) -> Vec<&str> {
    let entries = object.meta().managed_fields.iter().flatten();
    let declares = |fields: &Value| fields["f:spec"].get("f:suspend").is_some();
    entries
        .filter(|entry| entry.operation.as_deref() == Some("Apply"))
        .filter(|entry| {
            entry
                .fields_v1
                .as_ref()
                .is_some_and(|fields| declares(&fields.0))
        })
        .filter_map(|entry| entry.manager.as_deref())
        .filter(|manager| *manager != CLI_MANAGER)
        .collect()
}

/// The name that the API server has for whoever runs the command.
pub(super) async fn who(access: &Access) -> Result<String, CliError> {
    let api: Api<SelfSubjectReview> = Api::all(access.client.clone());
    let review = SelfSubjectReview::default();
    let doing = Doing::new::<SelfSubjectReview>("create", None);
    let review = api.create(&PostParams::default(), &review).await;
    let review = review.map_err(|error| access.explain(error, &doing))?;
    let user = review.status.and_then(|status| status.user_info?.username);
    Ok(user.unwrap_or_else(|| "somebody without a name".to_owned()))
}

/// Shows the deletion that a Sync holds back, and approves it if its digest is given.
pub(super) async fn approve(args: &ApproveArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let name = &*args.name;
    let sync: Sync = access.get(name).await?;
    let held = sync.status.and_then(|status| status.prune?.held);
    let decided = decide(
        held.as_ref(),
        name,
        &access.namespace,
        args.digest.as_deref(),
    );
    if let Some(digest) = decided.approves {
        let annotations = json!({ APPROVE_PRUNE: digest });
        let patch = json!({"metadata": {"annotations": annotations}});
        access.patch::<Sync>(name, &patch).await?;
    }
    Terminal::say(&decided.text)?;
    Ok(decided.exit)
}

/// What `towline approve` does.
struct Decided<'a> {
    text: String,
    /// The digest to approve.
    approves: Option<&'a str>,
    exit: Exit,
}

fn decide<'a>(
    held: Option<&'a HeldPrune>,
    name: &str,
    namespace: &str,
    given: Option<&str>,
) -> Decided<'a> {
    let Some(held) = held else {
        return Decided {
            text: format!("sync/{name} holds no deletion back\n"),
            approves: None,
            exit: Exit::Differs,
        };
    };
    let HeldPrune {
        digest,
        deletes,
        of,
        kinds,
        because,
        keeps: _,
    } = held;
    let kinds = kinds.join(", ");
    let mut text = format!("sync/{name} would delete {deletes} of {of} objects: {kinds}\n");
    for why in because {
        text.push_str(&format!("  {why}\n"));
    }
    let short = start(digest, DIGITS);
    let (line, approves, exit) = match given {
        Some(given) if digest.starts_with(given) => {
            let line = format!("approved: {short}\n");
            (line, Some(&**digest), Exit::Done)
        }
        Some(given) => {
            let line = format!("not approved: the deletion is now {short}, not {given}\n");
            (line, None, Exit::Differs)
        }
        None => {
            let line = format!(
                "approve exactly this: towline approve {name} -n {namespace} --digest {short}\n"
            );
            (line, None, Exit::Differs)
        }
    };
    text.push_str(&line);
    Decided {
        text,
        approves,
        exit,
    }
}

#[cfg(test)]
mod tests {
    use super::super::standing::testing::sync;
    use super::*;

    #[test]
    fn a_request_is_over_when_it_is_handled_and_decided() {
        let failing = ResourceState::Failing("ApplyFailed".to_owned());
        let waiting = ResourceState::Waiting("HealthPending".to_owned());
        for (state, is_handled, exit) in [
            (&ResourceState::Ready, false, None),
            (&ResourceState::Ready, true, Some(Exit::Done)),
            (&failing, false, None),
            (&failing, true, Some(Exit::Differs)),
            (&waiting, true, None),
            (&ResourceState::Suspended, false, Some(Exit::Differs)),
        ] {
            assert_eq!(outcome(state, is_handled), exit, "{state:?} {is_handled}");
        }
    }

    #[test]
    fn exactly_the_deletion_that_was_seen_is_approved() {
        let held = HeldPrune {
            digest: "0123456789abcdef0123456789abcdef".to_owned(),
            deletes: 12,
            of: 20,
            kinds: vec!["12 ConfigMap".to_owned()],
            because: vec!["12 of 20 are more than 50 %".to_owned()],
            keeps: String::new(),
        };
        let of = |given| decide(Some(&held), "shop", "team-a", given);
        let shown = of(None);
        assert_eq!(
            shown.text,
            "sync/shop would delete 12 of 20 objects: 12 ConfigMap\n  12 of 20 are more than 50 %\n\
             approve exactly this: towline approve shop -n team-a --digest 0123456789ab\n"
        );
        assert_eq!((shown.approves, shown.exit), (None, Exit::Differs));
        let approved = of(Some("01234567"));
        assert_eq!(
            (approved.approves, approved.exit),
            (Some(&*held.digest), Exit::Done)
        );
        let other = of(Some("ffffffff"));
        assert_eq!((other.approves, other.exit), (None, Exit::Differs));
        assert!(
            other
                .text
                .contains("not approved: the deletion is now 0123456789ab")
        );
        let none = decide(None, "shop", "team-a", Some("01234567"));
        assert_eq!((none.approves, none.exit), (None, Exit::Differs));
    }

    #[test]
    fn who_declares_the_suspension_is_found() {
        let fields = json!({"f:spec": {"f:suspend": {}}});
        let entry = |manager, operation| json!({"manager": manager, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields});
        let entries = json!([
            entry("kubectl", "Apply"),
            entry("person", "Update"),
            entry(CLI_MANAGER, "Apply"),
        ]);
        let object = sync(&Value::Null, &json!({"managedFields": entries}));
        assert_eq!(owners(&object), ["kubectl"]);
    }
}
