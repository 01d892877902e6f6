//! Ports for programs that have to be told one.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

use super::secret;

/// Below the range from which systems give ports to outgoing connections: one of those could hold the
/// port of a server that is being restarted.
const RANGE: Range<u16> = 16_384..32_768;

/// A loopback port that is free now. Someone may be faster, so the program's failure to bind it must
/// still be looked for.
pub fn free() -> u16 {
    loop {
        let span = RANGE.end - RANGE.start;
        let port = RANGE.start + u16::from_be_bytes(secret::random()) % span;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
