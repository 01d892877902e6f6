//! The keys that decrypt files, from a Secret in the same form as for Flux.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::str::FromStr as _;

use age::armor::ArmoredReader;
use age::x25519::Identity;
use pgp::composed::{Deserializable as _, Message, SignedSecretKey};
use pgp::types::{KeyDetails as _, Password};

use super::DecryptError;
use super::metadata::{Metadata, Recipient};
use super::sealed::DataKey;

/// The longest data key that is read from a recipient's message. A valid one has 32 bytes.
const LONGEST_KEY: u64 = 1024;

/// The most keys of one Secret. Each of them is tried.
const MOST_KEYS: usize = 64;

/// Why a Secret's keys cannot be used. It quotes no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// No entry has the name of a key.
    #[error("Secret {0} has no keys: name age keys *.agekey and OpenPGP keys *.asc")]
    None(String),
    /// More keys than are tried.
    #[error("Secret {0} has more than {MOST_KEYS} keys")]
    TooMany(String),
    /// An entry that holds no age keys.
    #[error("Secret {secret}: {entry} line {line} is no age key (AGE-SECRET-KEY-1…)")]
    Age {
        /// `namespace/name`.
        secret: String,
        /// The key of the Secret.
        entry: String,
        /// The 1-based line.
        line: usize,
    },
    /// An entry that holds no OpenPGP key.
    #[error("Secret {secret}: {entry} is no armored OpenPGP secret key without a passphrase")]
    OpenPgp {
        /// `namespace/name`.
        secret: String,
        /// The key of the Secret.
        entry: String,
    },
}

/// Keys that decrypt files.
#[derive(Default)]
pub struct Keys {
    age: Vec<Identity>,
    pgp: Vec<SignedSecretKey>,
}

/// Shows the number of keys only.
impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Keys({} age, {} OpenPGP)",
            self.age.len(),
            self.pgp.len()
        )
    }
}

impl Keys {
    /// The keys of a Secret: age keys in entries that end in `.agekey`, OpenPGP keys in entries that end
    /// in `.asc`, as Flux has it. Other entries are left alone.
    ///
    /// # Errors
    /// A key that cannot be read, or no key at all.
    pub fn from_secret(title: &str, data: &BTreeMap<String, Vec<u8>>) -> Result<Self, KeysError> {
        let mut keys = Self::default();
        for (entry, value) in data {
            if entry.ends_with(".agekey") {
                keys.add_age(title, entry, value)?;
            } else if entry.ends_with(".asc") {
                keys.pgp
                    .push(openpgp(value).ok_or_else(|| KeysError::OpenPgp {
                        secret: title.to_owned(),
                        entry: entry.clone(),
                    })?);
            }
        }
        match keys.age.len() + keys.pgp.len() {
            0 => Err(KeysError::None(title.to_owned())),
            1..=MOST_KEYS => Ok(keys),
            _ => Err(KeysError::TooMany(title.to_owned())),
        }
    }

    fn add_age(&mut self, title: &str, entry: &str, value: &[u8]) -> Result<(), KeysError> {
        for (index, line) in String::from_utf8_lossy(value).lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let identity = Identity::from_str(line).map_err(|_| KeysError::Age {
                secret: title.to_owned(),
                entry: entry.to_owned(),
                line: index + 1,
            })?;
            self.age.push(identity);
        }
        Ok(())
    }

    /// The data key of a file.
    pub(super) fn open(&self, metadata: &Metadata) -> Result<DataKey, DecryptError> {
        let opened = metadata.recipients.iter().find_map(|recipient| {
            let bytes = match recipient {
                Recipient::Age { sealed, .. } => self.open_age(sealed),
                Recipient::OpenPgp { sealed, .. } => self.open_pgp(sealed),
                Recipient::Service(_) => None,
            };
            DataKey::new(&bytes?)
        });
        opened.ok_or_else(|| metadata.not_opened())
    }

    fn open_age(&self, sealed: &str) -> Option<Vec<u8>> {
        self.age.iter().find_map(|identity| {
            let decryptor = age::Decryptor::new(ArmoredReader::new(sealed.as_bytes())).ok()?;
            let identity: &dyn age::Identity = identity;
            let reader = decryptor.decrypt(std::iter::once(identity)).ok()?;
            let mut key = Vec::new();
            reader.take(LONGEST_KEY).read_to_end(&mut key).ok()?;
            Some(key)
        })
    }

    fn open_pgp(&self, sealed: &str) -> Option<Vec<u8>> {
        self.pgp.iter().find_map(|key| {
            let (message, _) = Message::from_armor(sealed.as_bytes()).ok()?;
            let mut message = message.decrypt(&Password::empty(), key).ok()?;
            if message.is_compressed() {
                message = message.decompress().ok()?;
            }
            let mut key = Vec::new();
            message.take(LONGEST_KEY).read_to_end(&mut key).ok()?;
            Some(key)
        })
    }
}

fn openpgp(armored: &[u8]) -> Option<SignedSecretKey> {
    let (key, _) = SignedSecretKey::from_armor_single(armored).ok()?;
    // Reports a passphrase now, and not when a file needs the key.
    let is_open = key
        .primary_key
        .unlock(&Password::empty(), |_, _| Ok(()))
        .ok()?
        .is_ok();
    let _ = key.fingerprint();
    is_open.then_some(key)
}
