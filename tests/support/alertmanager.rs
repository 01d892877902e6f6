//! The real Alertmanager, from Debian's packages.

use std::path::Path;

use serde_json::Value;

use super::ports;
use super::process::{Lifetime, Process};
use super::scratch::Scratch;
use super::wait::{PATIENCE, eventually};

/// A running Alertmanager. It ends on drop.
#[derive(Debug)]
pub struct Alertmanager {
    address: String,
    _process: Process,
    _scratch: Scratch,
}

impl Alertmanager {
    /// Starts Alertmanager, alone and with a receiver that does nothing.
    pub async fn start() -> Self {
        let scratch = Scratch::new().expect("a folder for Alertmanager");
        let folder = scratch.path();
        let config = "route: {receiver: none}\nreceivers: [{name: none}]\n";
        let path = |name: &str| folder.join(name).display().to_string();
        std::fs::write(path("config.yaml"), config).expect("write the configuration");
        let address = format!("127.0.0.1:{}", ports::free());
        let args = [
            format!("--config.file={}", path("config.yaml")),
            format!("--storage.path={}", path("data")),
            format!("--web.listen-address={address}"),
            // Without others.
            "--cluster.listen-address=".to_owned(),
        ];
        let log = folder.join("alertmanager.log");
        let program = Path::new("prometheus-alertmanager");
        let process = Process::spawn("alertmanager", program, args, &[], &log, Lifetime::Ours)
            .expect("start Alertmanager");
        let alertmanager = Self {
            address,
            _process: process,
            _scratch: scratch,
        };
        eventually("Alertmanager answers", PATIENCE, async || {
            alertmanager.alerts().await
        })
        .await;
        alertmanager
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The alerts that fire.
    pub async fn alerts(&self) -> Result<Vec<Value>, String> {
        let url = format!("{}/api/v2/alerts?active=true", self.url());
        let asked = tokio::task::spawn_blocking(move || {
            let mut answer = ureq::get(&url).call()?;
            answer.body_mut().read_to_string()
        });
        let text = asked
            .await
            .expect("ask")
            .map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }
}
