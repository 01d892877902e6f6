//! What Git and the Syncs ask for, changed at random.

use std::collections::BTreeMap;
use std::time::Duration;

use towline_testing::random::Random;

/// The Syncs. Each follows the folder of its name.
pub const SYNCS: [&str; 2] = ["a", "b"];

/// Objects that a Sync may have.
const POOL: u64 = 60;

/// The most objects that one change adds, edits or removes. A change never removes so many that the
/// prune brake holds it.
const AT_ONCE: u64 = 15;
const REMOVED_AT_ONCE: u64 = 3;

/// One Sync: whether it exists, and its objects in Git with their values.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub exists: bool,
    pub objects: BTreeMap<String, String>,
}

/// All Syncs.
#[derive(Clone, Debug, Default)]
pub struct Model([Wanted; 2]);

/// A file of a commit. None deletes it.
pub type File = (String, Option<String>);

/// What a person does to a live object.
#[derive(Clone, Debug)]
pub enum Drift {
    Edit(String),
    Delete(String),
}

impl Model {
    /// The Syncs by name.
    pub fn syncs(&self) -> impl Iterator<Item = (&'static str, &Wanted)> {
        SYNCS.into_iter().zip(&self.0)
    }

    /// Every object that should be live, with its value.
    pub fn live(&self) -> BTreeMap<String, String> {
        let existing = self.0.iter().filter(|sync| sync.exists);
        existing.flat_map(|sync| sync.objects.clone()).collect()
    }

    /// Adds, edits and removes objects in Git. Returns the changed files.
    pub fn commit(&mut self, random: &mut Random, value: &str, namespace: &str) -> Vec<File> {
        let mut files = Vec::new();
        for (name, sync) in SYNCS.into_iter().zip(&mut self.0) {
            // This one stays, because a folder without objects is never pruned.
            let mut written = vec![format!("{name}-stays")];
            for _ in 0..random.below(AT_ONCE) {
                written.push(format!("{name}-{}", random.below(POOL)));
            }
            for object in written {
                let text = crate::world::config_map(&object, namespace, value);
                files.push((format!("{name}/{object}.yaml"), Some(text)));
                sync.objects.insert(object, value.to_owned());
            }
            for _ in 0..random.below(REMOVED_AT_ONCE + 1) {
                let object = format!("{name}-{}", random.below(POOL));
                if sync.objects.remove(&object).is_some() {
                    files.push((format!("{name}/{object}.yaml"), None));
                }
            }
        }
        files
    }

    /// Creates a Sync that is absent, or deletes one that exists. Returns its name and whether it
    /// exists now.
    pub fn toggle(&mut self, random: &mut Random) -> (&'static str, bool) {
        let index = usize::from(random.chance(2));
        let sync = &mut self.0[index];
        sync.exists = !sync.exists;
        (SYNCS[index], sync.exists)
    }

    /// Whether a Sync is absent.
    pub fn has_absent(&self) -> bool {
        self.0.iter().any(|sync| !sync.exists)
    }

    /// Deletes a Sync if the chosen one exists. Returns its name.
    pub fn delete(&mut self, random: &mut Random) -> Option<&'static str> {
        let index = usize::from(random.chance(2));
        let existed = std::mem::take(&mut self.0[index].exists);
        existed.then_some(SYNCS[index])
    }

    /// What a person does to some live objects.
    pub fn drift(&self, random: &mut Random) -> Vec<Drift> {
        let live: Vec<String> = self.live().into_keys().collect();
        let picked = (0..random.below(4)).filter_map(|_| random.pick(&live));
        let picked: Vec<String> = picked.cloned().collect();
        picked
            .into_iter()
            .map(|name| match random.chance(2) {
                true => Drift::Edit(name),
                false => Drift::Delete(name),
            })
            .collect()
    }
}

/// The pause before something is killed. Most pauses are as short as an apply.
pub fn pause(random: &mut Random) -> Duration {
    let most = *random.pick(&[30, 150, 600]).unwrap_or(&30);
    Duration::from_millis(random.below(most))
}
