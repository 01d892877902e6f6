//! Which patches of kustomizations have changed an object. Pure.
//!
//! kustomize says from which resource an object is, but of its patches only that some kustomization has them. So what each
//! patch is for is held against the object that came out: its kind, its name without the prefixes and suffixes that
//! kustomizations give to it, and its labels.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use regex::Regex;
use serde_json::{Map, Value};

use super::inflate::{joined, parsed};
use crate::content::within;
use crate::intent::Overrides;
use crate::manifest;

/// The most ways from the top to a file that are followed, and the deepest.
const MAX_WAYS: usize = 20_000;
const MAX_DEPTH: usize = 64;

/// The most files that are named for a message.
const MAX_NAMED: usize = 4;

/// Where the patches of a Sync are.
const IN_SYNC: &str = "spec.kustomize.patches";

/// How the folder with what Helm made is called, in the folder of its kustomization.
const OF_HELM: &str = "(helmCharts)";

/// A kustomization that was read.
#[derive(Debug)]
pub(super) struct Layer {
    /// The file, and its folder.
    pub(super) file: String,
    pub(super) folder: String,
    /// What it says.
    pub(super) text: Arc<[u8]>,
}

/// The patches of a build, and what they are for.
#[derive(Clone, Debug, Default)]
pub struct Patches {
    levels: Vec<Level>,
    /// The ways from the top of the build to each file with resources, as indexes of levels.
    ways: HashMap<String, Vec<Vec<usize>>>,
}

/// A kustomization, and what it does to the objects that it takes.
#[derive(Clone, Debug, Default)]
struct Level {
    file: String,
    folder: String,
    prefix: String,
    suffix: String,
    /// Whether it gives a namespace.
    moves: bool,
    /// What it takes: files and folders.
    takes: Vec<String>,
    components: Vec<String>,
    patches: Vec<Patch>,
}

#[derive(Clone, Debug)]
struct Patch {
    /// The file with the patch: of its own, or the kustomization.
    file: Arc<str>,
    /// The path as the kustomization has it.
    path: String,
    targets: Vec<Target>,
    /// The places that a JSON patch changes. None of any other.
    places: Vec<String>,
}

/// What a patch is for. All parts have to fit.
#[derive(Clone, Debug, Default)]
struct Target {
    group: Fits,
    kind: Fits,
    name: Fits,
    namespace: Fits,
    labels: String,
    annotations: String,
}

/// What a part of a target is held against.
#[derive(Clone, Debug, Default)]
enum Fits {
    #[default]
    All,
    One(String),
    Matching(Regex),
}

/// An object that came out of a build.
pub struct Outcome<'o> {
    /// The file that kustomize names.
    pub file: &'o str,
    /// Whether a generator made it, so that its name may end with a hash.
    pub is_generated: bool,
    /// Its group and kind.
    pub kind: (&'o str, &'o str),
    /// Its name.
    pub name: &'o str,
    /// Its namespace.
    pub namespace: Option<&'o str>,
    /// Its labels and annotations. Read only where a patch asks for them.
    pub metadata: &'o dyn Fn() -> Option<Value>,
}

impl Patches {
    /// The patches of kustomizations, the one of the path `top` first, with what a Sync has on top of that. `read` gives the
    /// content of a file.
    pub(super) fn of(
        layers: impl IntoIterator<Item = Layer>,
        top: &str,
        overrides: &Overrides,
        read: impl Fn(&str) -> Option<Vec<u8>>,
    ) -> Self {
        let mut levels: Vec<Level> = Vec::new();
        let mut seen = HashSet::new();
        for layer in layers {
            if seen.insert(layer.folder.clone())
                && let Some(fields) = parsed(&layer.text)
            {
                levels.push(Level::of(layer, &fields, &read));
            }
        }
        let Some(first) = levels.iter().position(|level| level.folder == top) else {
            return Self::default();
        };
        levels[first].take(overrides);
        if levels.iter().all(|level| level.patches.is_empty()) {
            return Self::default();
        }
        let mut patches = Self {
            levels,
            ways: HashMap::new(),
        };
        patches.follow(first);
        patches
    }

    /// About how many bytes of memory they take.
    pub(super) fn bytes(&self) -> usize {
        let ways = self.ways.iter();
        let ways = ways.map(|(file, ways)| file.len() + ways.len() * 64);
        ways.sum::<usize>() + self.levels.len() * size_of::<Level>()
    }

