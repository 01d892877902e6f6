//! Hooks of a chart: objects that run at their moment, and are no part of what is kept in the cluster.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::DesiredError;
use crate::manifest::{Digest, GroupVersionKind, Manifest, ObjectKey};
use crate::render::wasm::{About, Kept, Output};
use crate::render::{self, BrokenFile, Changes, Generated, RenderError};

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// Before the first revision is applied.
    PreInstall,
    /// After the first revision was applied.
    PostInstall,
    /// Before a later revision is applied.
    PreUpgrade,
    /// After a later revision was applied.
    PostUpgrade,
    /// After all other hooks, where tests are asked for.
    Test,
    /// Before the objects of a deleted Sync are deleted.
    PreDelete,
    /// After the objects of a deleted Sync were deleted.
    PostDelete,
}

impl Moment {
    const ALL: [Self; 6] = [
        Self::PreInstall,
        Self::PostInstall,
        Self::PreUpgrade,
        Self::PostUpgrade,
        Self::PreDelete,
        Self::PostDelete,
    ];

    /// Whether it belongs to the first release.
    #[must_use]
    pub fn is_install(self) -> bool {
        matches!(self, Self::PreInstall | Self::PostInstall)
    }

    /// As Helm writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PreInstall => "pre-install",
            Self::PostInstall => "post-install",
            Self::PreUpgrade => "pre-upgrade",
            Self::PostUpgrade => "post-upgrade",
            Self::Test => "test",
            Self::PreDelete => "pre-delete",
            Self::PostDelete => "post-delete",
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an event of the annotation `helm.sh/hook` means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Moment(Moment),
    /// Only `helm rollback` runs it. In Git, a rollback is an upgrade to a former commit.
    Rollback,
}

impl Event {
    fn read(event: &str) -> Option<Self> {
        Some(match event {
            "test" | "test-success" => Self::Moment(Moment::Test),
            "pre-rollback" | "post-rollback" => Self::Rollback,
            event => Self::Moment(Moment::ALL.into_iter().find(|it| it.as_str() == event)?),
        })
    }
}

/// Events that Helm 2 had. Charts that are made for both have them, and a newer Helm leaves such objects out.
const OF_HELM_TWO: [&str; 2] = ["crd-install", "test-failure"];

/// When the object of a hook is deleted (`helm.sh/hook-delete-policy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeletePolicy {
    /// Before it runs again.
    pub before: bool,
    /// When all hooks of its moment have succeeded, or a later one has failed.
    pub succeeded: bool,
    /// When it has failed.
    pub failed: bool,
}

/// The policies that there are.
const POLICIES: [&str; 3] = ["before-hook-creation", "hook-succeeded", "hook-failed"];

impl DeletePolicy {
    /// As in Helm, a hook without a policy is deleted before it runs again.
    fn read(policies: &[String]) -> Self {
        let has = |policy: &str| policies.iter().any(|name| name == policy);
        let [before, succeeded, failed] = POLICIES.map(has);
        Self {
            before: before || policies.is_empty(),
            succeeded,
            failed,
        }
    }
}

/// The kind of a document that Helm leaves out, because it is a hook for an event that Helm does not know.
const UNKNOWN: &str = "unknownHook";

/// How many bytes the objects of a chart's hooks may take, compressed.
const MOST_BYTES: usize = 2 << 20;

/// The object of a hook, compressed: a chart may have thousands of hooks, and a parsed object takes many times its text.
#[derive(Clone)]
pub struct HookObject {
    /// Its kind and name. Without the object itself.
    head: Manifest,
    body: Arc<Kept>,
}

impl HookObject {
    /// Keeps an object.
    #[must_use]
    pub fn new(mut manifest: Manifest) -> Self {
        let text = std::mem::take(&mut manifest.body).to_string();
        Self {
            head: manifest,
            body: Arc::new(Kept::new(About::default(), text.as_bytes())),
        }
    }

    /// The whole object.
    #[must_use]
    pub fn manifest(&self) -> Manifest {
        Manifest {
            // What was written as JSON can be read as such.
            body: serde_json::from_slice(&self.body.text()).unwrap_or_default(),
            ..self.head.clone()
        }
    }

    /// Its kind, in the version that the template asks for.
    #[must_use]
    pub fn gvk(&self) -> &GroupVersionKind {
        &self.head.gvk
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.head.name
    }

