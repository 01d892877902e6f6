//! A real mail server, from Debian's package python3-aiosmtpd.

use std::path::Path;

use serde_json::Value;
use tokio::net::TcpStream;

use super::ports;
use super::process::{Lifetime, Process};
use super::scratch::Scratch;
use super::tls::Authority;
use super::wait::{PATIENCE, eventually};

/// The password of the user `towline`, where the server wants one.
pub const PASSWORD: &str = "Passw0rd-of-the-mail-server";

/// A running mail server. It ends on drop.
#[derive(Debug)]
pub struct MailServer {
    port: u16,
    /// The certificate of its authority.
    pub ca: String,
    process: Process,
    _scratch: Scratch,
}

impl MailServer {
    /// Starts a server with encryption `plain`, `starttls` or `smtps`.
    pub async fn start(encryption: &str) -> Self {
        let scratch = Scratch::new().expect("a folder for the mail server");
        let folder = scratch.path();
        let authority = Authority::new();
        let (certificate, key) = authority.issue("localhost");
        let files = [
            ("mail.py", include_str!("mail.py")),
            ("server.pem", &certificate),
            ("server.key", &key),
            ("password", PASSWORD),
        ];
        for (name, text) in files {
            std::fs::write(folder.join(name), text).expect("write a file of the mail server");
        }
        let port = ports::free();
        let path = |name: &str| folder.join(name).display().to_string();
        let args = [
            path("mail.py"),
            port.to_string(),
            encryption.to_owned(),
            folder.display().to_string(),
        ];
        // Debian's own Python has Debian's packages.
        let python = Path::new("/usr/bin/python3");
        let log = folder.join("mail.log");
        let process = Process::spawn("mail server", python, args, &[], &log, Lifetime::Ours)
            .expect("start the mail server");
        let server = Self {
            port,
            ca: authority.pem(),
            process,
            _scratch: scratch,
        };
        eventually("the mail server listens", PATIENCE, async || {
            let connected = TcpStream::connect(("127.0.0.1", port)).await;
            connected.map_err(|error| format!("{error}: {}", server.process.log_tail()))
        })
        .await;
        server
    }

    /// `localhost` and the port.
    pub fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The messages so far.
    pub fn messages(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.process.log()).unwrap_or_default();
        let lines = log.lines();
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }
}
