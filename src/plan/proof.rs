//! The proof that towline itself marked an object: a digest under a key that only the operator has.
//!
//! Label and identity annotation can be written by everybody who can patch the object. The proof cannot: it is
//! an HMAC over the Sync (name and uid), the object's identity, and the life of the object. A life is named by
//! the object's uid. The uid of a new object is not known before the API server has made it, and a second
//! request for each new object would double the cost of a first apply. So the proof of a new object names the
//! second in which the object is created, by the API server's clock. Nobody can choose or change an object's
//! `creationTimestamp`, and towline deletes no object while another one of its name could still be created
//! within the same seconds ([`Proof::fits_others_until`]).
//!
//! The proof of an object that existed before its first apply says so as well ([`Proof::is_adopted`]), so that it is
//! released and not deleted later. It is another digest: nobody can make the one of the other.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use super::owner::SyncName;
use crate::manifest::ObjectKey;

/// Bytes of a digest that are kept: 128 bits cannot be guessed.
const BYTES: usize = 16;

/// Seconds between the time that a proof names and the creation of its object. A request takes time, and API
/// servers' clocks differ a little.
const CREATED: RangeInclusive<i64> = -1..=2;

/// How a proof of a uid begins, where that of a new object has its second.
const BY_UID: &str = "uid";
/// How the proof of an adopted object begins.
const ADOPTED: &str = "adopted";

/// The operator's key. It is never printed.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// What a proof is about, apart from the object's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bond {
    /// The Sync.
    pub sync: SyncName,
    /// Its uid: a Sync that is made anew under the same name is another one.
    pub uid: Arc<str>,
    /// The object.
    pub object: ObjectKey,
}

/// The annotation's content. The order of writing is `uid.<digest>`, `adopted.<digest>` or `<second>.<digest>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    life: Life,
    digest: [u8; BYTES],
}

/// How a proof names the life of its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// By its uid.
    Uid,
    /// By its uid, and it existed before it was first applied.
    Adopted,
    /// By the second in which it was to be created.
    Second(i64),
}

impl Key {
    /// The shortest key in bytes.
    pub const LEAST: usize = 32;

    /// A key of these bytes. None if they are too few.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let hmac = Hmac::new_from_slice(bytes).ok()?;
        (bytes.len() >= Self::LEAST).then_some(Self(hmac))
    }

    /// The proof for an object with this uid.
    pub fn for_uid(&self, bond: &Bond, uid: &str) -> Proof {
        Proof {
            life: Life::Uid,
            digest: self.digest(bond, BY_UID, uid),
        }
    }

    /// The proof for an object with this uid that existed before it was first applied.
    pub fn for_adopted(&self, bond: &Bond, uid: &str) -> Proof {
        Proof {
            life: Life::Adopted,
            digest: self.digest(bond, ADOPTED, uid),
        }
    }

    /// The proof for an object that is created now, at this second by the API server's clock.
    pub fn for_new(&self, bond: &Bond, second: i64) -> Proof {
        Proof {
            life: Life::Second(second),
            digest: self.digest(bond, "second", &second.to_string()),
        }
    }

    /// Whether a proof is this key's, for this bond, and for the object with this uid that was created in this
    /// second.
    pub fn proves(&self, proof: &Proof, bond: &Bond, uid: &str, created: i64) -> bool {
        let expected = match proof.life {
            Life::Uid => self.for_uid(bond, uid),
            Life::Adopted => self.for_adopted(bond, uid),
            Life::Second(second) if CREATED.contains(&created.saturating_sub(second)) => {
                self.for_new(bond, second)
            }
            Life::Second(_) => return false,
        };
        expected.digest.ct_eq(&proof.digest).into()
    }

    /// The proof that towline made what `text` says, in this second by the API server's clock: an object that no Sync
    /// applies, such as that of a hook.
    pub(super) fn for_made(&self, text: &str, second: i64) -> Proof {
        let mut digest = [0; BYTES];
        // The proof of an object that a Sync applies has four parts, what is no proof has two.
        let whole = self.of_parts(&["made", text, &second.to_string()]);
        digest.copy_from_slice(&whole[..BYTES]);
        Proof {
            life: Life::Second(second),
            digest,
        }
    }

    /// Whether a proof is the one of [`Key::for_made`], for an object that was created in this second.
    pub(super) fn proves_made(&self, proof: &Proof, text: &str, created: i64) -> bool {
        match proof.life {
            Life::Second(second) if CREATED.contains(&created.saturating_sub(second)) => {
                let expected = self.for_made(text, second);
                expected.digest.ct_eq(&proof.digest).into()
            }
            _ => false,
        }
    }

    pub(super) fn digest(&self, bond: &Bond, form: &str, life: &str) -> [u8; BYTES] {
        let identity = bond.sync.identity(&bond.object);
        let whole = self.of_parts(&[&*bond.uid, &identity, form, life]);
        let mut digest = [0; BYTES];
        digest.copy_from_slice(&whole[..BYTES]);
        digest
    }

    /// A digest that nobody makes without the key, for something that is no proof.
    pub fn digest_for(&self, purpose: &str, text: &str) -> [u8; 32] {
        // A proof has four parts.
        self.of_parts(&[purpose, text])
    }

    fn of_parts(&self, parts: &[&str]) -> [u8; 32] {
        let mut hmac = self.0.clone();
        for part in parts {
            // With its length, so that no two lists of parts are the same bytes.
            hmac.update(&(part.len() as u64).to_be_bytes());
            hmac.update(part.as_bytes());
        }
        hmac.finalize().into_bytes().into()
    }
}

