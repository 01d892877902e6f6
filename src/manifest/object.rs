//! Reads the objects of a document.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::mode::{self, ModeError};
use super::secret::fold_string_data;
use super::uids::forget_uids;
use super::{GroupVersionKind, MAX_OBJECT, ObjectKey};

/// One object as Git has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// Its kind, in the version that the manifest asks for.
    pub gvk: GroupVersionKind,
    /// The namespace that the manifest names, if any.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
    /// The whole object, without fields that only the server may write. Raw JSON and not a type, so
    /// that a misspelt field reaches the server's strict validation.
    pub body: Value,
}

/// Why a document is not an object. Names keys, and no values except the identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// The document is a string, a number or a list.
    #[error("not an object: a manifest is a mapping with apiVersion, kind and metadata")]
    NotAnObject,
    /// A field that every object needs is missing or null.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field has the wrong type.
    #[error("{field} must be {expected}")]
    Type {
        /// The field's path.
        field: &'static str,
        /// The right type.
        expected: &'static str,
    },
    /// `apiVersion` or `kind` is invalid.
    #[error(
        "apiVersion must be version or group/version, and kind a word, each of at most 63 letters"
    )]
    Kind,
    /// The name is not valid in a URL, or is too long.
    #[error("metadata.name is not a name that Kubernetes accepts")]
    Name,
    /// The name is too long for every kind.
    #[error("metadata.name has {0} bytes, but Kubernetes accepts names of at most {MAX_NAME}")]
    LongName(usize),
    /// The namespace is not a DNS label.
    #[error("metadata.namespace is not a name that Kubernetes accepts")]
    Namespace,
    /// `{{` in a field that says what object it is. Elsewhere it may be meant, for another program.
    #[error(
        "{0} has a template ({{{{ … }}}}) that nothing has rendered: only the templates of a Helm chart may have one, and \
         values that the chart gives to tpl"
    )]
    Template(&'static str),
    /// `generateName` is set: each apply would make another object.
    #[error("metadata.generateName cannot be applied: give the object a metadata.name")]
    GenerateName,
    /// A label or an annotation is a number or a boolean. Often its quotes are missing.
    #[error("metadata.{field}: the value of {key:?} must be a string: quote it")]
    NotAString {
        /// `labels` or `annotations`.
        field: &'static str,
        /// The label's or annotation's key.
        key: String,
    },
    /// An annotation asks for a treatment that there is not.
    #[error(transparent)]
    Mode(#[from] ModeError),
    /// More bytes than a request to the API server may have.
    #[error("{size} bytes as JSON, but the API server takes objects of at most {} MiB", MAX_OBJECT >> 20)]
    TooLarge {
        /// How many bytes.
        size: usize,
    },
    /// A value that SOPS encrypted, in a file that has lost what is needed to decrypt it.
    #[error(
        "{0} is a value that SOPS encrypted, and the file lacks the metadata of SOPS (the field sops) by which it can be \
         decrypted: restore the whole file, or encrypt it again"
    )]
    Sealed(String),
    /// Lists nest too deeply.
    #[error("lists nest too deeply")]
    TooDeep,
    /// An item of a `List` is not an object.
    #[error("item {item} of the list")]
    Item {
        /// Its position, counted from 0.
        item: usize,
        /// What is wrong with it.
        #[source]
        source: Box<ObjectError>,
    },
}

impl ObjectError {
    /// Whether a template is in the way, in an object or in an item of a list.
    #[must_use]
    pub fn is_template(&self) -> bool {
        match self {
            Self::Template(_) => true,
            Self::Item { source, .. } => source.is_template(),
            _ => false,
        }
    }
}

/// Fields that the server writes. Server-side apply refuses some of them, and the others must not
/// be owned.
const SERVER_FIELDS: [&str; 9] = [
    "managedFields",
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "generation",
    "selfLink",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    // It names its owner by uid. Where that object does not exist, the API server would delete this one.
    "ownerReferences",
];

