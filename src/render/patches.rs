//! Which patches of kustomizations have changed an object. Pure.
//!
//! kustomize says from which resource an object is, but of its patches only that some kustomization has them. So what each
//! patch is for is held against the object that came out: its kind, its name without the prefixes and suffixes that
//! kustomizations give to it, and its labels.
//!
//! A repository says how many patches and patterns there are, and this runs outside of the sandbox. So all of it is bounded, and
//! where there is more than that, no patch is named.

mod budget;
mod target;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::budget::Budget;
pub use self::budget::Steps;
use self::target::PatchSelector;
use super::inflate::{joined, parsed};
use crate::content::within;
use crate::intent::Overrides;
use crate::manifest;

/// The most ways from the top to a file that are followed, and the deepest.
const MAX_WAYS: usize = 20_000;
const MAX_DEPTH: usize = 64;

/// The most files with patches that an object has.
const MAX_OF_OBJECT: usize = 16;

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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Patches {
    levels: Vec<Level>,
    /// Their indexes, by their folders.
    folders: HashMap<String, usize>,
    /// The ways from the top of the build to each file with resources, as indexes of levels.
    ways: HashMap<String, Vec<Vec<usize>>>,
}

/// A kustomization, and what it does to the objects that it takes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Patch {
    /// The file with the patch: of its own, or the kustomization.
    #[serde(with = "shared")]
    file: Arc<str>,
    /// The path as the kustomization has it.
    path: String,
    targets: Vec<PatchSelector>,
    /// The places that a JSON patch changes. None of any other.
    places: Vec<String>,
}

