//! OpenPGP signatures (RFC 9580). The crate checks the mathematics. This file decides which keys
//! are valid and until when, as `gpg --verify` does.

use jiff::Timestamp;
use pgp::composed::{Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType, SignatureVersion, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails, KeyVersion, PublicParams, Tag};

use super::allowed::MIN_RSA_BITS;
use super::key::{Key, Signer};
use super::refusal::{SignatureProblem, SignerLocation};
use super::shown;

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// A key with its subkeys, user ids and all signatures over them.
#[derive(Clone, Debug)]
pub(super) struct Certificate(SignedPublicKey);

/// The key of a certificate that made a signature.
#[derive(Clone, Copy)]
enum Maker<'a> {
    Primary,
    Subkey(&'a SignedPublicSubKey),
}

/// Adds the keys of an armoured file. If several files have the same key, their signatures are
/// merged, so that a revocation counts in whichever file it is.
pub(super) fn add(known: &mut Vec<Certificate>, text: &str) -> Result<(), &'static str> {
    if text.contains("PRIVATE KEY") {
        return Err(
            "it holds a private key, which must not be here: replace that key with a new one",
        );
    }
    let blocks: Vec<&str> = text.split(BEGIN).skip(1).collect();
    if blocks.is_empty() {
        return Err("it holds no ASCII-armoured OpenPGP public key");
    }
    for block in blocks {
        let (block, _) = block
            .split_once(END)
            .ok_or("an OpenPGP key in it has no end")?;
        let block = format!("{BEGIN}{block}{END}\n");
        let unreadable = "an OpenPGP key in it cannot be read";
        let (keys, _) = SignedPublicKey::from_string_many(&block).map_err(|_| unreadable)?;
        let keys: Vec<_> = keys.collect::<Result<_, _>>().map_err(|_| unreadable)?;
        if keys.is_empty() {
            return Err(unreadable);
        }
        for key in keys {
            if !matches!(key.version(), KeyVersion::V4 | KeyVersion::V6) {
                return Err("an OpenPGP key in it has an unsupported version");
            }
            let same = known
                .iter_mut()
                .find(|c| c.0.fingerprint() == key.fingerprint());
            match same {
                Some(Certificate(same)) => merge(same, key),
                None => known.push(Certificate(key)),
            }
        }
    }
    Ok(())
}

fn merge(into: &mut SignedPublicKey, from: SignedPublicKey) {
    let (into_details, from_details) = (&mut into.details, from.details);
    into_details
        .revocation_signatures
        .extend(from_details.revocation_signatures);
    into_details
        .direct_signatures
        .extend(from_details.direct_signatures);
    for user in from_details.users {
        match into_details
            .users
            .iter_mut()
            .find(|known| known.id.id() == user.id.id())
        {
            Some(known) => known.signatures.extend(user.signatures),
            None => into_details.users.push(user),
        }
    }
    for subkey in from.public_subkeys {
        let same = |known: &&mut SignedPublicSubKey| known.fingerprint() == subkey.fingerprint();
        match into.public_subkeys.iter_mut().find(same) {
            Some(known) => known.signatures.extend(subkey.signatures),
            None => into.public_subkeys.push(subkey),
        }
    }
}

/// Checks a signature over `payload` with the certificates of a Secret.
pub(super) fn verify(
    armour: &str,
    payload: &[u8],
    certificates: &[Certificate],
    secret: &str,
    now: Timestamp,
) -> Result<Signer, SignatureProblem> {
    let signature = read(armour)?;
    let claimed =
        claimed(&signature).ok_or(SignatureProblem::Unreadable("it does not name its key"))?;
    let makers = certificates
        .iter()
        .flat_map(|certificate| Some((certificate, certificate.maker_of(&signature)?)));
    // Two keys may have the same id. Only the fingerprint is unique.
    let mut refused = None;
    for (certificate, maker) in makers {
        match certificate.judge(maker, &signature, payload, now) {
            Ok(signer) => return Ok(signer),
            Err(why) => refused = Some(why),
        }
    }
    Err(refused.unwrap_or_else(|| SignatureProblem::Unknown {
        key: claimed,
        location: SignerLocation {
            secret: secret.to_owned(),
            key: None,
        },
    }))
}