/// The label that makes an object a member of an ApplySet (KEP-3659).
const PART_OF: &str = "applyset.kubernetes.io/part-of";
const APPLYSET_PREFIX: &str = "applyset.kubernetes.io/";
const OWN_PREFIX: &str = "towline.dev/";
const OWN_GROUP: &str = "towline.dev";
/// Marks that a person may write on towline's own objects.
const ON_OWN_OBJECTS: [&str; 3] = [
    "towline.dev/requested-at",
    "towline.dev/deletion-policy",
    "towline.dev/approve-prune",
];
/// Annotation that keeps variables out of an object, by the value `disabled`.
pub const SUBSTITUTE: &str = "towline.dev/substitute";

const MAX_LIST_DEPTH: usize = 8;

/// The longest name of an object, in bytes.
const MAX_NAME: usize = 253;

impl Manifest {
    /// The objects of a document: one, or the items of a `List`, in order.
    ///
    /// As in kubectl, a list is `v1` `List`, or any kind `…List` with items. An item of a typed
    /// list without `apiVersion` and `kind` gets those of the list.
    ///
    /// # Errors
    ///
    /// [`ObjectError`].
    pub fn from_value(value: Value) -> Result<Vec<Self>, ObjectError> {
        let objects = Self::unread(value)?;
        objects.into_iter().map(UnreadObject::read).collect()
    }

    /// The objects of a document before anything of them is read or changed.
    ///
    /// # Errors
    ///
    /// [`ObjectError`].
    pub fn unread(value: Value) -> Result<Vec<UnreadObject>, ObjectError> {
        let (mut items, mut found) = (Vec::new(), Vec::with_capacity(1));
        expand(value, &mut items, &mut found)?;
        Ok(found)
    }

