//! Signatures by real tools, and all cases in which a signature is refused.

use super::*;

mod objects;
mod openpgp;
mod secrets;
mod ssh;
mod tools;

use tools::{Desk, now, secret, set, signers, with_signature};

/// The text of a refusal about the revision `R`.
fn refused(result: Result<Signer, Refusal>) -> String {
    match result {
        Ok(signer) => panic!("taken: {signer}"),
        Err(refusal) => refusal.about("R"),
    }
}
