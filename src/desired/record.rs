//! What a chart's release is made of, as Helm keeps it in its records. Pure.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::decrypted::Decrypted;
use super::{Desired, DesiredError, changes, rendered, whole_tree};
use crate::content::{ReadError, ReadFault, Tree, within};
use crate::manifest::{self, Manifest, YamlError};
use crate::render::wasm::{Kept, Values};
use crate::render::{self, Changes, TextError, TextId};

/// A release's content, in the form of Helm's JSON. It may hold secret values.
pub struct ReleaseBody {
    /// What `Chart.yaml` says.
    pub metadata: Value,
    /// The chart's own values.
    pub values: Map<String, Value>,
    /// The values that were given to it.
    pub config: Map<String, Value>,
    /// The objects, as they are applied.
    pub manifest: String,
    /// The hooks, as Helm's records have them.
    pub hooks: Vec<Value>,
    /// What the chart tells its users.
    pub notes: String,
}

/// The longest texts of a release together, in bytes. More does not fit into a Secret, however well it is packed.
const MAX_TEXTS: usize = 16 << 20;

/// Why a release's content cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseBodyError {
    /// There is no chart.
    #[error(transparent)]
    Chart(#[from] DesiredError),
    /// A file cannot be read.
    #[error("{file}")]
    Read {
        /// From the root of the tree.
        file: String,
        /// Why.
        source: ReadError,
    },
    /// Values are no YAML.
    #[error("{name}")]
    Yaml {
        /// Where they are.
        name: String,
        /// Why.
        source: YamlError,
    },
    /// Values are no map.
    #[error("{0} is no map")]
    NoMap(String),
    /// A document cannot be read.
    #[error("{file}")]
    Text {
        /// The template.
        file: String,
        /// Why.
        source: TextError,
    },
    /// There is too much of it.
    #[error("its objects and hooks have more than {} MiB", MAX_TEXTS >> 20)]
    TooLarge,
    /// An object cannot be written as YAML.
    #[error("{file}: an object cannot be written as YAML")]
    Write {
        /// The template.
        file: String,
        /// Why.
        source: serde_saphyr::ser::Error,
    },
}

impl Desired {
    /// What the release of a chart is made of. The trees are those that it was read from, or have the same content.
    /// `live`: live objects with values that were drawn at random, by their index in [`Self::objects`].
    ///
    /// Blocks while it reads.
    ///
    /// # Errors
    /// [`ReleaseBodyError`].
    pub fn release_body(
        &self,
        tree: &Arc<dyn Tree>,
        chart: Option<&Arc<dyn Tree>>,
        live: &HashMap<usize, Value>,
    ) -> Result<ReleaseBody, ReleaseBodyError> {
        // A chart has no remote bases.
        let tree = whole_tree(tree, chart, &BTreeMap::new(), &self.intent)?;
        let tree: Arc<dyn Tree> = Arc::new(Decrypted::new(tree, Arc::clone(&self.inputs)));
        let folder = rendered::chart_folder(&tree, &self.intent)?;
        let files = Files { tree: &*tree };
        let mut body = ReleaseBody {
            metadata: metadata(&files.map(&within(&folder, "Chart.yaml"))?),
            values: files.map(&within(&folder, "values.yaml"))?,
            config: Map::new(),
            manifest: String::new(),
            hooks: Vec::new(),
            notes: String::new(),
        };
        for Values {
            file, name, text, ..
        } in rendered::values(&self.intent, &self.inputs)
        {
            let values = match file.is_empty() {
                true => parsed(&name, text.as_bytes())?,
                false => files.map(&file)?,
            };
            merge(&mut body.config, values);
        }
        let writer = ReleaseBodyWriter {
            desired: self,
            drawn: self.drawn(live),
        };
        let documents = self.rendered.chart().into_iter();
        let documents = documents.flat_map(|output| &output.documents);
        let mut bytes = 0;
        for document in documents.filter(|document| document.about.kind != "crd") {
            bytes += document.size();
            if bytes > MAX_TEXTS {
                return Err(ReleaseBodyError::TooLarge);
            }
            writer.add(document, &mut body)?;
        }
        Ok(body)
    }

    /// The live objects with random values, by their place.
    fn drawn<'l>(&self, live: &'l HashMap<usize, Value>) -> HashMap<(TextId, u32, u32), &'l Value> {
        let drawn = live.iter().filter_map(|(index, live)| {
            let origin = self.objects.get(*index)?.origin;
            let (document, item) = origin.place();
            Some(((self.origins.text(origin)?, document, item), live))
        });
        drawn.collect()
    }
}

/// The files of a tree.
struct Files<'a> {
    tree: &'a dyn Tree,
}

