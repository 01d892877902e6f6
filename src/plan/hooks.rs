//! The order of a chart's hooks, the marks of their objects, and the pauses between two tries.

use std::time::Duration;

use serde_json::{Map, Value};

use super::{PART_OF, SyncName};
use crate::desired::{Hook, Moment};
use crate::manifest::ObjectKey;

/// Annotation of a hook's object: the Sync, and which of its runs made the object.
pub const HOOK: &str = "towline.dev/hook";

/// Label of a hook's object: the id of the ApplySet whose parent the Sync is. Such an object is no member of it.
pub const HOOK_OF: &str = "towline.dev/hook-of";

/// The annotation by which a chart declares a hook.
const HELM_HOOK: &str = "helm.sh/hook";

/// The first pause after a hook has failed, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The hooks that run at `moment`, in Helm's order: by weight, then by name. Otherwise the order stays, which is that
/// of kinds.
pub fn hooks_at(hooks: &[Hook], moment: Moment) -> Vec<&Hook> {
    let due = hooks.iter();
    let mut due: Vec<&Hook> = due.filter(|hook| hook.moments.contains(&moment)).collect();
    due.sort_by_key(|hook| (hook.weight, hook.object.name()));
    due
}

/// The pause until hooks run again that have failed `failures` times.
pub fn hook_pause(failures: u32) -> Duration {
    let pause = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(10));
    pause.min(LONGEST_PAUSE)
}

/// One run of the hooks of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookRun {
    sync: SyncName,
    moment: Moment,
    /// Sync, moment and id.
    mark: String,
}

/// Why a live object in the place of a hook's is not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HookClash {
    /// Another Sync has a hook of the same name.
    #[error("it is there already as a hook of Sync {0}: rename one of the two")]
    OfAnother(String),
    /// Helm made it, and this is the first release here. Its policy would have it deleted, with what it may keep: a
    /// password, for example.
    #[error(
        "it is there already and Helm made it, but no release of Helm was found that would be taken over: delete \
         the object, or let the Sync's account list Secrets in the release's namespace and make the Sync anew"
    )]
    OfHelm,
    /// It is no hook.
    #[error("it is there already and is no hook: rename one of the two, or delete the object")]
    NoHook,
    /// Its policy does not have it deleted before it is made again.
    #[error(
        "it is there already: delete it, or add before-hook-creation to its helm.sh/hook-delete-policy"
    )]
    Kept,
}

impl HookRun {
    /// A run of the hooks of `moment`. `id` tells it from every other run of these, also of former Syncs of the
    /// same name.
    pub fn new(sync: &SyncName, moment: Moment, id: &str) -> Self {
        Self {
            sync: sync.clone(),
            moment,
            mark: format!("{sync} {moment} {id}"),
        }
    }

    /// Whether this run made a live object.
    pub fn made(&self, live: &Value) -> bool {
        annotation(live, HOOK) == Some(&self.mark)
    }

    /// Whether a live object that another run made may be deleted, so that this one can make it.
    ///
    /// # Errors
    /// Why not.
    pub fn may_replace(&self, hook: &Hook, live: &Value) -> Result<(), HookClash> {
        if is_member(live) {
            return Err(HookClash::NoHook);
        }
        match annotation(live, HOOK).and_then(owner) {
            Some(owner) if owner != self.sync.to_string() => {
                return Err(HookClash::OfAnother(owner.to_owned()));
            }
            Some(_) => (),
            None if annotation(live, HELM_HOOK).is_none() => return Err(HookClash::NoHook),
            None if self.moment.is_install() => return Err(HookClash::OfHelm),
            None => (),
        }
        match hook.delete.before && may_be_deleted(&hook.object.key()) {
            true => Ok(()),
            false => Err(HookClash::Kept),
        }
    }

    /// The object of a hook as this run makes it.
    pub fn body(&self, hook: &Hook, key: &ObjectKey) -> Value {
        let mut body = hook.object.manifest().body;
        let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) else {
            return body;
        };
        match &key.namespace {
            Some(namespace) => metadata.insert("namespace".to_owned(), (**namespace).into()),
            None => metadata.remove("namespace"),
        };
        let id = self.sync.applyset_id();
        for (field, name, value) in [
            ("annotations", HOOK, self.mark.as_str()),
            ("labels", HOOK_OF, id.as_str()),
        ] {
            let values = metadata.entry(field).or_insert(Value::Null);
            if values.is_null() {
                *values = Value::Object(Map::new());
            }
            if let Some(values) = values.as_object_mut() {
                values.insert(name.to_owned(), value.into());
            }
        }
        body
    }
}

