//! What the objects of a Sync are made of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Overrides;

/// What the objects of a Sync are made of, beside the revision and what the cluster gives to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RenderIntent {
    /// The folder or file, relative to the root of the tree; empty for all of it.
    pub path: String,
    /// Which files below the path are left out, in the syntax of gitignore.
    pub ignore: String,
    /// Which files of the whole source are left out for everybody, in the same syntax.
    pub source_ignore: Arc<str>,
    /// The namespace of every namespaced object, whatever its manifest says.
    pub target_namespace: Option<String>,
    /// Changes by kustomize, also where the path holds plain manifests.
    pub kustomize: Option<Overrides>,
    /// Whether kustomizations may name folders of other repositories, at a tag or a commit.
    pub remote_bases: bool,
    /// A renderer of the team's own, in place of kustomize and Helm.
    pub renderer: Option<RendererIntent>,
    /// How a chart is rendered, where the path holds one.
    pub helm: HelmIntent,
    /// Labels of every object.
    pub labels: BTreeMap<String, String>,
    /// Annotations of every object.
    pub annotations: BTreeMap<String, String>,
}

impl RenderIntent {
    /// Whether nothing is asked for but what is at the path.
    pub fn is_plain(&self) -> bool {
        self.kustomize.is_none() && self.renderer.is_none() && self.helm.chart.is_none()
    }
}

/// A renderer that an administrator of the cluster mounted, and what it is given beside the path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RendererIntent {
    /// The module's name.
    pub name: String,
    /// Their meaning is the module's own.
    pub parameters: BTreeMap<String, String>,
}

/// How a chart is rendered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HelmIntent {
    /// Where the chart is, if it is in another source.
    pub chart: Option<ChartIntent>,
    /// `.Release.Name`.
    pub release_name: String,
    /// `.Release.Namespace`.
    pub release_namespace: String,
    /// Value files, relative to the path. Later ones win.
    pub values_files: Vec<String>,
    /// Values in place, as YAML; they win over all others.
    pub values: String,
    /// Whether the chart's tests are run.
    pub tests: bool,
    /// The kinds that `lookup` finds: group and kind.
    pub lookups: Vec<(String, String)>,
}

/// A chart of another source than that of the Sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChartIntent {
    /// The source, in the Sync's namespace.
    pub source: String,
    /// The chart's folder, relative to the root of the source's tree; empty for the root.
    pub path: String,
}