    /// The key of the object.
    pub fn key(&self) -> ObjectKey {
        ObjectKey {
            kind: self.gvk.group_kind(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    fn from_object(mut object: Map<String, Value>) -> Result<Self, ObjectError> {
        let api_version = required(&object, "apiVersion", "apiVersion")?;
        let kind = required(&object, "kind", "kind")?;
        no_template("apiVersion", api_version)?;
        no_template("kind", kind)?;
        let gvk = GroupVersionKind::parse(api_version, kind).ok_or(ObjectError::Kind)?;
        let metadata = match object.get_mut("metadata") {
            None | Some(Value::Null) => return Err(ObjectError::Missing("metadata.name")),
            Some(Value::Object(metadata)) => metadata,
            Some(_) => return Err(wrong_type("metadata", "a mapping")),
        };
        let name = name(metadata)?;
        let namespace = namespace(metadata)?;
        if namespace.is_none() {
            metadata.remove("namespace");
        }
        for field in SERVER_FIELDS {
            metadata.remove(field);
        }
        let own = &*gvk.group == OWN_GROUP;
        clean(metadata, "labels", |key| {
            key == PART_OF || own && key.starts_with(APPLYSET_PREFIX)
        })?;
        clean(metadata, "annotations", |key| {
            key.starts_with(OWN_PREFIX)
                && key != SUBSTITUTE
                && !mode::OWN.contains(&key)
                && !(own && ON_OWN_OBJECTS.contains(&key))
                || own && key.starts_with(APPLYSET_PREFIX)
        })?;
        object.remove("status");
        forget_uids(&mut object);
        if gvk.group.is_empty() && &*gvk.kind == "Secret" {
            fold_string_data(&mut object);
        }
        Ok(Self {
            gvk,
            namespace,
            name,
            body: Value::Object(object),
        })
    }
}

/// An object of a document as the document has it.
#[derive(Clone, Debug, PartialEq)]
pub struct UnreadObject {
    /// The whole object.
    pub body: Value,
    /// The positions in the lists that hold it, from the outermost.
    items: Vec<usize>,
}

impl UnreadObject {
    /// Reads the object.
    ///
    /// # Errors
    ///
    /// [`ObjectError`].
    pub fn read(self) -> Result<Manifest, ObjectError> {
        let read = match self.body {
            Value::Object(object) => Manifest::from_object(object),
            _ => Err(ObjectError::NotAnObject),
        };
        read.map_err(|error| at(&self.items, error))
    }
}

/// The error with the positions of its object.
fn at(items: &[usize], error: ObjectError) -> ObjectError {
    let outwards = items.iter().rev();
    outwards.fold(error, |source, item| ObjectError::Item {
        item: *item,
        source: source.into(),
    })
}

fn expand(
    value: Value,
    items: &mut Vec<usize>,
    found: &mut Vec<UnreadObject>,
) -> Result<(), ObjectError> {
    let Value::Object(mut object) = value else {
        return Err(at(items, ObjectError::NotAnObject));
    };
    let inner = take_items(&mut object).map_err(|error| at(items, error))?;
    let Some(inner) = inner else {
        found.push(UnreadObject {
            body: Value::Object(object),
            items: items.clone(),
        });
        return Ok(());
    };
    if items.len() >= MAX_LIST_DEPTH {
        return Err(at(items, ObjectError::TooDeep));
    }
    let inherited = item_kind(&object);
    for (item, mut value) in inner.into_iter().enumerate() {
        if let (Some((api_version, kind)), Value::Object(object)) = (&inherited, &mut value)
            && is_unset(object, "apiVersion")
            && is_unset(object, "kind")
        {
            object.insert("apiVersion".to_owned(), api_version.clone());
            object.insert("kind".to_owned(), Value::String(kind.clone()));
        }
        items.push(item);
        expand(value, items, found)?;
        items.pop();
    }
    Ok(())
}

/// The items, if the object is a list.
fn take_items(object: &mut Map<String, Value>) -> Result<Option<Vec<Value>>, ObjectError> {
    let kind = object
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let is_list = kind == "List" && object.get("apiVersion").and_then(Value::as_str) == Some("v1");
    let is_typed_list =
        || kind.ends_with("List") && object.get("items").is_some_and(Value::is_array);
    if !(is_list || is_typed_list()) {
        return Ok(None);
    }
    match object.remove("items") {
        Some(Value::Array(items)) => Ok(Some(items)),
        None | Some(Value::Null) => Ok(Some(Vec::new())),
        Some(_) => Err(wrong_type("items", "a list")),
    }
}

/// `apiVersion` and `kind` of a typed list's items.
fn item_kind(list: &Map<String, Value>) -> Option<(Value, String)> {
    let kind = list
        .get("kind")?
        .as_str()?
        .strip_suffix("List")
        .filter(|kind| !kind.is_empty())?;
    Some((list.get("apiVersion")?.clone(), kind.to_owned()))
}

fn is_unset(object: &Map<String, Value>, field: &str) -> bool {
    object
        .get(field)
        .is_none_or(|value| value.is_null() || value == "")
}

fn wrong_type(field: &'static str, expected: &'static str) -> ObjectError {
    ObjectError::Type { field, expected }
}

fn required<'a>(
    object: &'a Map<String, Value>,
    key: &str,
    field: &'static str,
) -> Result<&'a str, ObjectError> {
    match object.get(key) {
        None | Some(Value::Null) => Err(ObjectError::Missing(field)),
        Some(Value::String(text)) if text.is_empty() => Err(ObjectError::Missing(field)),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(wrong_type(field, "a string: quote it")),
    }
}

/// Checks the rules for path segments in the API server's URLs. The API server checks the stricter
/// rules of each kind.
fn name(metadata: &Map<String, Value>) -> Result<Arc<str>, ObjectError> {
    let name = match required(metadata, "name", "metadata.name") {
        Err(ObjectError::Missing(_)) if !is_unset(metadata, "generateName") => {
            return Err(ObjectError::GenerateName);
        }
        other => other?,
    };
    no_template("metadata.name", name)?;
    let odd = |c: char| matches!(c, '/' | '%') || c.is_control() || c.is_whitespace();
    if name.len() > MAX_NAME {
        return Err(ObjectError::LongName(name.len()));
    }
    if name == "." || name == ".." || name.contains(odd) {
        return Err(ObjectError::Name);
    }
    Ok(name.into())
}

fn namespace(metadata: &Map<String, Value>) -> Result<Option<Arc<str>>, ObjectError> {
    let namespace = match required(metadata, "namespace", "metadata.namespace") {
        Err(ObjectError::Missing(_)) => return Ok(None),
        other => other?,
    };
    no_template("metadata.namespace", namespace)?;
    let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if namespace.len() > 63
        || !namespace.bytes().all(label)
        || namespace.starts_with('-')
        || namespace.ends_with('-')
    {
        return Err(ObjectError::Namespace);
    }
    Ok(Some(namespace.into()))
}

fn no_template(field: &'static str, text: &str) -> Result<(), ObjectError> {
    match text.contains("{{") && text.contains("}}") {
        true => Err(ObjectError::Template(field)),
        false => Ok(()),
    }
}

/// Checks labels or annotations, and removes towline's own marks. A committed file often is the
/// output of `kubectl get -o yaml`.
fn clean(
    metadata: &mut Map<String, Value>,
    field: &'static str,
    is_mark: impl Fn(&str) -> bool,
) -> Result<(), ObjectError> {
    let map = match metadata.get_mut(field) {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(map)) => map,
        Some(_) if field == "labels" => return Err(wrong_type("metadata.labels", "a mapping")),
        Some(_) => return Err(wrong_type("metadata.annotations", "a mapping")),
    };
    if let Some((key, _)) = map
        .iter()
        .find(|(_, value)| !value.is_string() && !value.is_null())
    {
        return Err(ObjectError::NotAString {
            field,
            key: key.chars().take(317).collect(),
        });
    }
    let before = map.len();
    map.retain(|key, _| !is_mark(key));
    if map.is_empty() && before > 0 {
        metadata.remove(field);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(yaml: &str) -> Result<Vec<Manifest>, ObjectError> {
        let documents = crate::manifest::documents(yaml.as_bytes()).unwrap();
        Manifest::from_value(documents[0].value.clone())
    }

    fn one(yaml: &str) -> Manifest {
        read(yaml).unwrap().remove(0)
    }

    #[test]
    fn what_the_server_writes_is_left_out_and_a_misspelling_stays() {
        let manifest = one(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, namespace: b, uid: x, resourceVersion: '1', \
             creationTimestamp: null, generation: 3, managedFields: [], lables: {a: b}}\nspec: {}\nstatus: {replicas: 1}\n",
        );
        assert_eq!(
            manifest.body,
            json!({"apiVersion": "apps/v1", "kind": "Deployment",
                   "metadata": {"name": "a", "namespace": "b", "lables": {"a": "b"}}, "spec": {}})
        );
        assert_eq!(manifest.key().to_string(), "Deployment.apps b/a");
    }

