//! Random bytes and keys. Each run makes new ones, so that none is ever in the repository.

use base64::{Engine, prelude::BASE64_STANDARD};
use ring::{
    rand::{SecureRandom, SystemRandom},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};

pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("read random bytes");
    bytes
}

/// `N` random bytes in hexadecimal.
pub fn token<const N: usize>() -> String {
    random::<N>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The bytes before a P-256 point in a public key file: the algorithm and the curve (RFC 5480).
const PUBLIC_KEY_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A new private and public key as PEM, to sign service account tokens and to verify them. The API server
/// needs both: it cannot derive the public key from the only private key format that ring writes.
pub fn signing_keys() -> (String, String) {
    let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let random = SystemRandom::new();
    let private = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("make a key");
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, private.as_ref(), &random).expect("read it");
    let public = [&PUBLIC_KEY_HEAD, pair.public_key().as_ref()].concat();
    (
        pem("PRIVATE KEY", private.as_ref()),
        pem("PUBLIC KEY", &public),
    )
}

fn pem(label: &str, bytes: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(bytes);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}