/// Reads one signature over binary data. A signature over text would allow other line ends.
fn read(armour: &str) -> Result<Signature, SignatureProblem> {
    let unreadable = |_| SignatureProblem::Unreadable("it is not an OpenPGP signature");
    let (mut found, _) = DetachedSignature::from_string_many(armour).map_err(unreadable)?;
    let first = found.next().transpose().map_err(unreadable)?;
    let signature = first
        .ok_or(SignatureProblem::Unreadable("it is empty"))?
        .signature;
    if found.next().is_some() {
        return Err(SignatureProblem::Unreadable("it holds several signatures"));
    }
    let is_known = matches!(
        signature.version(),
        SignatureVersion::V4 | SignatureVersion::V6
    );
    if !is_known || signature.typ() != Some(SignatureType::Binary) {
        return Err(SignatureProblem::Unreadable(
            "Git does not make signatures of its kind",
        ));
    }
    match has_unknown_demands(&signature) {
        true => Err(SignatureProblem::Unreadable(
            "it has a critical part that towline does not know",
        )),
        false => Ok(signature),
    }
}

/// The key that the signature names as its maker.
fn claimed(signature: &Signature) -> Option<Key> {
    let fingerprint = signature
        .issuer_fingerprint()
        .first()
        .map(|f| format!("{f:X}"));
    let id = || {
        signature
            .issuer_key_id()
            .first()
            .map(|id| id.to_string().to_uppercase())
    };
    fingerprint
        .or_else(id)
        .map(|text| Key::OpenPgp(shown(&text)))
}

