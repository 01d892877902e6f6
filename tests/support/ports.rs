//! Free ports for programs that cannot choose one themselves.

use std::{
    net::{Ipv4Addr, TcpListener},
    ops::Range,
};

use super::secret;

/// Below the range that systems use for outgoing connections. Such a connection could take the port of a
/// server while the server restarts.
const RANGE: Range<u16> = 16_384..32_768;

/// A loopback port that is free now. Another process may take it first, so the caller must still handle a
/// failure to bind it.
pub fn free() -> u16 {
    loop {
        let span = RANGE.end - RANGE.start;
        let port = RANGE.start + u16::from_be_bytes(secret::random()) % span;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
