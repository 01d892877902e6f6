//! The order of a chart's hooks, the marks of their objects, and the pauses between two tries.

use std::time::Duration;

use serde_json::{Map, Value};

use super::proof::{Key, Proof};
use super::{PART_OF, SyncName};
use crate::desired::{Hook, Moment};
use crate::manifest::ObjectKey;

/// Annotation of a hook's object: the Sync, which of its runs made the object, and the proof that it did. Without the
/// proof, whoever may patch an object in a hook's place could have it deleted.
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
#[derive(Clone, Debug)]
pub struct HookRun {
    key: Key,
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
    /// Helm made it, and this is the first release here. The hook's delete policy would delete it, and what it holds would be
    /// lost: a password, for example.
    #[error(
        "it is there already and Helm made it, but no release of Helm was found that would be taken over: delete \
         the object, or let the Sync's account list Secrets in the release's namespace and make the Sync anew"
    )]
    OfHelm,
    /// It is no hook.
    #[error("it is there already and is no hook: rename one of the two, or delete the object")]
    NoHook,
    /// It is marked as a hook, but this towline did not make it.
    #[error(
        "it is there already with the mark of a hook, but without the proof that this towline made it: delete the object"
    )]
    Unproven,
    /// Its policy does not have it deleted before it is made again.
    #[error(
        "it is there already: delete it, or add before-hook-creation to its helm.sh/hook-delete-policy"
    )]
    Kept,
}

impl HookRun {
    /// A run of the hooks of `moment`. `id` tells it from every other run of these, also of former Syncs of the
    /// same name.
    pub fn new(key: &Key, sync: &SyncName, moment: Moment, id: &str) -> Self {
        Self {
            key: key.clone(),
            sync: sync.clone(),
            moment,
            mark: format!("{sync} {moment} {id}"),
        }
    }

    /// Whether this run made a live object.
    pub fn made(&self, object: &ObjectKey, live: &Value) -> bool {
        self.proven(object, live) == Some(&*self.mark)
    }

    /// Whether a live object is the one that this run is known to have made, and has its mark without the proof: the API
    /// server made it in another second than was thought, and the proof could not be written. `uid`: that of the object
    /// that was made. The mark alone says nothing, since everybody who may patch the object can write it.
    pub fn made_unproven(&self, object: &ObjectKey, live: &Value, uid: Option<&str>) -> bool {
        let rest = annotation(live, HOOK).and_then(|text| text.strip_prefix(&*self.mark));
        let is_marked = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        let live_uid = live.pointer("/metadata/uid").and_then(Value::as_str);
        let is_known = uid.is_some() && uid == live_uid;
        is_marked && is_known && !is_member(live) && !self.made(object, live)
    }