impl Certificate {
    /// The key of this certificate that the signature names as its maker.
    fn maker_of(&self, signature: &Signature) -> Option<Maker<'_>> {
        if is_by(signature, &self.0.primary_key) {
            return Some(Maker::Primary);
        }
        let mut subkeys = self.0.public_subkeys.iter();
        subkeys
            .find(|subkey| is_by(signature, *subkey))
            .map(Maker::Subkey)
    }

    fn judge(
        &self,
        maker: Maker<'_>,
        signature: &Signature,
        payload: &[u8],
        now: Timestamp,
    ) -> Result<Signer, SignatureProblem> {
        let key = Key::OpenPgp(format!("{:X}", self.0.fingerprint()));
        if !is_strong(signature) {
            let hash = signature
                .hash_alg()
                .map_or_else(String::new, |hash| hash.to_string());
            return Err(SignatureProblem::WeakHash { key, hash });
        }
        let verified = match maker {
            Maker::Primary => signature.verify(&self.0.primary_key, payload),
            Maker::Subkey(subkey) => signature.verify(&subkey.key, payload),
        };
        verified.map_err(|_| SignatureProblem::Mismatch { key: key.clone() })?;
        match self.key_problem(maker, signature, now.as_second()) {
            Some(problem) => Err(SignatureProblem::UnusableKey { key, problem }),
            None => Ok(Signer {
                key,
                name: self.name(now.as_second()),
            }),
        }
    }

    /// Why the key must not be used for this signature. The text completes "a key, which …". None
    /// if it may be used.
    fn key_problem(&self, maker: Maker<'_>, signature: &Signature, now: i64) -> Option<String> {
        let primary = &self.0.primary_key;
        let Some(said) = self.self_signature(now) else {
            return Some("has no valid self-signature with a strong hash".to_owned());
        };
        if self.is_revoked() {
            return Some("is revoked".to_owned());
        }
        if let Some(problem) = weakness(primary).or_else(|| expired(primary, said, now)) {
            return Some(problem);
        }
        let subkey = match maker {
            Maker::Primary => {
                return match signs(said) {
                    Some(false) => Some("is not meant for signing".to_owned()),
                    Some(true) | None => out_of_time(primary, signature, now),
                };
            }
            Maker::Subkey(subkey) => subkey,
        };
        let problem = match self.binding(subkey, now) {
            None => Some("is not bound to the key for signing".to_owned()),
            Some(_) if self.is_subkey_revoked(subkey) => Some("is revoked".to_owned()),
            Some(binding) => weakness(subkey)
                .or_else(|| expired(subkey, binding, now))
                .or_else(|| out_of_time(subkey, signature, now)),
        };
        problem.map(|problem| {
            format!(
                "signed with its subkey {:X}, which {problem}",
                subkey.fingerprint()
            )
        })
    }

    /// The key's newest signature over itself: over the key alone, or over a user id that is not
    /// revoked.
    fn self_signature(&self, now: i64) -> Option<&Signature> {
        let primary = &self.0.primary_key;
        let direct = self.0.details.direct_signatures.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::Key)
                && is_sound(signature, now)
                && signature.verify_key(primary).is_ok()
        });
        let of_users = self.users(now).map(|(_, signature)| signature);
        direct
            .chain(of_users)
            .max_by_key(|signature| signature.created())
    }

    /// The user ids that are valid, each with its newest signature.
    fn users(&self, now: i64) -> impl Iterator<Item = (&str, &Signature)> {
        let primary = &self.0.primary_key;
        self.0.details.users.iter().filter_map(move |user| {
            let own = user
                .signatures
                .iter()
                .filter(|signature| is_by(signature, primary));
            let (revoking, saying): (Vec<_>, Vec<_>) =
                own.partition(|s| s.typ() == Some(SignatureType::CertRevocation));
            let is_genuine = |s: &Signature| {
                s.verify_certification(primary, Tag::UserId, &user.id)
                    .is_ok()
            };
            let newest = saying
                .into_iter()
                .filter(|s| is_sound(s, now) && is_genuine(s))
                .max_by_key(|signature| signature.created())?;
            let is_revoked = revoking
                .into_iter()
                .any(|s| (is_genuine(s) || !is_strong(s)) && s.created() >= newest.created());
            (!is_revoked).then(|| (user.id.as_str().unwrap_or_default(), newest))
        })
    }

    /// The user id to show.
    fn name(&self, now: i64) -> Option<String> {
        let users: Vec<_> = self.users(now).collect();
        let primary = users.iter().find(|(_, signature)| signature.is_primary());
        primary
            .or(users.first())
            .map(|(name, _)| shown(name))
            .filter(|name| !name.is_empty())
    }

    /// Whether the key was revoked, at any time and for any reason, because the holder of a stolen
    /// key can date signatures back. In doubt the key counts as revoked: only a revocation that is
    /// proven to be forged is ignored.
    fn is_revoked(&self) -> bool {
        let primary = &self.0.primary_key;
        self.0
            .details
            .revocation_signatures
            .iter()
            .any(|signature| {
                let forged = || is_strong(signature) && signature.verify_key(primary).is_err();
                !(is_by(signature, primary) && forged())
            })
    }

    fn is_subkey_revoked(&self, subkey: &SignedPublicSubKey) -> bool {
        let primary = &self.0.primary_key;
        let mut revocations = subkey
            .signatures
            .iter()
            .filter(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
        revocations.any(|signature| {
            let is_genuine = signature
                .verify_subkey_binding(primary, &subkey.key)
                .is_ok();
            !(is_by(signature, primary) && is_strong(signature) && !is_genuine)
        })
    }

    /// The newest signature that makes the subkey a signing key, if the subkey has agreed.
    fn binding<'a>(&self, subkey: &'a SignedPublicSubKey, now: i64) -> Option<&'a Signature> {
        let primary = &self.0.primary_key;
        let bindings = subkey.signatures.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::SubkeyBinding)
                && is_sound(signature, now)
                && signature
                    .verify_subkey_binding(primary, &subkey.key)
                    .is_ok()
        });
        let newest = bindings.max_by_key(|signature| signature.created())?;
        let agreed = newest.embedded_signature()?;
        let is_agreed = is_strong(agreed)
            && agreed
                .verify_primary_key_binding(&subkey.key, primary)
                .is_ok();
        (signs(newest) == Some(true) && is_agreed).then_some(newest)
    }
}

