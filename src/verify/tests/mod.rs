//! Signatures of real tools, and every way in which one is not taken.

use super::*;

mod objects;
mod openpgp;
mod secrets;
mod ssh;
mod tools;

use tools::{Desk, now, secret, set, signers, with_signature};

/// What a message about the revision `main@sha1:…` would say.
fn refused(result: Result<Signer, Refusal>) -> String {
    match result {
        Ok(signer) => panic!("taken: {signer}"),
        Err(refusal) => refusal.about("R"),
    }
}