/// A text that is shared, for serde.
mod shared {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D>(deserializer: D) -> Result<Arc<str>, D::Error>
    where
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer).map(Arc::from)
    }
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
        Self::within(layers, top, overrides, &read).unwrap_or_default()
    }

    /// None if there are no patches, or too many.
    fn within(
        layers: impl IntoIterator<Item = Layer>,
        top: &str,
        overrides: &Overrides,
        read: &dyn Fn(&str) -> Option<Vec<u8>>,
    ) -> Option<Self> {
        let mut budget = Budget::default();
        let mut patches = Self::default();
        for layer in layers {
            if !patches.folders.contains_key(&layer.folder)
                && let Some(fields) = parsed(&layer.text)
            {
                let level = Level::of(layer, &fields, read, &mut budget)?;
                let (folder, index) = (level.folder.clone(), patches.levels.len());
                patches.folders.insert(folder, index);
                patches.levels.push(level);
            }
        }
        let first = *patches.folders.get(top)?;
        patches.levels[first].take(overrides, &mut budget)?;
        if patches.levels.iter().all(|level| level.patches.is_empty()) {
            return None;
        }
        patches.follow(first);
        Some(patches)
    }

    /// About how many bytes of memory they take.
    pub(super) fn bytes(&self) -> usize {
        let ways = self.ways.iter().map(|(file, ways)| {
            let steps = ways
                .iter()
                .map(|way| size_of_val(&way[..]) + size_of::<Vec<usize>>());
            file.len() + steps.sum::<usize>()
        });
        ways.sum::<usize>() + self.levels.iter().map(Level::bytes).sum::<usize>()
    }

    /// The first files with patches for an object: those of the top first, which have the last word. None if there are no
    /// steps left to find that out.
    #[must_use]
    pub fn of_object(&self, object: &Outcome<'_>, steps: &Steps) -> Vec<Arc<str>> {
        self.found(object, steps).unwrap_or_default()
    }

    fn found(&self, object: &Outcome<'_>, steps: &Steps) -> Option<Vec<Arc<str>>> {
        let key = match object.file.find(OF_HELM) {
            Some(at) => &object.file[..at + OF_HELM.len()],
            None => object.file,
        };
        let ways = self.ways.get(key).into_iter().flatten();
        steps.take(ways.clone().map(Vec::len).sum())?;
        let ways = ways.map(|way| (self.names(way, object), way));
        // A resource that is used twice has names that tell them apart.
        let (names, way) = ways.min_by_key(|(names, _)| names.last().map(String::len))?;
        let moves = way.iter().any(|level| self.levels[*level].moves);
        let mut found: Vec<Arc<str>> = Vec::new();
        for (depth, level) in way.iter().enumerate() {
            for patch in self.patches_at(*level, steps)? {
                steps.take(1 + patch.targets.len() * (names.len() - depth))?;
                let mut targets = patch.targets.iter();
                let fits = targets.any(|target| target.is(object, &names[depth + 1..], moves));
                if fits && found.len() < MAX_OF_OBJECT && !found.contains(&patch.file) {
                    found.push(Arc::clone(&patch.file));
                }
            }
        }
        Some(found)
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
    fn patches_at(&self, level: usize, steps: &Steps) -> Option<Vec<&Patch>> {
        let mut all = Vec::new();
        let mut open = vec![level];
        let mut seen = HashSet::new();
        while let Some(level) = open.pop() {
            if !seen.insert(level) {
                continue;
            }
            let level = &self.levels[level];
            steps.take(1 + level.components.len())?;
            all.extend(&level.patches);
            let components = level.components.iter();
            open.extend(components.filter_map(|folder| self.folders.get(folder)));
        }
        Some(all)
    }

    /// Notes the ways to all files.
    fn follow(&mut self, first: usize) {
        let folders = &self.folders;
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
        budget: &mut Budget,
    ) -> Option<Self> {
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
            budget.patch(written.len())?;
            let targets = match entry.get("target") {
                Some(Value::Object(target)) => vec![PatchSelector::of(target, budget)?],
                _ => PatchSelector::named_in(&written),
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
            budget.patch(written.len())?;
            patches.push(Patch {
                file,
                path: entry.to_owned(),
                targets: PatchSelector::named_in(&written),
                places: Vec::new(),
            });
        }
        Some(Self {
            prefix: text("namePrefix").to_owned(),
            suffix: text("nameSuffix").to_owned(),
            moves: !text("namespace").is_empty(),
            takes: [places("resources"), places("bases")].concat(),
            components: places("components"),
            patches,
            folder,
            file,
        })
    }

    fn bytes(&self) -> usize {
        let names = self.takes.iter().chain(&self.components);
        let names = names.map(|name| name.len() + size_of::<String>());
        names.sum::<usize>()
            + self.patches.iter().map(Patch::bytes).sum::<usize>()
            + size_of::<Self>()
    }

    /// Takes what a Sync has on top. None if there are too many patches.
    fn take(&mut self, overrides: &Overrides, budget: &mut Budget) -> Option<()> {
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
        for patch in &overrides.patches {
            budget.patch(patch.patch.len())?;
            let targets = match &patch.target {
                Some(target) => {
                    let parts = [&target.group, &target.kind, &target.name, &target.namespace];
                    let selectors = [&target.label_selector, &target.annotation_selector];
                    let parts = parts.map(String::as_str);
                    let selectors = selectors.map(String::as_str);
                    vec![PatchSelector::of_parts(parts, selectors, budget)?]
                }
                None => PatchSelector::named_in(patch.patch.as_bytes()),
            };
            self.patches.push(Patch {
                file: IN_SYNC.into(),
                path: String::new(),
                targets,
                places: places_in(patch.patch.as_bytes()),
            });
        }
        Some(())
    }
}

impl Patch {
    fn bytes(&self) -> usize {
        let places = self.places.iter();
        let places = places.map(|place| place.len() + size_of::<String>());
        let targets = self.targets.iter().map(PatchSelector::bytes);
        let texts = self.file.len() + self.path.len();
        places.sum::<usize>() + targets.sum::<usize>() + texts + size_of::<Self>()
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
