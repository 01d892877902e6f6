//! The fields of a Sync for rendering: kustomize, Helm, variables and encrypted files. Names and meanings
//! are those of Flux where Flux has the feature.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::names::{KEY, KIND, OBJECT, OBJECT_OR_NONE};
use super::secret_ref::SecretRef;
use super::source_ref::ChartRef;

/// Changes with kustomize. If the path has no kustomization, all its manifests are used as one.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Kustomize {
    /// Prefix of the name of every object.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 200))]
    pub name_prefix: String,
    /// Suffix of the name of every object.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 200))]
    pub name_suffix: String,
    /// Patches, applied after those of the kustomization.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub patches: Vec<Patch>,
    /// Components, as paths relative to `path`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub components: Vec<String>,
    /// Leave out components that are not in the repository.
    pub ignore_missing_components: bool,
    /// Other names, tags or digests for images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 200))]
    pub images: Vec<Image>,
    /// Whether kustomizations may name folders of other Git repositories by URL. `Refused` (default) refuses them.
    /// `Pinned` fetches those that are pinned to a tag or to a whole commit id (`?ref=`), and refuses all others.
    #[serde(skip_serializing_if = "RemoteBases::is_default")]
    pub remote_bases: RemoteBases,
}

/// A renderer of the team's own: a WebAssembly module that an administrator of the cluster mounted into the operator.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Renderer {
    /// The module: the name of its file without `.cwasm`.
    #[schemars(length(max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// What the module is given beside the path. Their meaning is the module's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100), inner(length(max = 4096)))]
    pub parameters: BTreeMap<String, String>,
}

/// Whether kustomizations may name folders of other Git repositories.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum RemoteBases {
    /// No.
    #[default]
    Refused,
    /// At a tag or a commit.
    Pinned,
}

impl RemoteBases {
    #[allow(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A patch.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Patch {
    /// A strategic merge patch or a JSON patch (RFC 6902), as YAML.
    #[schemars(length(min = 1, max = 65536))]
    pub patch: String,
    /// The objects to change. A strategic merge patch may name its object itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PatchTarget>,
}

/// The objects that a patch changes. Names are regular expressions.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct PatchTarget {
    /// The API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The API version.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The kind.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The namespace.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// A selector of annotations.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub annotation_selector: String,
    /// A selector of labels.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label_selector: String,
}

/// Another name, tag or digest for an image.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The image's name in manifests, without tag.
    #[schemars(length(min = 1, max = 512))]
    pub name: String,
    /// The new name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub new_name: String,
    /// The new tag.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub new_tag: String,
    /// The new digest. It has precedence over a tag.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
}

/// How to render a chart. The Sync's `path` is the folder of the chart, unless `chartRef` says where that is.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Helm {
    /// The chart, if it is in another GitRepository. Then the Sync's `path` is the folder of the value files. A commit to
    /// either repository that changes what the chart or a value file says is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart_ref: Option<ChartRef>,
    /// The name of the release. By default the Sync's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 53), regex(pattern = OBJECT_OR_NONE))]
    pub release_name: String,
    /// Value files, as paths relative to the Sync's `path`. Later files have precedence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub values_files: Vec<String>,
    /// Values in ConfigMaps and Secrets. They have precedence over files, and later ones over earlier
    /// ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub values_from: Vec<ValuesFrom>,
    /// Values in this spec. They have precedence over all others.
    #[serde(skip_serializing_if = "Map::is_empty")]
    #[schemars(schema_with = "any_object")]
    pub values: Map<String, Value>,
    /// The kinds of which `lookup` of templates finds objects in the cluster. They are read in the name of the Sync's
    /// account, and what they say is rendered again when it changes. Of all other kinds, `lookup` finds nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub lookup: Vec<LookupKind>,
    /// Whether the chart's tests (hooks of the kind `test`) run after each new content. The Sync is ready when they
    /// have succeeded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub test: bool,
    /// Whether a record of each content that has converged is written for Helm, so that `helm list`, `helm history` and
    /// `helm get` show the release. The record is a Secret in the namespace of the release. It holds the values, as
    /// Helm's own does.
    #[serde(skip_serializing_if = "is_true")]
    pub release_record: bool,
}

impl Default for Helm {
    fn default() -> Self {
        Self {
            chart_ref: None,
            release_name: String::new(),
            values_files: Vec::new(),
            values_from: Vec::new(),
            values: Map::new(),
            lookup: Vec::new(),
            test: false,
            release_record: true,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde asks for it
fn is_true(value: &bool) -> bool {
    *value
}

/// Values of a chart in a ConfigMap or Secret of the Sync's namespace.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ValuesFrom {
    /// The kind of the object.
    pub kind: KeeperKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT))]
    pub name: String,
    /// The key that holds the values as YAML.
    #[serde(default = "values_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = KEY))]
    pub values_key: String,
    /// Whether it may be absent.
    #[serde(default)]
    pub optional: bool,
}

fn values_key() -> String {
    "values.yaml".to_owned()
}

/// A kind whose objects `lookup` finds.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LookupKind {
    /// The API group. By default the core group, which Secrets and ConfigMaps are in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253), regex(pattern = OBJECT_OR_NONE))]
    pub group: String,
    /// The kind.
    #[schemars(length(min = 1, max = 63), regex(pattern = KIND))]
    pub kind: String,
}

fn any_object(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true
    })
}

/// A kind of object that holds values.
#[derive(JsonSchema, Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
pub enum KeeperKind {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// Variables in manifests: `${cluster}`, `${replicas:=2}`, and `$${literal}` for a literal `${literal}`.
/// An object with the annotation `towline.dev/substitute: disabled` stays unchanged.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Substitute {
    /// Variables in this spec. They have precedence over those of `from`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 1000))]
    pub values: BTreeMap<String, String>,
    /// ConfigMaps and Secrets of the Sync's namespace whose keys are variables. Later ones have
    /// precedence.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub from: Vec<SubstituteFrom>,
    /// Refuse a variable that has neither a value nor a default. Otherwise its value is an empty text.
    pub strict: bool,
}

/// A ConfigMap or Secret of the Sync's namespace whose keys are variables.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SubstituteFrom {
    /// The kind of the object.
    pub kind: KeeperKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = OBJECT))]
    pub name: String,
    /// Whether it may be absent.
    #[serde(default)]
    pub optional: bool,
}

/// How to decrypt encrypted files.
#[derive(JsonSchema, Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Decryption {
    /// The tool that encrypted the files. Only SOPS is supported.
    #[serde(default)]
    pub provider: DecryptionProvider,
    /// The Secret with the keys, in the same namespace. Entries that end in `.agekey` hold age keys, and
    /// entries that end in `.asc` hold OpenPGP keys.
    pub secret_ref: SecretRef,
}

/// The tool that encrypted the files.
#[derive(JsonSchema, Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum DecryptionProvider {
    /// SOPS.
    #[default]
    Sops,
}

/// Labels and annotations of every object.
#[derive(JsonSchema, Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct CommonMetadata {
    /// Labels of every object.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 100))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of every object.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 100))]
    pub annotations: BTreeMap<String, String>,
}