    /// The namespace that the template names, if any.
    #[must_use]
    pub fn namespace(&self) -> Option<&Arc<str>> {
        self.head.namespace.as_ref()
    }

    /// Its kind, namespace and name.
    #[must_use]
    pub fn key(&self) -> ObjectKey {
        self.head.key()
    }
}

/// A hook.
#[derive(Clone)]
pub struct Hook {
    /// The template that it comes from.
    pub file: Arc<str>,
    /// When it runs. Never empty.
    pub moments: Vec<Moment>,
    /// Hooks with a lower weight run first.
    pub weight: i64,
    /// When its object is deleted.
    pub delete: DeletePolicy,
    /// The object.
    pub object: HookObject,
    /// What it says, without values that are drawn at random.
    pub digest: Digest,
}

/// Without the object, which may be a Secret.
impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hook")
            .field("file", &self.file)
            .field("object", &self.object.key())
            .field("moments", &self.moments)
            .finish_non_exhaustive()
    }
}

/// The hooks of a chart, and what a person should know of those that never run.
#[derive(Debug, Default)]
pub(super) struct Hooks {
    pub(super) all: Vec<Hook>,
    pub(super) notes: Vec<String>,
    /// What their objects take.
    bytes: usize,
}

impl Hooks {
    /// The hooks in an output, in its order. Tests only where they are asked for.
    ///
    /// # Errors
    /// A hook that cannot be honoured, by its template, or one that is no object.
    pub(super) fn of(
        output: &Output,
        changes: &Changes<'_>,
        tests: bool,
    ) -> Result<Self, DesiredError> {
        let mut found = Self::default();
        for document in &output.documents {
            found.add(document, &output.generated, changes, tests)?;
        }
        Ok(found)
    }

    fn add(
        &mut self,
        document: &Kept,
        generated: &Generated,
        changes: &Changes<'_>,
        tests: bool,
    ) -> Result<(), DesiredError> {
        let Some(about) = &document.about.hook else {
            return Ok(());
        };
        let template = &document.about.file;
        if document.about.kind == UNKNOWN {
            return self.unknown(document, &about.events, changes);
        }
        let (mut moments, mut rollback) = (Vec::new(), None);
        for event in &about.events {
            match Event::read(event) {
                Some(Event::Moment(Moment::Test)) if !tests => (),
                Some(Event::Moment(moment)) => moments.push(moment),
                Some(Event::Rollback) => rollback = Some(event),
                None => return Err(unknown(document, event, changes)),
            }
        }
        let odd = about.delete_policies.iter();
        let odd = odd.filter(|policy| !POLICIES.contains(&policy.as_str()));
        self.notes.extend(odd.map(|policy| {
            format!(
                "{template}: {policy:?} is no policy of helm.sh/hook-delete-policy, so that it has no effect"
            )
        }));
        if moments.is_empty() {
            self.notes.extend(rollback.map(|event| {
                format!(
                    "{template} is a Helm hook for {event}, which never runs here: a rollback is an upgrade to a \
                     former commit"
                )
            }));
            return Ok(());
        }
        let file: Arc<str> = template.as_str().into();
        let read = render::each_object(&document.text(), changes, |number, item, manifest| {
            let generated = generated.of(document.id, number, item);
            self.all.push(Hook {
                file: Arc::clone(&file),
                moments: moments.clone(),
                weight: about.weight,
                delete: DeletePolicy::read(&about.delete_policies),
                digest: render::digest(&manifest.body, generated),
                object: HookObject::new(manifest),
            });
            self.bytes += self.all.last().map_or(0, |hook| hook.object.body.bytes());
            Ok(match self.bytes > MOST_BYTES {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            })
        });
        if self.bytes > MOST_BYTES {
            return Err(DesiredError::HooksTooLarge {
                template: template.clone(),
                limit_mib: MOST_BYTES >> 20,
            });
        }
        read.map(drop).map_err(|error| {
            let files = vec![BrokenFile::rendered(file, error, &document.text())];
            RenderError::Broken { files, more: 0 }.into()
        })
    }

    /// An object that Helm leaves out without an error. `events`: those that Helm does not know.
    fn unknown(
        &mut self,
        document: &Kept,
        events: &[String],
        changes: &Changes<'_>,
    ) -> Result<(), DesiredError> {
        for event in events {
            if !OF_HELM_TWO.contains(&event.as_str()) {
                return Err(unknown(document, event, changes));
            }
            self.notes.push(format!(
                "{}: {} is a hook for {event}, which only Helm 2 knew, so that it is left out as with a newer Helm",
                document.about.file,
                object(document, changes)
            ));
        }
        Ok(())
    }
}

