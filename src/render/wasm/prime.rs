//! Random primes for the RSA keys of charts. A key of 4096 bits takes a renderer half a minute, and the host a few seconds.

use std::convert::Infallible;

use crypto_bigint::BoxedUint;
use crypto_bigint::rand_core::{TryCryptoRng, TryRng};
use crypto_primes::hazmat::{SetBits, SmallFactorsSieveFactory};
use crypto_primes::{Flavor, is_prime, sieve_and_find};

use super::process::Process;

/// The sizes that keys need, in bits. A larger prime would take too long.
const SIZES: [i32; 3] = [1024, 1536, 2048];

/// A prime with so many bits, of which the first two are set, so that the product of two has twice as many.
pub(super) fn draw(process: &mut Process, bits: i32) -> wasmtime::Result<Vec<u8>> {
    if !SIZES.contains(&bits) {
        wasmtime::bail!("no prime of {bits} bits can be asked for");
    }
    let sieve = SmallFactorsSieveFactory::<BoxedUint>::new(
        Flavor::Any,
        bits.unsigned_abs(),
        SetBits::TwoMsb,
    )
    .map_err(failed)?;
    let is_prime = |_: &mut Draws<'_>, candidate: &BoxedUint| is_prime(Flavor::Any, candidate);
    let found = sieve_and_find(&mut Draws(process), sieve, is_prime).map_err(failed)?;
    let found = found.ok_or_else(|| wasmtime::format_err!("no prime was found"))?;
    Ok(found.to_be_bytes().into())
}

fn failed(error: crypto_primes::Error) -> wasmtime::Error {
    wasmtime::format_err!("a prime: {error}")
}

/// The random bytes of a render, which its seed decides.
struct Draws<'a>(&'a mut Process);

impl TryRng for Draws<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        to.copy_from_slice(&self.0.random(to.len()));
        Ok(())
    }
}

impl TryCryptoRng for Draws<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes_have_all_their_bits_and_depend_on_the_seed() {
        let draw = |seed, bits| draw(&mut Process::new(0, [seed; 32]), bits);
        let one = draw(1, 1024).unwrap();
        assert_eq!(one.len(), 128);
        assert!(one[0] >= 0b1100_0000 && one[127] % 2 == 1);
        assert_eq!(one, draw(1, 1024).unwrap());
        assert_ne!(one, draw(2, 1024).unwrap());
        for bits in [0, -1, 1023, 4096, i32::MAX] {
            assert!(draw(1, bits).is_err(), "{bits}");
        }
    }
}