impl Files<'_> {
    /// The map in a file; empty where there is no file.
    fn map(&self, file: &str) -> Result<Map<String, Value>, ReleaseBodyError> {
        let unread = |source| ReleaseBodyError::Read {
            file: file.to_owned(),
            source,
        };
        let blob = match self.tree.entry(file) {
            Ok(place) => place.file,
            Err(error) if error.fault() == ReadFault::PathNotFound => None,
            Err(error) => return Err(unread(error)),
        };
        match blob {
            Some(blob) => parsed(file, &self.tree.read(blob).map_err(unread)?),
            None => Ok(Map::new()),
        }
    }
}

/// The values in a text. As with Helm, those of several documents are merged.
fn parsed(name: &str, text: &[u8]) -> Result<Map<String, Value>, ReleaseBodyError> {
    let documents = manifest::documents(text).map_err(|source| ReleaseBodyError::Yaml {
        name: name.to_owned(),
        source,
    })?;
    let mut all = Map::new();
    for document in documents {
        match document.value {
            Value::Object(values) => merge(&mut all, values),
            _ => return Err(ReleaseBodyError::NoMap(name.to_owned())),
        }
    }
    Ok(all)
}

/// Puts values over others, as Helm does: maps are merged, and null is a value.
fn merge(below: &mut Map<String, Value>, above: Map<String, Value>) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => merge(below, above),
            (_, value) => drop(below.insert(key, value)),
        }
    }
}

/// Adds the documents of a release to its body.
struct ReleaseBodyWriter<'a> {
    desired: &'a Desired,
    drawn: HashMap<(TextId, u32, u32), &'a Value>,
}

impl ReleaseBodyWriter<'_> {
    fn add(&self, document: &Kept, body: &mut ReleaseBody) -> Result<(), ReleaseBodyError> {
        let about = &document.about;
        match (about.kind.as_str(), &about.hook) {
            ("" | "manifest", _) => {
                for text in self.texts(document)? {
                    // A manifest of a chart has the line end of a release already.
                    let text = text.strip_suffix('\n').unwrap_or(&text);
                    let text = format!("---\n# Source: {}\n{text}\n", about.file);
                    body.manifest.push_str(&text);
                }
            }
            ("hook", Some(hook)) => {
                let text = self.texts(document)?.join("\n---\n");
                let first = self.objects(document, false)?.into_iter().next();
                let said = |pointer: &str| {
                    let value = first.as_ref().and_then(|body| body.pointer(pointer));
                    value.cloned().unwrap_or_default()
                };
                body.hooks.push(json!({
                    "name": said("/metadata/name"), "kind": said("/kind"),
                    "path": about.file, "manifest": text,
                    "events": hook.events, "weight": hook.weight,
                    "delete_policies": hook.delete_policies,
                    "output_log_policies": hook.output_log_policies,
                    "last_run": {"phase": ""},
                }));
            }
            ("notes", _) if body.notes.is_empty() => {
                body.notes = String::from_utf8_lossy(&document.text()).into_owned();
            }
            _ => (),
        }
        Ok(())
    }

    /// A document as the chart wrote it, if its objects are applied like that; else each object as it is applied.
    fn texts(&self, document: &Kept) -> Result<Vec<String>, ReleaseBodyError> {
        let as_it_is = || String::from_utf8_lossy(&document.text()).into_owned();
        let objects = self.objects(document, true)?;
        if objects == self.objects(document, false)? {
            return Ok(vec![as_it_is()]);
        }
        let written = objects.iter().map(render::written);
        let written = written.collect::<Result<_, _>>();
        written.map_err(|source| ReleaseBodyError::Write {
            file: document.about.file.clone(),
            source,
        })
    }

    /// The objects of a document, as they are applied or as the chart wrote them.
    fn objects(&self, document: &Kept, applied: bool) -> Result<Vec<Value>, ReleaseBodyError> {
        let Desired { intent, inputs, .. } = self.desired;
        let changes = match applied {
            true => changes(intent, inputs),
            false => Changes::none(),
        };
        let mut objects = Vec::new();
        let text = document.text();
        let read = render::each_object(&text, &changes, |number, item, manifest| {
            let Manifest { mut body, .. } = manifest;
            if applied && let Some(live) = self.drawn.get(&(document.id, number, item)) {
                let paths = self.desired.rendered.generated(document.id, number, item);
                render::keep(&mut body, live, paths);
            }
            objects.push(body);
            Ok(ControlFlow::Continue(()))
        });
        // It never breaks.
        let _flow = read.map_err(|source| ReleaseBodyError::Text {
            file: document.about.file.clone(),
            source,
        })?;
        Ok(objects)
    }
}

