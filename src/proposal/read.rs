//! Renders both commits of a request for one Sync.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::api::Sync;
use crate::chain;
use crate::content::{ReadFault, Tree};
use crate::desired::{
    self, Desired, DesiredError, InputData, Inputs, InputsError, MOST_INPUT, Reading, StandIns,
    Task,
};
use crate::driver::Context;
use crate::fleet::SourceName;
use crate::intent::{InputsIntent, Keeper, SourceIntent, SyncIntent};
use crate::manifest::GroupVersionKind;
use crate::preview::{defined, is_definition, manifests_of};
use crate::render::Cache;
use crate::secrets::{ReadError, SecretName, size};
use crate::source::Snapshot;
use crate::sync::releases;

/// Why a Sync cannot be planned.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    #[error("{0}")]
    Read(&'static str, #[source] ReadError),
    #[error(transparent)]
    Inputs(#[from] InputsError),
    #[error(transparent)]
    Desired(#[from] DesiredError),
    #[error("the render was ended")]
    Ended,
}

/// The kinds that the definitions of the newest commit bring.
type Defined = HashSet<GroupVersionKind>;

/// What the commits ask for.
pub(super) enum Read {
    Same(Defined),
    Both(Both),
    /// Neither can be rendered, for the same reason.
    Neither(String),
}

/// What both commits ask for, where it differs.
pub(super) struct Both {
    /// None if the commit that the request began at cannot be rendered.
    pub(super) base: Option<Box<Desired>>,
    pub(super) head: Box<Desired>,
    /// Why there is no base.
    pub(super) note: Option<String>,
    pub(super) defined: Defined,
}

/// One pull request at work.
pub(super) struct Work<'a> {
    pub(super) context: &'a Context,
    pub(super) source: &'a SourceName,
    pub(super) intent: &'a SourceIntent,
    /// The commit that the request began at, and its newest one.
    pub(super) base: Arc<Snapshot>,
    pub(super) head: Arc<Snapshot>,
}

impl Work<'_> {
    /// What both commits ask for.
    pub(super) async fn read(&self, sync: &Sync, intent: &SyncIntent) -> Result<Read, SyncError> {
        let inputs = Arc::new(self.inputs(intent).await?);
        let releases = sync.status.as_ref().map(releases).unwrap_or_default();
        let chart = |own: &Arc<Snapshot>| -> Option<Arc<dyn Tree>> {
            let chart = intent.render.helm.chart.as_ref()?;
            if chart.source == *self.source.name {
                return Some(own.clone());
            }
            let source = SourceName::new(&self.source.namespace, &chart.source);
            let latest = self.context.fleet.sources.read(&source).latest?;
            Some(latest.snapshot)
        };
        let task = |tree: &Arc<Snapshot>| Task {
            tree: tree.clone(),
            chart: chart(tree),
            // A request could name one that its author may not read.
            bases: BTreeMap::new(),
            intent: intent.render.clone(),
            inputs: Arc::clone(&inputs),
            renderers: self.context.renderers.clone(),
            // A tenant of its own, so that no render of a Sync of the namespace waits for its turn.
            tenant: format!("{} (pull requests)", self.source.namespace).into(),
            releases: releases.clone(),
            // A comment shows what is rendered, and its author may not be allowed to read what the Sync's account may.
            lookup: None,
            kept_for: None,
        };
        let (base, head) = (task(&self.base), task(&self.head));
        let tree = self.head.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut cache = Cache::default();
            let (base, base_error) = match desired::read(&base, None, &mut cache) {
                Ok(Reading::Changed(base)) => (Some(base), None),
                Ok(Reading::Unchanged) => (None, None),
                Err(error) => (None, Some(error)),
            };
            Ok(match desired::read(&head, base.as_deref(), &mut cache) {
                Ok(Reading::Unchanged) => Read::Same(definitions(base.as_deref(), tree)),
                Ok(Reading::Changed(head)) => Read::Both(Both {
                    defined: definitions(Some(&head), tree),
                    base,
                    head,
                    // Without the path, there was nothing.
                    note: base_error.filter(|error| !is_absent(error)).map(|error| {
                        let why = chain(&error);
                        format!("the commit that it began at cannot be rendered: {why}")
                    }),
                }),
                Err(error) => match base_error {
                    // The request is older than the path, or another one takes it away.
                    Some(base) if is_absent(&base) && is_absent(&error) => {
                        Read::Same(Defined::new())
                    }
                    Some(base) if chain(&base) == chain(&error) => Read::Neither(chain(&error)),
                    _ => return Err(error.into()),
                },
            })
        });
        read.await.map_err(|_| SyncError::Ended)?
    }

    /// The inputs of the renders, with stand-ins for what is secret.
    async fn inputs(&self, intent: &SyncIntent) -> Result<Inputs, SyncError> {
        let context = self.context;
        let namespace = &*self.source.namespace;
        let (mut found, mut bytes) = (InputData::new(), 0);
        for (field, reference) in intent.inputs.references() {
            // What is encrypted stays so.
            if field == InputsIntent::KEYS {
                continue;
            }
            let name = SecretName::new(namespace, &reference.name);
            let read = match reference.kind {
                Keeper::ConfigMap => context.config_maps.read(&name).await,
                Keeper::Secret => context.secrets.read(&name).await,
            };
            match read {
                Ok(data) => {
                    bytes += size(&data);
                    if bytes > MOST_INPUT {
                        let name = format!("{} {name}", reference.kind);
                        return Err(InputsError::TooLarge { field, name }.into());
                    }
                    found.insert((reference.kind, reference.name), Arc::new(data));
                }
                Err(ReadError::Missing(..)) if reference.optional => (),
                Err(error) => return Err(SyncError::Read(field, error)),
            }
        }
        let stand_ins = StandIns::new(&context.key.digest_for("stand-ins", namespace));
        let mut inputs = Inputs::with_stand_ins(namespace, &intent.inputs, &found, stand_ins)?;
        let version = context.cluster.version().await;
        inputs.kube_version = version.unwrap_or_default().to_owned();
        inputs.api_versions = context.cluster.kinds.api_versions();
        Ok(inputs)
    }
}

/// Whether there is nothing at the path of the Sync.
fn is_absent(error: &DesiredError) -> bool {
    matches!(error, DesiredError::Tree(error) if error.fault() == ReadFault::PathNotFound)
}

/// The kinds that the definitions among the objects bring. Blocks.
fn definitions(desired: Option<&Desired>, tree: Arc<Snapshot>) -> Defined {
    let Some(desired) = desired else {
        return Defined::new();
    };
    let objects = desired.objects().iter().enumerate();
    let definitions = objects.filter(|(_, object)| is_definition(&object.gvk));
    let indexes: Vec<usize> = definitions.map(|(index, _)| index).collect();
    match indexes.is_empty() {
        true => Defined::new(),
        false => defined(manifests_of(desired, tree, &indexes).0.values()),
    }
}