    /// The files with patches for an object: those of the top first, which have the last word.
    #[must_use]
    pub fn of_object(&self, object: &Outcome<'_>) -> Vec<Arc<str>> {
        let key = match object.file.find(OF_HELM) {
            Some(at) => &object.file[..at + OF_HELM.len()],
            None => object.file,
        };
        let ways = self.ways.get(key).into_iter().flatten();
        let ways = ways.map(|way| (self.names(way, object), way));
        // A resource that is used twice has names that tell them apart.
        let best = ways.min_by_key(|(names, _)| names.last().map(String::len));
        let Some((names, way)) = best else {
            return Vec::new();
        };
        let moves = way.iter().any(|level| self.levels[*level].moves);
        let mut found: Vec<Arc<str>> = Vec::new();
        for (depth, level) in way.iter().enumerate() {
            for patch in self.patches_at(*level) {
                let mut targets = patch.targets.iter();
                let fits = targets.any(|target| target.is(object, &names[depth + 1..], moves));
                if fits && !found.contains(&patch.file) {
                    found.push(Arc::clone(&patch.file));
                }
            }
        }
        found
    }

    /// The files with the patches that a message of kustomize may be about. kustomize names what a patch is for, or a place in
    /// an object, but seldom the file.
    pub(super) fn named_in(&self, message: &str) -> Vec<Arc<str>> {
        let all = || self.levels.iter().flat_map(|level| &level.patches);
        let is_json = message.contains("does not apply") || message.contains("test failed");
        let mut named: Vec<_> = all()
            .filter(|patch| {
                let mut targets = patch.targets.iter();
                let mut places = patch.places.iter();
                !patch.path.is_empty() && message.contains(&format!("path: {:?}", patch.path))
                    || targets.any(|target| target.is_named_in(message))
                    || is_json && places.any(|place| message.contains(&**place))
            })
            .collect();
        if named.is_empty() && message.contains("wrong node kind") {
            named = all().collect();
        }
        let mut files: Vec<Arc<str>> = named.iter().map(|patch| Arc::clone(&patch.file)).collect();
        files.sort_unstable();
        files.dedup();
        // More are no help.
        if files.len() > MAX_NAMED {
            files.clear();
        }
        files
    }

    /// The names of an object on its way: the last one above all, then before each level of the way.
    fn names(&self, way: &[usize], object: &Outcome<'_>) -> Vec<String> {
        let mut name = object.name;
        if object.is_generated {
            name = without_hash(name);
        }
        let mut names = vec![name.to_owned()];
        for level in way {
            let Level { prefix, suffix, .. } = &self.levels[*level];
            name = name.strip_prefix(&**prefix).unwrap_or(name);
            name = name.strip_suffix(&**suffix).unwrap_or(name);
            names.push(name.to_owned());
        }
        names
    }

    /// The patches of a level and of its components, which change what the level has.
    fn patches_at(&self, level: usize) -> Vec<&Patch> {
        let mut all = Vec::new();
        let mut open = vec![level];
        let mut seen = HashSet::new();
        while let Some(level) = open.pop() {
            if !seen.insert(level) {
                continue;
            }
            let level = &self.levels[level];
            all.extend(&level.patches);
            let components = level.components.iter();
            open.extend(components.filter_map(|folder| self.at(folder)));
        }
        all
    }

    fn at(&self, folder: &str) -> Option<usize> {
        self.levels.iter().position(|level| level.folder == folder)
    }

    /// Notes the ways to all files.
    fn follow(&mut self, first: usize) {
        let folders = self.levels.iter().enumerate();
        let folders: HashMap<String, usize> = folders
            .map(|(index, level)| (level.folder.clone(), index))
            .collect();
        let mut open = vec![vec![first]];
        let mut count = 0;
        while let Some(way) = open.pop() {
            let Some(level) = way.last().map(|last| &self.levels[*last]) else {
                continue;
            };
            let own = [level.file.clone(), within(&level.folder, OF_HELM)];
            for place in own.into_iter().chain(level.takes.iter().cloned()) {
                count += 1;
                if count > MAX_WAYS {
                    return;
                }
                match folders.get(&place).filter(|_| way.len() < MAX_DEPTH) {
                    Some(below) => open.push([&way[..], &[*below]].concat()),
                    None => self.ways.entry(place).or_default().push(way.clone()),
                }
            }
            let components = level.components.iter();
            let components = components.filter_map(|folder| folders.get(folder));
            let below = components.map(|below| [&way[..], &[*below]].concat());
            open.extend(below.filter(|way| way.len() < MAX_DEPTH));
        }
    }
}