/// Whether the signature names this key as its maker. This is only a hint, and the mathematics
/// decide.
fn is_by(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    match fingerprints.is_empty() {
        true => signature.issuer_key_id().contains(&&key.legacy_key_id()),
        false => fingerprints.contains(&&key.fingerprint()),
    }
}

/// Whether a key's signature over itself may be used, if it is genuine.
fn is_sound(signature: &Signature, now: i64) -> bool {
    is_strong(signature) && !has_unknown_demands(signature) && ended(signature, now).is_none()
}

fn is_strong(signature: &Signature) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha224, Sha256, Sha384, Sha512};
    matches!(
        signature.hash_alg(),
        Some(Sha224 | Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)
    )
}

/// Whether the signature has critical parts that this code does not know. Then the signature must
/// be refused (RFC 9580, 5.2.3.7).
fn has_unknown_demands(signature: &Signature) -> bool {
    use SubpacketData::{Experimental, Notation, Other};
    signature.config().is_none_or(|config| {
        config.hashed_subpackets().any(|packet| {
            packet.is_critical && matches!(packet.data, Notation(_) | Experimental(..) | Other(..))
        })
    })
}

/// Whether the key's flags allow signing. None if there are no flags.
fn signs(signature: &Signature) -> Option<bool> {
    let mut packets = signature.config()?.hashed_subpackets();
    packets.find_map(|packet| match &packet.data {
        SubpacketData::KeyFlags(flags) => Some(flags.sign()),
        _ => None,
    })
}

/// The time at which the signature expired, if it has.
fn ended(signature: &Signature, now: i64) -> Option<i64> {
    let lasts = i64::from(signature.signature_expiration_time()?.as_secs());
    let ends = i64::from(signature.created()?.as_secs()) + lasts;
    (lasts > 0 && ends <= now).then_some(ends)
}

fn expired(key: &impl KeyDetails, said: &Signature, now: i64) -> Option<String> {
    let lasts = i64::from(said.key_expiration_time()?.as_secs());
    let ends = i64::from(key.created_at().as_secs()) + lasts;
    (lasts > 0 && ends <= now).then(|| format!("expired at {}", date(ends)))
}

/// The problem with the times of a signature.
fn out_of_time(key: &impl KeyDetails, signature: &Signature, now: i64) -> Option<String> {
    let Some(created) = signature.created() else {
        return Some("gave no time of signing".to_owned());
    };
    if created < key.created_at() {
        return Some("was created after its signature".to_owned());
    }
    ended(signature, now).map(|ends| format!("made a signature that expired at {}", date(ends)))
}

/// The problem with the key's algorithm or length.
fn weakness(key: &impl KeyDetails) -> Option<String> {
    let bits = match key.public_params() {
        // The modulus comes first, and begins with its length in bits.
        PublicParams::RSA(rsa) => match rsa.to_bytes().ok()?.first_chunk() {
            Some(bits) => u32::from(u16::from_be_bytes(*bits)),
            None => 0,
        },
        PublicParams::DSA(_) | PublicParams::Elgamal(_) => 0,
        _ => return None,
    };
    (bits < MIN_RSA_BITS).then(|| match bits {
        0 => "has an algorithm that is too weak".to_owned(),
        bits => format!("has {bits} bits, fewer than {MIN_RSA_BITS}"),
    })
}

fn date(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}