    #[test]
    fn own_labels_and_annotations_are_removed() {
        let manifest = one(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {applyset.kubernetes.io/part-of: x, app: web}, \
             annotations: {towline.dev/owner: z}}\n",
        );
        assert_eq!(
            manifest.body["metadata"],
            json!({"name": "a", "labels": {"app": "web"}})
        );
        let own = one(
            "apiVersion: towline.dev/v1alpha1\nkind: Sync\nmetadata: {name: a, labels: {applyset.kubernetes.io/id: x}, \
             annotations: {towline.dev/owner: z, towline.dev/requested-at: now}}\n",
        );
        assert_eq!(
            own.body["metadata"],
            json!({"name": "a", "annotations": {"towline.dev/requested-at": "now"}})
        );
    }

    #[test]
    fn namespaces() {
        let manifest = one("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ''}\n");
        assert_eq!(
            (
                manifest.namespace.clone(),
                manifest.body["metadata"].get("namespace")
            ),
            (None, None)
        );
    }

    #[test]
    fn lists_are_expanded() {
        let list = read(
            "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n- apiVersion: v1\n  \
             kind: ConfigMapList\n  items:\n  - metadata: {name: b}\n  - {apiVersion: v1, kind: Secret, metadata: {name: c}}\n",
        )
        .unwrap();
        let keys: Vec<_> = list
            .iter()
            .map(|manifest| manifest.key().to_string())
            .collect();
        assert_eq!(keys, ["ConfigMap a", "ConfigMap b", "Secret c"]);
        assert_eq!(list[1].body["apiVersion"], "v1");
        assert_eq!(read("apiVersion: v1\nkind: List\nitems:\n"), Ok(vec![]));
        assert_eq!(
            one("apiVersion: x.io/v1\nkind: AllowList\nmetadata: {name: a}\n")
                .key()
                .to_string(),
            "AllowList.x.io a"
        );
    }

    #[test]
    fn errors_name_the_field_and_no_value() {
        let prefix = "apiVersion: v1\nkind: ConfigMap\n";
        for (text, message) in [
            (
                "- a\n".to_owned(),
                "not an object: a manifest is a mapping with apiVersion, kind and metadata",
            ),
            (
                "kind: A\nmetadata: {name: a}\n".to_owned(),
                "apiVersion is missing",
            ),
            (
                "apiVersion: v1\nmetadata: {name: a}\n".to_owned(),
                "kind is missing",
            ),
            (
                "apiVersion: 1\nkind: A\n".to_owned(),
                "apiVersion must be a string: quote it",
            ),
            (
                "apiVersion: a/b/c\nkind: A\n".to_owned(),
                "apiVersion must be version or group/version, and kind a word, each of at most 63 letters",
            ),
            (prefix.to_owned(), "metadata.name is missing"),
            (
                format!("{prefix}metadata: []\n"),
                "metadata must be a mapping",
            ),
            (
                format!("{prefix}metadata: {{name: 12}}\n"),
                "metadata.name must be a string: quote it",
            ),
            (
                format!("{prefix}metadata: {{name: a/b}}\n"),
                "metadata.name is not a name that Kubernetes accepts",
            ),
            (
                format!("{prefix}metadata: {{name: '..'}}\n"),
                "metadata.name is not a name that Kubernetes accepts",
            ),
            (
                format!("{prefix}metadata: {{name: a, namespace: A_b}}\n"),
                "metadata.namespace is not a name that Kubernetes accepts",
            ),
            (
                format!("{prefix}metadata: {{name: a, namespace: 7}}\n"),
                "metadata.namespace must be a string: quote it",
            ),
            (
                format!("{prefix}metadata: {{generateName: a-}}\n"),
                "metadata.generateName cannot be applied: give the object a metadata.name",
            ),
            (
                format!("{prefix}metadata: {{name: a, labels: {{on: hunter2, v: 1}}}}\n"),
                "metadata.labels: the value of \"v\" must be a string: quote it",
            ),
            (
                format!("{prefix}metadata: {{name: a, annotations: [hunter2]}}\n"),
                "metadata.annotations must be a mapping",
            ),
        ] {
            assert_eq!(read(&text).unwrap_err().to_string(), message);
        }
        let said = " has a template ({{ … }}) that nothing has rendered: only the templates of a Helm chart may have one, and \
                    values that the chart gives to tpl";
        for (text, field) in [
            ("apiVersion: '{{ .v }}'\nkind: A\n".to_owned(), "apiVersion"),
            ("apiVersion: v1\nkind: '{{ .k }}'\n".to_owned(), "kind"),
            (
                format!("{prefix}metadata: {{name: 'web-{{{{ .Release.Name }}}}'}}\n"),
                "metadata.name",
            ),
            (
                format!(
                    "{prefix}metadata: {{name: a, namespace: '{{{{ .Release.Namespace }}}}'}}\n"
                ),
                "metadata.namespace",
            ),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.is_template());
            assert_eq!(error.to_string(), format!("{field}{said}"));
        }
        let item =
            read("apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: '{{ .k }}'}]\n");
        assert!(item.unwrap_err().is_template());
        let nested = read("apiVersion: v1\nkind: List\nitems: [{kind: A}]\n").unwrap_err();
        assert_eq!(nested.to_string(), "item 0 of the list");
    }

    #[test]
    fn lists_in_lists_are_bounded() {
        let mut value = json!({"apiVersion": "v1", "kind": "List", "items": []});
        for _ in 0..20 {
            value = json!({"apiVersion": "v1", "kind": "List", "items": [value]});
        }
        assert!(Manifest::from_value(value).is_err());
    }
}