impl Level {
    fn of(
        layer: Layer,
        fields: &Map<String, Value>,
        read: &dyn Fn(&str) -> Option<Vec<u8>>,
    ) -> Self {
        let Layer { file, folder, .. } = layer;
        let text = |field: &str| {
            fields
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let entries = |field: &str| {
            fields
                .get(field)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        let places = |field: &str| {
            let paths = entries(field).filter_map(Value::as_str);
            paths
                .filter_map(|path| joined(&folder, path))
                .collect::<Vec<_>>()
        };
        let own: Arc<str> = file.as_str().into();
        let mut patches = Vec::new();
        for entry in entries("patches").chain(entries("patchesJson6902")) {
            let path = entry["path"]
                .as_str()
                .and_then(|path| joined(&folder, path));
            let written = match &path {
                Some(path) => read(path).unwrap_or_default(),
                None => entry["patch"].as_str().unwrap_or_default().into(),
            };
            let targets = match entry.get("target") {
                Some(Value::Object(target)) => vec![Target::of(target)],
                _ => Target::named_in(&written),
            };
            patches.push(Patch {
                file: path.map_or_else(|| Arc::clone(&own), Arc::from),
                path: entry["path"].as_str().unwrap_or_default().to_owned(),
                targets,
                places: places_in(&written),
            });
        }
        for entry in entries("patchesStrategicMerge").filter_map(Value::as_str) {
            let path = joined(&folder, entry).and_then(|path| Some((read(&path)?, path)));
            let (written, file) = match path {
                Some((written, path)) => (written, path.into()),
                None => (entry.into(), Arc::clone(&own)),
            };
            patches.push(Patch {
                file,
                path: entry.to_owned(),
                targets: Target::named_in(&written),
                places: Vec::new(),
            });
        }
        Self {
            prefix: text("namePrefix").to_owned(),
            suffix: text("nameSuffix").to_owned(),
            moves: !text("namespace").is_empty(),
            takes: [places("resources"), places("bases")].concat(),
            components: places("components"),
            patches,
            folder,
            file,
        }
    }

    /// Takes what a Sync has on top.
    fn take(&mut self, overrides: &Overrides) {
        for (field, value) in [
            (&mut self.prefix, &overrides.name_prefix),
            (&mut self.suffix, &overrides.name_suffix),
        ] {
            if !value.is_empty() {
                field.clone_from(value);
            }
        }
        let components = overrides.components.iter();
        let components = components.filter_map(|path| joined(&self.folder, path));
        self.components.extend(components);
        self.patches.extend(overrides.patches.iter().map(|patch| {
            let target = patch.target.as_ref().map(|target| Target {
                group: Fits::pattern(&target.group),
                kind: Fits::pattern(&target.kind),
                name: Fits::pattern(&target.name),
                namespace: Fits::pattern(&target.namespace),
                labels: target.label_selector.clone(),
                annotations: target.annotation_selector.clone(),
            });
            Patch {
                file: IN_SYNC.into(),
                path: String::new(),
                targets: match target {
                    Some(target) => vec![target],
                    None => Target::named_in(patch.patch.as_bytes()),
                },
                places: places_in(patch.patch.as_bytes()),
            }
        }));
    }
}

impl Target {
    fn of(fields: &Map<String, Value>) -> Self {
        let text = |field: &str| {
            fields
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        Self {
            group: Fits::pattern(text("group")),
            kind: Fits::pattern(text("kind")),
            name: Fits::pattern(text("name")),
            namespace: Fits::pattern(text("namespace")),
            labels: text("labelSelector").to_owned(),
            annotations: text("annotationSelector").to_owned(),
        }
    }

    /// The objects that strategic merge patches name themselves.
    fn named_in(patch: &[u8]) -> Vec<Self> {
        let documents = manifest::documents(patch).unwrap_or_default();
        let named = documents.iter().filter_map(|document| {
            let value = &document.value;
            let group = value["apiVersion"].as_str()?.rsplit_once('/');
            Some(Self {
                group: Fits::One(group.map_or("", |(group, _)| group).to_owned()),
                kind: Fits::One(value["kind"].as_str()?.to_owned()),
                name: Fits::One(value["metadata"]["name"].as_str()?.to_owned()),
                namespace: match value["metadata"]["namespace"].as_str() {
                    Some(namespace) => Fits::One(namespace.to_owned()),
                    None => Fits::All,
                },
                ..Self::default()
            })
        });
        named.collect()
    }

    /// Whether it is for an object that had one of `names`. `moves`: its namespace may have been another one.
    fn is(&self, object: &Outcome<'_>, names: &[String], moves: bool) -> bool {
        let (group, kind) = object.kind;
        let is_there = moves || object.namespace.is_none_or(|name| self.namespace.is(name));
        self.group.is(group)
            && self.kind.is(kind)
            && names.iter().any(|name| self.name.is(name))
            && is_there
            && (self.labels.is_empty() && self.annotations.is_empty() || self.selects(object))
    }

    /// Whether a message names the object that it is for: `Deployment.v1.apps/web.[noNs]`.
    fn is_named_in(&self, message: &str) -> bool {
        match (&self.kind, &self.name) {
            (Fits::One(kind), Fits::One(name)) => {
                message.contains(&format!("{kind}.")) && message.contains(&format!("/{name}."))
            }
            _ => false,
        }
    }

    fn selects(&self, object: &Outcome<'_>) -> bool {
        let Some(metadata) = (object.metadata)() else {
            return false;
        };
        let selected = |selector: &str, field: &str| selects(selector, &metadata[field]);
        selected(&self.labels, "labels") && selected(&self.annotations, "annotations")
    }
}

impl Fits {
    /// A regular expression for the whole text, as kustomize has it.
    fn pattern(pattern: &str) -> Self {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/');
        match pattern {
            "" => Self::All,
            pattern if pattern.chars().all(is_plain) => Self::One(pattern.to_owned()),
            // kustomize itself refuses what is no pattern.
            pattern => Regex::new(&format!("^(?:{pattern})$")).map_or(Self::All, Self::Matching),
        }
    }

    fn is(&self, text: &str) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => one == text,
            Self::Matching(pattern) => pattern.is_match(text),
        }
    }
}

/// The places that a JSON patch changes; none for another patch.
fn places_in(patch: &[u8]) -> Vec<String> {
    let documents = manifest::documents(patch).unwrap_or_default();
    let lists = documents
        .iter()
        .filter_map(|document| document.value.as_array());
    let places = lists.flatten().filter_map(|step| step["path"].as_str());
    let places = places.filter(|place| place.len() > 1);
    places.map(str::to_owned).collect()
}

/// Whether a selector of labels, in the syntax of Kubernetes, selects these.
fn selects(selector: &str, labels: &Value) -> bool {
    let value = |key: &str| labels.get(key.trim()).and_then(Value::as_str);
    let mut depth = 0;
    let is_end = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => (),
        }
        c == ',' && depth == 0
    };
    let mut parts = selector
        .split(is_end)
        .map(str::trim)
        .filter(|part| !part.is_empty());
    parts.all(|part| {
        let among = |(key, values): (&str, &str)| {
            let values = values.trim().trim_start_matches('(').trim_end_matches(')');
            let is = value(key);
            values.split(',').any(|one| is == Some(one.trim()))
        };
        if let Some(parts) = part.split_once(" notin ") {
            !among(parts)
        } else if let Some(parts) = part.split_once(" in ") {
            among(parts)
        } else if let Some((key, wanted)) = part.split_once("!=") {
            value(key) != Some(wanted.trim())
        } else if let Some((key, wanted)) = part.split_once('=') {
            value(key) == Some(wanted.trim_start_matches('=').trim())
        } else if let Some(key) = part.strip_prefix('!') {
            value(key).is_none()
        } else {
            value(part).is_some()
        }
    })
}

/// The name before a generator's hash.
fn without_hash(name: &str) -> &str {
    let is_hash = |hash: &str| hash.len() == 10 && hash.bytes().all(|c| c.is_ascii_alphanumeric());
    match name.rsplit_once('-') {
        Some((name, hash)) if is_hash(hash) => name,
        _ => name,
    }
}

#[cfg(test)]
mod tests;