/// As in Helm, a definition is never deleted: all its objects would go with it.
pub fn may_be_deleted(key: &ObjectKey) -> bool {
    &*key.kind.kind != "CustomResourceDefinition"
}

/// The Sync whose hook made an object, by its label and its annotation. A copy of one of them alone names nobody.
pub fn hook_owner(live: &Value) -> Option<SyncName> {
    let (namespace, name) = owner(annotation(live, HOOK)?)?.split_once('/')?;
    let sync = SyncName::new(namespace, name);
    let label = live.pointer("/metadata/labels")?.get(HOOK_OF)?;
    (*label == *sync.applyset_id()).then_some(sync)
}

fn owner(mark: &str) -> Option<&str> {
    mark.split(' ').next()
}

fn is_member(live: &Value) -> bool {
    let labels = live.pointer("/metadata/labels");
    labels.is_some_and(|labels| labels.get(PART_OF).is_some())
}

fn annotation<'v>(live: &'v Value, name: &str) -> Option<&'v str> {
    live.pointer("/metadata/annotations")?.get(name)?.as_str()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::desired::{DeletePolicy, HookObject};
    use crate::manifest::{Digest, Manifest};

    fn hook(name: &str, weight: i64, moments: &[Moment]) -> Hook {
        let body = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}});
        let manifest = Manifest::from_value(body).unwrap().remove(0);
        Hook {
            file: "templates/hook.yaml".into(),
            moments: moments.to_vec(),
            weight,
            delete: DeletePolicy {
                before: true,
                succeeded: false,
                failed: false,
            },
            digest: Digest::of(&manifest.body),
            object: HookObject::new(manifest),
        }
    }

    fn run(sync: &str, failures: u32) -> HookRun {
        let (sync, id) = (SyncName::new("ns", sync), failures.to_string());
        HookRun::new(&sync, Moment::PreUpgrade, &id)
    }

    #[test]
    fn hooks_run_at_their_moment_by_weight_and_name() {
        use Moment::{PostInstall, PreInstall, PreUpgrade};
        let hooks = [
            hook("late", 5, &[PreInstall]),
            hook("b", 0, &[PreInstall, PreUpgrade]),
            hook("a", 0, &[PreInstall]),
            hook("first", -5, &[PreInstall, PostInstall]),
        ];
        let names = |moment| {
            let due = hooks_at(&hooks, moment);
            let names = due.iter().map(|hook| hook.object.name().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(names(PreInstall), ["first", "a", "b", "late"]);
        assert_eq!(names(PostInstall), ["first"]);
        assert_eq!(names(PreUpgrade), ["b"]);
        assert!(names(Moment::PostUpgrade).is_empty());
    }

    #[test]
    fn an_object_is_known_by_its_run_and_replaced_only_where_it_is_a_hook_of_ours() {
        let hook = hook("migrate", 0, &[Moment::PreUpgrade]);
        let key = ObjectKey {
            namespace: Some("prod".into()),
            ..hook.object.key()
        };
        let body = run("a", 0).body(&hook, &key);
        assert_eq!(body["metadata"]["namespace"], "prod");
        assert!(run("a", 0).made(&body) && !run("a", 1).made(&body));
        assert_eq!(run("a", 1).may_replace(&hook, &body), Ok(()));
        let clash = run("b", 0).may_replace(&hook, &body);
        assert_eq!(clash, Err(HookClash::OfAnother("ns/a".to_owned())));

        let with = |annotations: Value, labels: Value| {
            let live = json!({"metadata": {"annotations": annotations, "labels": labels}});
            run("a", 0).may_replace(&hook, &live)
        };
        let helms = json!({"helm.sh/hook": "pre-upgrade"});
        assert_eq!(with(helms.clone(), json!(null)), Ok(()), "Helm made it");
        let first = HookRun::new(&SyncName::new("ns", "a"), Moment::PreInstall, "0");
        let live = json!({"metadata": {"annotations": helms}});
        assert_eq!(first.may_replace(&hook, &live), Err(HookClash::OfHelm));
        assert_eq!(with(json!(null), json!(null)), Err(HookClash::NoHook));
        let member = json!({PART_OF: "x"});
        assert_eq!(with(helms, member.clone()), Err(HookClash::NoHook));
        let marked = body["metadata"]["annotations"].clone();
        assert_eq!(with(marked.clone(), json!(null)), Ok(()));
        assert_eq!(with(marked, member), Err(HookClash::NoHook));

        let mut kept = hook.clone();
        kept.delete.before = false;
        assert_eq!(run("a", 1).may_replace(&kept, &body), Err(HookClash::Kept));
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let pauses = [1, 2, 3, 20].map(|failures| hook_pause(failures).as_secs());
        assert_eq!(pauses, [10, 20, 40, 300]);
    }
}