fn unknown(document: &Kept, event: &str, changes: &Changes<'_>) -> DesiredError {
    DesiredError::Hook {
        template: document.about.file.clone(),
        object: object(document, changes),
        event: event.to_owned(),
    }
}

/// Which object a document holds, for people.
fn object(document: &Kept, changes: &Changes<'_>) -> String {
    let mut found = None;
    // What is wrong with the object itself is not said here.
    let _ = render::each_object(&document.text(), changes, |_, _, manifest| {
        found = Some(manifest.key().to_string());
        Ok(ControlFlow::Break(()))
    });
    found.unwrap_or_else(|| "an object".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_of_helm_has_a_meaning_and_no_other_has() {
        for moment in Moment::ALL.into_iter().chain([Moment::Test]) {
            assert_eq!(Event::read(moment.as_str()), Some(Event::Moment(moment)));
        }
        for (event, meaning) in [
            ("test-success", Some(Event::Moment(Moment::Test))),
            ("pre-rollback", Some(Event::Rollback)),
            ("post-rollback", Some(Event::Rollback)),
            ("crd-install", None),
            ("", None),
        ] {
            assert_eq!(Event::read(event), meaning, "{event}");
        }
    }

    /// A parsed object of this kind takes a hundred times its text.
    #[test]
    fn the_object_of_a_hook_is_kept_small_and_whole() {
        let body = serde_json::json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"},
            "x": vec![serde_json::json!({"a": 1}); 10_000],
        });
        let manifest = Manifest::from_value(body).unwrap().remove(0);
        let object = HookObject::new(manifest.clone());
        assert!(object.body.bytes() < 2_000, "{}", object.body.bytes());
        assert!(object.head.body.is_null());
        assert_eq!(
            (object.manifest(), object.key()),
            (manifest.clone(), manifest.key())
        );
    }

    #[test]
    fn a_hook_without_a_policy_is_deleted_before_it_runs_again() {
        let read = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let DeletePolicy {
                before,
                succeeded,
                failed,
            } = DeletePolicy::read(&names);
            (before, succeeded, failed)
        };
        assert_eq!(read(&[]), (true, false, false));
        assert_eq!(read(&["hook-succeeded"]), (false, true, false));
        let all = ["before-hook-creation", "hook-succeeded", "hook-failed"];
        assert_eq!(read(&all), (true, true, true));
    }

    #[test]
    fn an_event_that_helm_does_not_know_is_told_with_its_template_and_object() {
        let body = b"kind: Job\napiVersion: batch/v1\nmetadata: {name: migrate, namespace: shop}\n";
        let read = |kind: &str, events: &[&str], policies: &[&str]| {
            let words = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
            let about =
                serde_json::json!({"kind": kind, "file": "web/templates/job.yaml", "hook": {}});
            let mut about: About = serde_json::from_value(about).unwrap();
            if let Some(hook) = &mut about.hook {
                (hook.events, hook.delete_policies) = (words(events), words(policies));
            }
            let mut hooks = Hooks::default();
            let kept = Kept::new(about, body);
            let added = hooks.add(&kept, &Generated::default(), &Changes::none(), false);
            (
                added.map_err(|error| error.to_string()),
                hooks.all.len(),
                hooks.notes,
            )
        };
        let (error, ..) = read("unknownHook", &["crd-install", "pre-instal"], &[]);
        assert_eq!(
            error.unwrap_err(),
            "web/templates/job.yaml: Job.batch shop/migrate is a Helm hook for \"pre-instal\", which is no event of Helm: correct \
             the annotation helm.sh/hook, or take it away"
        );
        let (of_two, hooks, notes) = read("unknownHook", &["crd-install"], &[]);
        assert!(of_two.is_ok() && hooks == 0);
        assert!(notes[0].contains("Job.batch shop/migrate is a hook for crd-install"));
        let (known, hooks, notes) = read("hook", &["pre-install"], &["hook-succeded"]);
        assert!(known.is_ok() && hooks == 1);
        assert!(
            notes[0].contains("\"hook-succeded\" is no policy"),
            "{notes:?}"
        );
        assert_eq!(
            read("hook", &["pre-install"], &POLICIES).2,
            Vec::<String>::new()
        );
    }
}