impl Proof {
    /// Reads the annotation. None for what is no proof.
    pub fn parse(text: &str) -> Option<Self> {
        let (life, digest) = text.split_once('.')?;
        let digest = BASE64_URL_SAFE_NO_PAD.decode(digest).ok()?;
        Some(Self {
            life: match life {
                BY_UID => Life::Uid,
                ADOPTED => Life::Adopted,
                second => Life::Second(second.parse().ok()?),
            },
            digest: digest.try_into().ok()?,
        })
    }

    /// The last second in which another object could be created that the proof would fit as well. None for the
    /// proof of a uid, which fits one object only.
    pub fn fits_others_until(&self) -> Option<i64> {
        match self.life {
            Life::Second(second) => Some(second.saturating_add(*CREATED.end())),
            Life::Uid | Life::Adopted => None,
        }
    }

    /// Whether it says that its object existed before it was first applied. Whoever can patch the object can write
    /// that as well, and gets it released instead of deleted.
    pub fn is_adopted(&self) -> bool {
        self.life == Life::Adopted
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = BASE64_URL_SAFE_NO_PAD.encode(self.digest);
        match self.life {
            Life::Uid => write!(f, "{BY_UID}.{digest}"),
            Life::Adopted => write!(f, "{ADOPTED}.{digest}"),
            Life::Second(second) => write!(f, "{second}.{digest}"),
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    pub(crate) use crate::plan::observed::testing::observed;

    /// A key for tests.
    pub(crate) fn key() -> Key {
        Key::new(&[7; Key::LEAST]).unwrap()
    }

    /// The uid of the Syncs of tests.
    pub(crate) const UID: &str = "sync-uid";

    /// The proof that `owner`, with the uid above, has an object with a uid.
    pub(crate) fn proof(owner: &SyncName, object: &ObjectKey, uid: &str) -> Proof {
        let bond = Bond {
            sync: owner.clone(),
            uid: UID.into(),
            object: object.clone(),
        };
        key().for_uid(&bond, uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::GroupKind;

    fn bond(sync: &str, uid: &str, name: &str) -> Bond {
        Bond {
            sync: SyncName::new("team-a", sync),
            uid: uid.into(),
            object: ObjectKey {
                kind: GroupKind::new("apps", "Deployment"),
                namespace: Some("prod".into()),
                name: name.into(),
            },
        }
    }

    #[test]
    fn a_proof_is_of_one_key_one_sync_one_object_and_one_life() {
        let (key, bond) = (testing::key(), bond("app", "s1", "web"));
        let (of_uid, of_new) = (key.for_uid(&bond, "u1"), key.for_new(&bond, 1_000));
        let adopted = key.for_adopted(&bond, "u1");
        for proof in [of_uid, of_new, adopted] {
            assert!(key.proves(&proof, &bond, "u1", 1_000), "{proof}");
            let other_key = Key::new(&[8; Key::LEAST]).unwrap();
            assert!(!other_key.proves(&proof, &bond, "u1", 1_000), "{proof}");
            for other in [
                self::bond("app", "s2", "web"),
                self::bond("other", "s1", "web"),
                self::bond("app", "s1", "copy"),
            ] {
                assert!(
                    !key.proves(&proof, &other, "u1", 1_000),
                    "{proof} {other:?}"
                );
            }
            assert!(!key.proves(&proof, &bond, "u2", 1_100), "another life");
        }
        assert!(key.proves(&of_uid, &bond, "u1", 5), "a uid is enough");
        // What was created here cannot be made one that was adopted, nor the other way round.
        for (proof, from, to) in [(of_uid, "uid", "adopted"), (adopted, "adopted", "uid")] {
            let text = proof.to_string().replacen(from, to, 1);
            let forged = Proof::parse(&text).unwrap();
            assert!(!key.proves(&forged, &bond, "u1", 5), "{text}");
            assert_eq!(proof.is_adopted(), from == "adopted");
        }
        assert!(!key.proves(&of_uid, &bond, "u2", 1_000));
    }

    #[test]
    fn a_new_object_may_be_created_a_little_later_and_not_much() {
        let (key, bond) = (testing::key(), bond("app", "s1", "web"));
        let proof = key.for_new(&bond, 1_000);
        for (created, fits) in [(998, false), (999, true), (1_002, true), (1_003, false)] {
            assert_eq!(key.proves(&proof, &bond, "u", created), fits, "{created}");
        }
        assert_eq!(proof.fits_others_until(), Some(1_002));
        assert_eq!(key.for_uid(&bond, "u").fits_others_until(), None);
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let (key, bond) = (testing::key(), bond("app", "s1", "web"));
        for proof in [
            key.for_uid(&bond, "u"),
            key.for_adopted(&bond, "u"),
            key.for_new(&bond, 1_764_129_704),
        ] {
            let text = proof.to_string();
            assert_eq!(Proof::parse(&text), Some(proof), "{text}");
            // A second that was changed is not the one that was signed.
            let moved = text.replacen("1764129704", "1764129705", 1);
            let moved = Proof::parse(&moved).unwrap();
            let proves = key.proves(&moved, &bond, "u", 1_764_129_704);
            assert_eq!(proves, moved == proof);
        }
        for text in [
            "",
            "uid",
            "uid.",
            "uid.AAAA",
            "x.AAAAAAAAAAAAAAAAAAAAAA",
            ".",
        ] {
            assert_eq!(Proof::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_short_key_is_none() {
        assert!(Key::new(&[0; Key::LEAST - 1]).is_none());
        assert_eq!(format!("{:?}", testing::key()), "Key(…)");
    }
}
