//! How the proof of an object comes into what is applied.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::observed::Observed;
use super::owner::SyncName;
use super::proof::{Bond, Key, Proof};
use crate::manifest::ObjectKey;

/// How the proof of one object comes into what is applied.
#[derive(Clone, Debug)]
pub struct Seal {
    key: Key,
    bond: Bond,
    /// The proof of an object that is known to exist. None for an object that may be new: its proof names the
    /// second of the request, so it is filled in when the request is sent.
    known: Option<Proof>,
    /// The uid of the object that this Sync has made, if it has: without its marks, it is still not an adopted one.
    made: Option<Arc<str>>,
}

impl Seal {
    /// The seal of an object that may be new.
    pub fn new(key: Key, bond: Bond) -> Self {
        Self {
            key,
            bond,
            known: None,
            made: None,
        }
    }

    /// The same for a Sync that remembers that it made the object with this uid.
    #[must_use]
    pub fn remembering(self, made: Option<Arc<str>>) -> Self {
        Self { made, ..self }
    }

    /// The seal of an object that exists and was applied before. A proof that holds is kept, so that an apply that
    /// changes nothing writes nothing. An object that another Sync, or another key, adopted stays an adopted one.
    #[must_use]
    pub fn for_object(self, observed: &Observed) -> Self {
        if observed.proof.is_some_and(|proof| proof.is_adopted()) {
            return self.for_adopted(observed);
        }
        let kept = observed.proof.filter(|_| self.holds(observed));
        let known = kept.unwrap_or_else(|| self.key.for_uid(&self.bond, &observed.uid));
        Self {
            known: Some(known),
            ..self
        }
    }

    /// The seal of an object that existed before towline applied it.
    #[must_use]
    pub fn for_adopted(self, observed: &Observed) -> Self {
        let known = self.key.for_adopted(&self.bond, &observed.uid);
        Self {
            known: Some(known),
            ..self
        }
    }

    /// Whether an object that was there at its first apply is one that this Sync made, and that has lost its marks.
    pub fn has_made(&self, uid: &str) -> bool {
        self.made.as_deref() == Some(uid)
    }

    /// Whether this seal is that of an object that may be new.
    pub fn is_new(&self) -> bool {
        self.known.is_none()
    }

    /// Whether an object carries a proof for this bond.
    pub fn holds(&self, observed: &Observed) -> bool {
        let proves = |proof| {
            let (uid, created) = (&observed.uid, observed.created);
            self.key.proves(&proof, &self.bond, uid, created)
        };
        observed.proof.is_some_and(proves)
    }

    /// The object.
    pub fn object(&self) -> &ObjectKey {
        &self.bond.object
    }

    /// The Sync.
    pub fn sync(&self) -> &SyncName {
        &self.bond.sync
    }

    /// What stands in the annotation: the proof, or the place where [`Seal::fill`] puts it. Nobody else knows
    /// the place, so that no manifest can contain it.
    pub fn text(&self) -> String {
        match self.known {
            Some(proof) => proof.to_string(),
            None => {
                let digest = self.key.digest(&self.bond, "place", "");
                format!("place.{}", BASE64_URL_SAFE_NO_PAD.encode(digest))
            }
        }
    }

    /// A body in JSON with the proof of an object that is created in this second.
    pub fn fill(&self, body: &[u8], second: i64) -> Vec<u8> {
        let place = self.text();
        let found = match self.known {
            Some(_) => None,
            None => find(body, place.as_bytes()),
        };
        let Some(start) = found else {
            return body.to_vec();
        };
        let proof = self.key.for_new(&self.bond, second).to_string();
        let end = start + place.len();
        [&body[..start], proof.as_bytes(), &body[end..]].concat()
    }
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::super::proof::testing;
    use super::*;
    use crate::manifest::GroupKind;

    fn bond() -> Bond {
        Bond {
            sync: SyncName::new("team-a", "app"),
            uid: testing::UID.into(),
            object: ObjectKey {
                kind: GroupKind::new("apps", "Deployment"),
                namespace: Some("prod".into()),
                name: "web".into(),
            },
        }
    }

    #[test]
    fn the_proof_of_a_new_object_is_filled_in_when_it_is_sent() {
        let (key, bond) = (testing::key(), bond());
        let seal = Seal::new(key.clone(), bond.clone());
        let body = format!("{{\"a\":\"{}\"}}", seal.text());
        let proof = key.for_new(&bond, 5);
        let filled = String::from_utf8(seal.fill(body.as_bytes(), 5)).unwrap();
        assert_eq!(filled, format!("{{\"a\":\"{proof}\"}}"));
        assert_eq!(seal.fill(b"{}", 5), b"{}");
    }
}