    /// The mark of the run that made a live object, if a proof is with it.
    fn proven<'v>(&self, object: &ObjectKey, live: &'v Value) -> Option<&'v str> {
        let (mark, proof) = annotation(live, HOOK)?.rsplit_once(' ')?;
        let (proof, created) = (Proof::parse(proof)?, created(live)?);
        let text = text(&self.sync, mark, object);
        self.key.proves_made(&proof, &text, created).then_some(mark)
    }

    /// What the annotation says of an object that this run makes in this second, by the API server's clock.
    pub fn mark(&self, object: &ObjectKey, second: i64) -> String {
        let proof = self
            .key
            .for_made(&text(&self.sync, &self.mark, object), second);
        format!("{} {proof}", self.mark)
    }

    /// Whether a live object looks like one that Helm made.
    pub fn may_be_helms(&self, live: &Value) -> bool {
        annotation(live, HOOK).is_none() && annotation(live, HELM_HOOK).is_some()
    }

    /// Whether a live object that another run made may be deleted, so that this one can make it. `by_helm`: whether there
    /// is a record of Helm's own of the release, so that [`HookRun::may_be_helms`] counts.
    ///
    /// # Errors
    /// Why not.
    pub fn may_replace(
        &self,
        hook: &Hook,
        object: &ObjectKey,
        live: &Value,
        by_helm: bool,
    ) -> Result<(), HookClash> {
        if is_member(live) {
            return Err(HookClash::NoHook);
        }
        match annotation(live, HOOK).and_then(owner) {
            Some(owner) if owner != self.sync.to_string() => {
                return Err(HookClash::OfAnother(owner.to_owned()));
            }
            Some(_) if self.proven(object, live).is_none() => return Err(HookClash::Unproven),
            Some(_) => (),
            None if !self.may_be_helms(live) => return Err(HookClash::NoHook),
            None if self.moment.is_install() || !by_helm => return Err(HookClash::OfHelm),
            None => (),
        }
        match hook.delete.before && may_be_deleted(&hook.object.key()) {
            true => Ok(()),
            false => Err(HookClash::Kept),
        }
    }

    /// The object of a hook as this run makes it in this second, by the API server's clock.
    pub fn body(&self, hook: &Hook, key: &ObjectKey, second: i64) -> Value {
        let mut body = hook.object.manifest().body;
        let Some(metadata) = body.get_mut("metadata").and_then(Value::as_object_mut) else {
            return body;
        };
        match &key.namespace {
            Some(namespace) => metadata.insert("namespace".to_owned(), (**namespace).into()),
            None => metadata.remove("namespace"),
        };
        let (id, mark) = (self.sync.applyset_id(), self.mark(key, second));
        for (field, name, value) in [
            ("annotations", HOOK, mark.as_str()),
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

/// What the proof of a hook's object is about: the run, and the object.
fn text(sync: &SyncName, mark: &str, object: &ObjectKey) -> String {
    // No line break is in an identity.
    format!("{}\n{mark}", sync.identity(object))
}

/// The second in which a live object was created.
pub fn created(live: &Value) -> Option<i64> {
    let at = live.pointer("/metadata/creationTimestamp")?.as_str()?;
    at.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_second)
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

    use super::super::testing;
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
        HookRun::new(&testing::key(), &sync, Moment::PreUpgrade, &id)
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
        let body = made_at(run("a", 0).body(&hook, &key, 0), 1);
        assert_eq!(body["metadata"]["namespace"], "prod");
        assert!(run("a", 0).made(&key, &body) && !run("a", 1).made(&key, &body));
        assert_eq!(run("a", 1).may_replace(&hook, &key, &body, false), Ok(()));
        let clash = run("b", 0).may_replace(&hook, &key, &body, false);
        assert_eq!(clash, Err(HookClash::OfAnother("ns/a".to_owned())));

        let with = |annotations: Value, labels: Value| {
            let live = json!({"metadata": {"annotations": annotations, "labels": labels}});
            run("a", 0).may_replace(&hook, &key, &made_at(live, 2), true)
        };
        let helms = json!({"helm.sh/hook": "pre-upgrade"});
        assert_eq!(with(helms.clone(), json!(null)), Ok(()), "Helm made it");
        let sync = SyncName::new("ns", "a");
        let first = HookRun::new(&testing::key(), &sync, Moment::PreInstall, "0");
        let live = json!({"metadata": {"annotations": helms}});
        for (run, by_helm) in [(first, true), (run("a", 0), false)] {
            let clash = run.may_replace(&hook, &key, &live, by_helm);
            assert_eq!(clash, Err(HookClash::OfHelm));
        }
        assert_eq!(with(json!(null), json!(null)), Err(HookClash::NoHook));
        let member = json!({PART_OF: "x"});
        assert_eq!(with(helms, member.clone()), Err(HookClash::NoHook));
        let marked = body["metadata"]["annotations"].clone();
        assert_eq!(with(marked.clone(), json!(null)), Ok(()));
        assert_eq!(with(marked, member), Err(HookClash::NoHook));

        let mut kept = hook.clone();
        kept.delete.before = false;
        let clash = run("a", 1).may_replace(&kept, &key, &body, false);
        assert_eq!(clash, Err(HookClash::Kept));
    }

    #[test]
    fn a_mark_without_its_proof_is_that_of_no_hook() {
        let hook = hook("migrate", 0, &[Moment::PreUpgrade]);
        let key = hook.object.key();
        let body = run("a", 0).body(&hook, &key, 100);
        let mut forged = body.clone();
        forged["metadata"]["annotations"][HOOK] = json!("ns/a pre-upgrade 0");
        let mut raised = body.clone();
        let mark = raised["metadata"]["annotations"][HOOK].as_str().unwrap();
        raised["metadata"]["annotations"][HOOK] = json!(mark.replace("upgrade 0", "upgrade 1"));
        let other = ObjectKey {
            name: "other".into(),
            ..key.clone()
        };
        for (what, key, live) in [
            ("written by somebody", &key, made_at(forged, 100)),
            ("of another run", &key, made_at(raised, 100)),
            (
                "copied from another object",
                &other,
                made_at(body.clone(), 100),
            ),
            ("of a former life", &key, made_at(body, 200)),
        ] {
            let clash = run("a", 1).may_replace(&hook, key, &live, true);
            assert_eq!(clash, Err(HookClash::Unproven), "{what}");
            assert!(
                !run("a", 0).made(key, &live) && !run("a", 1).made(key, &live),
                "{what}"
            );
        }
    }

    #[test]
    fn an_object_without_its_proof_is_ours_only_where_this_run_is_known_to_have_made_it() {
        let hook = hook("migrate", 0, &[Moment::PreUpgrade]);
        let key = hook.object.key();
        let live = |mark: &str, uid: &str, labels: Value| {
            json!({"metadata": {"uid": uid, "labels": labels, "annotations": {HOOK: mark},
                                "creationTimestamp": "1970-01-01T00:01:40Z"}})
        };
        let (late, proven) = (run("a", 1).mark(&key, 200), run("a", 1).mark(&key, 100));
        let (mark, none) = (run("a", 1).mark, json!(null));
        for (what, live, uid, is_ours) in [
            (
                "of another second",
                live(&late, "1", none.clone()),
                Some("1"),
                true,
            ),
            (
                "without its proof",
                live(&mark, "1", none.clone()),
                Some("1"),
                true,
            ),
            ("proven", live(&proven, "1", none.clone()), Some("1"), false),
            (
                "not known to be made",
                live(&late, "1", none.clone()),
                None,
                false,
            ),
            (
                "made again by somebody",
                live(&late, "2", none.clone()),
                Some("1"),
                false,
            ),
            (
                "of another run",
                live(&format!("{mark}0 x"), "1", none),
                Some("1"),
                false,
            ),
            (
                "a member",
                live(&late, "1", json!({PART_OF: "x"})),
                Some("1"),
                false,
            ),
        ] {
            assert_eq!(
                run("a", 1).made_unproven(&key, &live, uid),
                is_ours,
                "{what}"
            );
            assert!(!run("a", 0).made_unproven(&key, &live, uid), "{what}");
        }
    }

    fn made_at(mut body: Value, second: i64) -> Value {
        let at = jiff::Timestamp::from_second(second).unwrap();
        body["metadata"]["creationTimestamp"] = json!(at.to_string());
        body
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        let pauses = [1, 2, 3, 20].map(|failures| hook_pause(failures).as_secs());
        assert_eq!(pauses, [10, 20, 40, 300]);
    }
}
