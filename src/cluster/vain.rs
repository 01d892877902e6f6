//! Manifests that were refused although what stood against them had been claimed.
//!
//! Each claim and its return are writes, and each write is an event by which the manifest is tried again. So a manifest that was
//! refused all the same is applied without claims for a while.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::manifest::ObjectKey;

/// After what time claims are tried again: somebody may have changed the object.
const AGAIN: Duration = Duration::from_secs(600);

/// The most manifests that are remembered.
const MOST: usize = 10_000;

/// By object: the manifest, and when its claims were in vain.
#[derive(Default)]
pub(super) struct VainClaims {
    hasher: RandomState,
    by_object: Mutex<HashMap<ObjectKey, (u64, Instant)>>,
}

impl VainClaims {
    /// Takes note of a manifest that was refused after its claims.
    pub(super) fn were_in_vain(&self, key: &ObjectKey, body: &[u8], now: Instant) {
        let known = (self.hasher.hash_one(body), now);
        let mut all = self
            .by_object
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, since)| now.duration_since(*since) < AGAIN);
        if all.len() < MOST {
            all.insert(key.clone(), known);
        }
    }

    /// Whether claims for this manifest were in vain a while ago.
    pub(super) fn are_in_vain(&self, key: &ObjectKey, body: &[u8], now: Instant) -> bool {
        let all = self
            .by_object
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.get(key).is_some_and(|(known, since)| {
            *known == self.hasher.hash_one(body) && now.duration_since(*since) < AGAIN
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::GroupKind;

    #[test]
    fn only_the_same_manifest_is_not_tried_again_for_a_while() {
        let key = |name: &str| ObjectKey {
            kind: GroupKind::new("batch", "Job"),
            namespace: Some("a".into()),
            name: name.into(),
        };
        let (now, claims) = (Instant::now(), VainClaims::default());
        claims.were_in_vain(&key("one"), b"manifest", now);
        assert!(claims.are_in_vain(&key("one"), b"manifest", now));
        assert!(!claims.are_in_vain(&key("one"), b"another", now));
        assert!(!claims.are_in_vain(&key("two"), b"manifest", now));
        let later = now + AGAIN;
        assert!(!claims.are_in_vain(&key("one"), b"manifest", later));
        claims.were_in_vain(&key("two"), b"manifest", later);
        let all = claims.by_object.lock();
        assert_eq!(all.unwrap_or_else(PoisonError::into_inner).len(), 1);
    }
}
