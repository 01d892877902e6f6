//! The metadata of SOPS: the recipients, which values are sealed, and the checksum.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;

use super::DecryptError;

/// The most recipients that are tried.
const MOST_RECIPIENTS: usize = 256;

/// A recipient of the data key.
pub(super) enum Recipient {
    /// An age key.
    Age { name: String, sealed: String },
    /// An OpenPGP key.
    OpenPgp { name: String, sealed: String },
    /// A service on the network.
    Service(&'static str),
}

/// Which values are sealed, by their keys.
enum Rule {
    UnlessSuffix(String),
    Suffix(String),
    Unless(Regex),
    If(Regex),
}

/// The metadata of a file.
pub(super) struct Metadata {
    pub(super) recipients: Vec<Recipient>,
    /// The sealed checksum.
    pub(super) checksum: String,
    /// When the file was last changed; additional data of the checksum.
    pub(super) changed: String,
    /// Whether the checksum covers sealed values only.
    pub(super) only_sealed: bool,
    rule: Rule,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    mac: String,
    #[serde(default)]
    lastmodified: String,
    #[serde(default)]
    age: Option<Vec<RawAge>>,
    #[serde(default)]
    pgp: Option<Vec<RawPgp>>,
    #[serde(default)]
    kms: Option<Vec<Value>>,
    #[serde(default)]
    gcp_kms: Option<Vec<Value>>,
    #[serde(default)]
    hckms: Option<Vec<Value>>,
    #[serde(default)]
    azure_kv: Option<Vec<Value>>,
    #[serde(default)]
    hc_vault: Option<Vec<Value>>,
    #[serde(default)]
    key_groups: Option<Vec<Value>>,
    unencrypted_suffix: Option<String>,
    encrypted_suffix: Option<String>,
    unencrypted_regex: Option<String>,
    encrypted_regex: Option<String>,
    unencrypted_comment_regex: Option<String>,
    encrypted_comment_regex: Option<String>,
    #[serde(default)]
    mac_only_encrypted: Option<Value>,
}

#[derive(Deserialize)]
struct RawAge {
    recipient: String,
    enc: String,
}

#[derive(Deserialize)]
struct RawPgp {
    fp: String,
    enc: String,
}

impl Metadata {
    /// Reads the value of the key `sops`.
    pub(super) fn read(value: Value) -> Result<Self, DecryptError> {
        let raw: Raw = serde_json::from_value(value)
            .map_err(|_| DecryptError::Metadata("it lacks a field, or one is malformed"))?;
        if raw
            .key_groups
            .as_ref()
            .is_some_and(|groups| !groups.is_empty())
        {
            return Err(DecryptError::KeyGroups);
        }
        if raw.mac.is_empty() || raw.lastmodified.is_empty() {
            return Err(DecryptError::Metadata("it lacks mac or lastmodified"));
        }
        let rule = raw.rule()?;
        let only_sealed = matches!(
            &raw.mac_only_encrypted,
            Some(Value::Bool(true)) | Some(Value::String(_))
        ) && raw.mac_only_encrypted != Some(Value::String("false".to_owned()));
        Ok(Self {
            rule,
            only_sealed,
            checksum: raw.mac.clone(),
            changed: raw.lastmodified.clone(),
            recipients: raw.recipients()?,
        })
    }

    /// Whether a value is sealed, by the keys that lead to it.
    pub(super) fn is_sealed(&self, path: &[&str]) -> bool {
        let mut path = path.iter();
        match &self.rule {
            Rule::UnlessSuffix(suffix) => !path.any(|key| key.ends_with(suffix)),
            Rule::Suffix(suffix) => path.any(|key| key.ends_with(suffix)),
            Rule::Unless(regex) => !path.any(|key| regex.is_match(key)),
            Rule::If(regex) => path.any(|key| regex.is_match(key)),
        }
    }

    /// Why no key decrypted the file.
    pub(super) fn not_opened(&self) -> DecryptError {
        let own: Vec<&str> = self
            .recipients
            .iter()
            .filter_map(|recipient| match recipient {
                Recipient::Age { name, .. } | Recipient::OpenPgp { name, .. } => {
                    Some(name.as_str())
                }
                Recipient::Service(_) => None,
            })
            .take(5)
            .collect();
        match own.is_empty() {
            false => DecryptError::NoKeyFits(own.join(", ")),
            true => {
                let services = self
                    .recipients
                    .iter()
                    .filter_map(|recipient| match recipient {
                        Recipient::Service(name) => Some(*name),
                        _ => None,
                    });
                DecryptError::Unsupported(services.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

impl Raw {
    fn rule(&self) -> Result<Rule, DecryptError> {
        if self.unencrypted_comment_regex.is_some() || self.encrypted_comment_regex.is_some() {
            return Err(DecryptError::Metadata(
                "towline does not know which values are sealed by comments",
            ));
        }
        let text = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        let regex = |pattern: String| {
            let regex = RegexBuilder::new(&pattern).size_limit(1 << 20).build();
            regex.map_err(|_| DecryptError::Metadata("a regular expression cannot be read"))
        };
        let rules = [
            text(&self.unencrypted_suffix).map(|suffix| Ok(Rule::UnlessSuffix(suffix))),
            text(&self.encrypted_suffix).map(|suffix| Ok(Rule::Suffix(suffix))),
            text(&self.unencrypted_regex).map(|pattern| regex(pattern).map(Rule::Unless)),
            text(&self.encrypted_regex).map(|pattern| regex(pattern).map(Rule::If)),
        ];
        let mut rules = rules.into_iter().flatten();
        match (rules.next(), rules.next()) {
            (Some(rule), None) => rule,
            (None, _) => Ok(Rule::UnlessSuffix("_unencrypted".to_owned())),
            (Some(_), Some(_)) => Err(DecryptError::Metadata(
                "two rules say which values are sealed, and there may be one",
            )),
        }
    }

    fn recipients(self) -> Result<Vec<Recipient>, DecryptError> {
        let mut recipients = Vec::new();
        recipients.extend(self.age.into_iter().flatten().map(|key| Recipient::Age {
            name: shown(&key.recipient),
            sealed: key.enc,
        }));
        recipients.extend(
            self.pgp
                .into_iter()
                .flatten()
                .map(|key| Recipient::OpenPgp {
                    name: shown(&key.fp),
                    sealed: key.enc,
                }),
        );
        for (keys, name) in [
            (self.kms, "AWS KMS"),
            (self.gcp_kms, "Google Cloud KMS"),
            (self.hckms, "Huawei Cloud KMS"),
            (self.azure_kv, "Azure Key Vault"),
            (self.hc_vault, "HashiCorp Vault"),
        ] {
            if keys.is_some_and(|keys| !keys.is_empty()) {
                recipients.push(Recipient::Service(name));
            }
        }
        match recipients.len() {
            0 => Err(DecryptError::Metadata(
                "it names nobody who could open the file",
            )),
            1..=MOST_RECIPIENTS => Ok(recipients),
            _ => Err(DecryptError::Metadata("it names too many recipients")),
        }
    }
}

/// A recipient's public name, reduced to safe characters: it comes from a file and is shown in messages.
fn shown(name: &str) -> String {
    let plain = name.chars().filter(char::is_ascii_alphanumeric);
    plain.take(80).collect()
}