/// How a field of `Chart.yaml` is read. As in Helm, a number is a text where a text is wanted: `appVersion: 1.2`.
#[derive(Clone, Copy)]
enum Field {
    Text,
    Texts,
    TextsByName,
    Bool,
    Any,
    List(&'static [(&'static str, Field)]),
}

/// The fields of `Chart.yaml` that Helm knows. It refuses a record with another type in one of them.
const METADATA: &[(&str, Field)] = &[
    ("name", Field::Text),
    ("home", Field::Text),
    ("sources", Field::Texts),
    ("version", Field::Text),
    ("description", Field::Text),
    ("keywords", Field::Texts),
    ("maintainers", Field::List(MAINTAINER)),
    ("icon", Field::Text),
    ("apiVersion", Field::Text),
    ("condition", Field::Text),
    ("tags", Field::Text),
    ("appVersion", Field::Text),
    ("deprecated", Field::Bool),
    ("annotations", Field::TextsByName),
    ("kubeVersion", Field::Text),
    ("dependencies", Field::List(DEPENDENCY)),
    ("type", Field::Text),
];

const MAINTAINER: &[(&str, Field)] = &[
    ("name", Field::Text),
    ("email", Field::Text),
    ("url", Field::Text),
];

const DEPENDENCY: &[(&str, Field)] = &[
    ("name", Field::Text),
    ("version", Field::Text),
    ("repository", Field::Text),
    ("condition", Field::Text),
    ("tags", Field::Texts),
    ("enabled", Field::Bool),
    ("import-values", Field::Any),
    ("alias", Field::Text),
];

fn metadata(chart: &Map<String, Value>) -> Value {
    known(METADATA, chart)
}

/// The known fields of a map. What does not fit is left out.
fn known(fields: &[(&str, Field)], map: &Map<String, Value>) -> Value {
    let known = fields.iter().filter_map(|(name, field)| {
        let value = field.read(map.get(*name)?)?;
        Some(((*name).to_owned(), value))
    });
    Value::Object(known.collect())
}

impl Field {
    fn read(self, value: &Value) -> Option<Value> {
        match (self, value) {
            (Self::Any, value) => Some(value.clone()),
            (Self::Bool, Value::Bool(_)) => Some(value.clone()),
            (Self::Text, value) => text(value),
            (Self::Texts, Value::Array(items)) => Some(items.iter().filter_map(text).collect()),
            (Self::TextsByName, Value::Object(fields)) => {
                let texts = fields.iter();
                let texts = texts.filter_map(|(name, value)| Some((name.clone(), text(value)?)));
                Some(Value::Object(texts.collect()))
            }
            (Self::List(fields), Value::Array(items)) => {
                let maps = items.iter().filter_map(Value::as_object);
                Some(maps.map(|map| known(fields, map)).collect())
            }
            _ => None,
        }
    }
}

fn text(value: &Value) -> Option<Value> {
    match value {
        Value::String(_) => Some(value.clone()),
        Value::Number(number) => Some(number.to_string().into()),
        Value::Bool(is) => Some(is.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn chart_yaml_is_told_in_the_types_of_helm() {
        let text = "apiVersion: v2\nname: shop\nversion: 1.2.3\nappVersion: 1.20\ndeprecated: false\nkeywords: [a, 1]\n\
                    annotations: {size: 3, on: true}\nmaintainers: [{name: me, email: null}]\nother: [1]\n\
                    dependencies: [{name: db, version: 7, tags: [x], import-values: [{child: a, parent: b}]}]\n\
                    icon: [no]\n";
        let told = metadata(&parsed("Chart.yaml", text.as_bytes()).unwrap());
        assert_eq!(
            told,
            json!({
                "apiVersion": "v2", "name": "shop", "version": "1.2.3", "appVersion": "1.2", "deprecated": false,
                "keywords": ["a", "1"], "annotations": {"size": "3", "true": "true"},
                "maintainers": [{"name": "me"}],
                "dependencies": [{"name": "db", "version": "7", "tags": ["x"],
                    "import-values": [{"child": "a", "parent": "b"}]}],
            })
        );
    }

    #[test]
    fn values_are_merged_as_helm_merges_them() {
        let mut all = Map::new();
        for text in [
            "a: {b: 1, c: [1, 2]}\nd: x\n",
            "a: {b: 2, c: [3]}\n---\na: {e: null}\n",
            "d: {f: 1}\n",
            "",
        ] {
            merge(&mut all, parsed("values", text.as_bytes()).unwrap());
        }
        let merged = json!({"a": {"b": 2, "c": [3], "e": null}, "d": {"f": 1}});
        assert_eq!(Value::Object(all), merged);
        assert!(parsed("values", b"[1]").is_err());
    }
}
