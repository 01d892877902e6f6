//! The Jobs that a Sync has made, as its status remembers them over restarts. Pure.
//!
//! Nobody sees what becomes of a Job while no operator runs. It may end and be removed, by its TTL or by a person. So a
//! Job that was made for a manifest, and that is gone when the operator looks again, is not made again for this manifest.

use std::collections::{BTreeSet, HashMap, HashSet};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::manifest::{Digest, ObjectKey};

/// The bytes of a fingerprint. Among four thousand, one is mistaken for another once in 10^10 times.
const BYTES: usize = 6;

/// The most Jobs that the status remembers, which take half of it: so many texts of so many Jobs.
const TEXTS: usize = 8;
const JOBS: usize = 512;

/// A Job's key and manifest in short.
type Fingerprint = [u8; BYTES];

/// The Jobs that were made.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Those that this driver has made or found.
    made: HashMap<ObjectKey, Fingerprint>,
    /// Those of the status, as long as this driver has not looked for them.
    before: HashSet<Fingerprint>,
}

impl Runs {
    /// Those that a status tells.
    pub(super) fn restored(told: &[String]) -> Self {
        let told = told.iter().take(TEXTS);
        let texts = told.filter_map(|text| BASE64_STANDARD_NO_PAD.decode(text).ok());
        let prints = texts.flat_map(|bytes| bytes.as_chunks().0.to_vec());
        Self {
            made: HashMap::new(),
            before: prints.take(TEXTS * JOBS).collect(),
        }
    }

    /// For the status.
    pub(super) fn told(&self) -> Vec<String> {
        let all: BTreeSet<Fingerprint> = self.made.values().chain(&self.before).copied().collect();
        let all: Vec<Fingerprint> = all.into_iter().take(TEXTS * JOBS).collect();
        let texts = all.chunks(JOBS);
        texts
            .map(|jobs| BASE64_STANDARD_NO_PAD.encode(jobs.as_flattened()))
            .collect()
    }

    /// Takes note that an object with this manifest is there, or has run. Only Jobs count: a pod may be deleted with its
    /// node before it has run.
    pub(super) fn made(&mut self, key: &ObjectKey, digest: &Digest) {
        if is_job(key) {
            self.made.insert(key.clone(), fingerprint(key, digest));
        }
    }

    /// Takes note that an object was seen to be deleted before it had ended.
    pub(super) fn deleted(&mut self, key: &ObjectKey) {
        self.made.remove(key);
    }

    /// Whether the object was made for this manifest before the driver started. Says so once: from then on, the driver
    /// knows what becomes of it.
    pub(super) fn take_before(&mut self, key: &ObjectKey, digest: &Digest) -> bool {
        !self.before.is_empty() && is_job(key) && self.before.remove(&fingerprint(key, digest))
    }

    /// Whether this driver has made or found the object with this manifest.
    pub(super) fn was_made(&self, key: &ObjectKey, digest: &Digest) -> bool {
        let made = self.made.get(key);
        made.is_some_and(|made| *made == fingerprint(key, digest))
    }

    /// Forgets what was told before: every object has been looked at.
    pub(super) fn all_seen(&mut self) {
        self.before = HashSet::new();
    }

    /// Forgets objects that are no longer desired.
    pub(super) fn retain(&mut self, desired: impl Fn(&ObjectKey) -> bool) {
        self.made.retain(|key, _| desired(key));
    }
}

fn is_job(key: &ObjectKey) -> bool {
    (&*key.kind.group, &*key.kind.kind) == ("batch", "Job")
}

fn fingerprint(key: &ObjectKey, digest: &Digest) -> Fingerprint {
    let mut hash = Sha256::new();
    hash.update(digest.0);
    hash.update(key.to_string());
    let mut print = Fingerprint::default();
    print.copy_from_slice(&hash.finalize()[..BYTES]);
    print
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::GroupKind;

    fn job(name: &str) -> ObjectKey {
        ObjectKey {
            kind: GroupKind::new("batch", "Job"),
            namespace: Some("prod".into()),
            name: name.into(),
        }
    }

    fn digest(text: &str) -> Digest {
        Digest::of(&json!(text))
    }

    fn again(runs: &Runs) -> Runs {
        Runs::restored(&runs.told())
    }

    #[test]
    fn a_job_is_known_again_by_its_manifest_and_once() {
        let mut runs = Runs::default();
        assert_eq!(runs.told(), [""; 0]);
        runs.made(&job("a"), &digest("one"));
        runs.made(&job("b"), &digest("one"));
        runs.made(&job("b"), &digest("two"));
        let map = ObjectKey {
            kind: GroupKind::new("", "ConfigMap"),
            ..job("map")
        };
        runs.made(&map, &digest("one"));
        let mut later = again(&runs);
        assert_eq!(later.told(), runs.told());
        for (key, text, known) in [
            (job("a"), "two", false),
            (job("a"), "one", true),
            (job("a"), "one", false),
            (job("b"), "one", false),
            (job("b"), "two", true),
            (map, "one", false),
        ] {
            let is_known = later.take_before(&key, &digest(text));
            assert_eq!(is_known, known, "{key} {text}");
        }
        assert_eq!(later.told(), [""; 0]);
    }

    #[test]
    fn what_was_deleted_or_left_git_is_forgotten() {
        let mut runs = Runs::default();
        for name in ["a", "b", "c"] {
            runs.made(&job(name), &digest("one"));
        }
        runs.deleted(&job("a"));
        runs.retain(|key| *key != job("b"));
        let mut later = again(&runs);
        assert!(!later.take_before(&job("a"), &digest("one")));
        assert!(!later.take_before(&job("b"), &digest("one")));
        assert_eq!(later.before.len(), 1);
        later.all_seen();
        assert!(!later.take_before(&job("c"), &digest("one")));
    }

    #[test]
    fn thousands_of_jobs_take_half_of_a_status() {
        let mut runs = Runs::default();
        for number in 0..10_000 {
            runs.made(&job(&number.to_string()), &digest("one"));
        }
        let told = runs.told();
        let lengths: Vec<usize> = told.iter().map(String::len).collect();
        assert_eq!(lengths, [4096; TEXTS]);
        assert_eq!(again(&runs).before.len(), TEXTS * JOBS);
        for strange in ["", "?", "AAAA", "AAAAAAAAA"] {
            let read = Runs::restored(&[strange.to_owned()]);
            assert_eq!(read.told(), [""; 0], "{strange}");
        }
        let more = Runs::restored(&vec!["A".repeat(1 << 20); 100]);
        assert!(more.before.len() <= TEXTS * JOBS);
    }
}
