//! Proofs that the sender of a delivery knows the secret. They are compared in constant time.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Error;

/// The secret that a webhook's sender shares with towline. It is never printed, and never empty.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// A secret without a line break at the end. Editors add one, and no provider can send it.
    ///
    /// # Errors
    ///
    /// [`Error::EmptySecret`]: everybody knows the empty secret.
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        let end = bytes.iter().rposition(|byte| !b"\r\n".contains(byte));
        match end {
            Some(end) => Ok(Self(Arc::from(&bytes[..=end]))),
            None => Err(Error::EmptySecret),
        }
    }
}

/// The value of the header `X-Towline-Signature` for a body: `sha256=` and its HMAC-SHA256 under the secret.
pub fn signature(secret: &Secret, body: &[u8]) -> String {
    // HMAC accepts keys of any length.
    let mac = Hmac::<Sha256>::new_from_slice(&secret.0);
    let tag = mac.map(|mac| mac.chain_update(body).finalize().into_bytes());
    format!("sha256={}", tag.map(::hex::encode).unwrap_or_default())
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The proof that a sender offers.
#[derive(Clone)]
pub struct Proof(ProofKind);

#[derive(Clone)]
enum ProofKind {
    /// HMAC-SHA256 of the body under the secret (RFC 2104).
    Signature([u8; 32]),
    /// The SHA-256 digest of the text that should be the secret. Digests have equal length, so the
    /// comparison does not reveal the length of the secret.
    Token([u8; 32]),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(…)")
    }
}

impl Proof {
    /// `sha256=<64 hexadecimal digits>`.
    pub(super) fn sha256(value: &str) -> Option<Self> {
        Self::hex(value.strip_prefix("sha256=")?)
    }

    /// 64 hexadecimal digits.
    pub(super) fn hex(value: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        ::hex::decode_to_slice(value, &mut bytes).ok()?;
        Some(Self(ProofKind::Signature(bytes)))
    }

    /// The secret itself.
    pub(super) fn token(value: &[u8]) -> Self {
        Self(ProofKind::Token(Sha256::digest(value).into()))
    }

    /// `Basic base64(user:secret)` (RFC 7617). The user is ignored.
    pub(super) fn basic(value: &str) -> Option<Self> {
        let (scheme, encoded) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
        let colon = decoded.iter().position(|byte| *byte == b':')?;
        Some(Self::token(&decoded[colon + 1..]))
    }

    /// Whether the check needs the body. Other proofs are checked before the body is read.
    pub fn is_of_body(&self) -> bool {
        matches!(self.0, ProofKind::Signature(_))
    }

    /// Whether the proof was made with `secret`. A signature must also be over exactly this body.
    pub fn is_of(&self, secret: &Secret, body: &[u8]) -> bool {
        match &self.0 {
            ProofKind::Signature(signature) => {
                // HMAC accepts keys of any length.
                let Ok(mac) = Hmac::<Sha256>::new_from_slice(&secret.0) else {
                    return false;
                };
                mac.chain_update(body).verify_slice(signature).is_ok()
            }
            ProofKind::Token(digest) => {
                let expected: [u8; 32] = Sha256::digest(&secret.0).into();
                digest.ct_eq(&expected).into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    /// GitHub's documented example, and RFC 4231's test cases 2 and 6 (a key longer than a block).
    #[test]
    fn signatures_are_hmac_sha256() {
        let long = [0xaa; 131];
        for (key, body, signature) in [
            (
                "It's a Secret to Everybody".as_bytes(),
                "Hello, World!",
                "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            ),
            (
                b"Jefe",
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &long,
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            let key = Secret::new(key).unwrap();
            assert_eq!(
                super::signature(&key, body.as_bytes()),
                format!("sha256={signature}")
            );
            let proof = Proof::sha256(&format!("sha256={signature}")).unwrap();
            assert!(proof.is_of_body());
            assert!(proof.is_of(&key, body.as_bytes()));
            let upper = Proof::hex(&signature.to_uppercase()).unwrap();
            assert!(upper.is_of(&key, body.as_bytes()));
            assert!(!proof.is_of(&key, &body.as_bytes()[1..]));
            assert!(!proof.is_of(&secret("other"), body.as_bytes()));
        }
    }

    #[test]
    fn a_signature_in_another_form_is_none() {
        let hex = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        for bad in [
            String::new(),
            "sha256=".to_owned(),
            format!("sha1={hex}"),
            format!("SHA256={hex}"),
            format!("sha256={}", &hex[1..]),
            format!("sha256={hex}0"),
            format!("sha256= {}", &hex[1..]),
            format!("sha256=+{}", &hex[1..]),
            format!("sha256=é{}", &hex[2..]),
            hex.to_owned(),
        ] {
            assert!(Proof::sha256(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_the_secret_and_nothing_else() {
        let expected = secret("s3cret");
        for (token, right) in [
            ("s3cret", true),
            ("s3cre", false),
            ("s3cret ", false),
            ("", false),
        ] {
            assert_eq!(
                Proof::token(token.as_bytes()).is_of(&expected, b"any"),
                right
            );
        }
        for (basic, right) in [
            ("user:s3cret", true),
            (":s3cret", true),
            ("user:other:s3cret", false),
            ("s3cret:", false),
        ] {
            let header = format!("bAsIc {}", BASE64_STANDARD.encode(basic));
            assert_eq!(Proof::basic(&header).unwrap().is_of(&expected, b""), right);
        }
        for bad in [
            "",
            "Basic",
            "Basic ???",
            "Basic czNjcmV0",
            "Bearer czNjcmV0",
        ] {
            assert!(Proof::basic(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_never_empty_nor_shown() {
        for empty in ["", "\n", "\r\n\n"] {
            assert_eq!(Secret::new(empty.as_bytes()), Err(Error::EmptySecret));
        }
        let kept = secret("s3cret\r\n");
        assert_eq!(kept, secret("s3cret"));
        assert_eq!(format!("{kept:?}"), "Secret(…)");
        assert_eq!(format!("{:?}", Proof::token(b"s3cret")), "Proof(…)");
    }
}
