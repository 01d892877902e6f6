//! A receiver of traces with the decoder of the OpenTelemetry Collector, built once by Go from `tests/otlp`.

use std::path::{Path, PathBuf};
use std::{fs, io};

use serde_json::Value;

use super::process::{Lifetime, Process};
use super::scratch::Scratch;
use super::wait::{PATIENCE, eventually};
use super::{binaries, in_repository, ports};

/// A running receiver. It ends on drop.
#[derive(Debug)]
pub struct Receiver {
    address: String,
    _process: Process,
    _scratch: Scratch,
}

impl Receiver {
    /// Starts a receiver on a free port.
    pub async fn start() -> Self {
        Self::at(ports::free()).await
    }

    /// Starts a receiver on this port of the loopback.
    pub async fn at(port: u16) -> Self {
        let program = tokio::task::spawn_blocking(program).await;
        let program = program.expect("build").expect("build the receiver");
        let scratch = Scratch::new().expect("a folder for the receiver");
        let address = format!("127.0.0.1:{port}");
        let args = [format!("--listen={address}")];
        let log = scratch.path().join("otlp.log");
        let process = Process::spawn("otlp", &program, args, &[], &log, Lifetime::Ours);
        let receiver = Self {
            address,
            _process: process.expect("start the receiver"),
            _scratch: scratch,
        };
        eventually("the receiver answers", PATIENCE, async || {
            receiver.requests().await
        })
        .await;
        receiver
    }

    /// Its address, to which `/v1/traces` is appended.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far, decoded and encoded again by the Collector's own code.
    pub async fn requests(&self) -> Result<Vec<Value>, String> {
        let url = format!("{}/traces", self.url());
        let asked = tokio::task::spawn_blocking(move || {
            let mut answer = ureq::get(&url).call()?;
            answer.body_mut().read_to_string()
        });
        let text = asked.await.expect("ask");
        let text = text.map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    /// All spans so far.
    pub async fn spans(&self) -> Vec<Value> {
        let requests = self.requests().await.expect("the receiver's traces");
        let of = |value: &Value, field: &str| value[field].as_array().cloned().unwrap_or_default();
        let resources = requests.iter().flat_map(|all| of(all, "resourceSpans"));
        let scopes = resources.flat_map(|resource| of(&resource, "scopeSpans"));
        scopes.flat_map(|scope| of(&scope, "spans")).collect()
    }
}

/// The path of the program. The first use builds it.
fn program() -> io::Result<PathBuf> {
    let sources = in_repository("tests/otlp");
    let name = format!("otlp-{}", binaries::fingerprint(&sources, "")?);
    let folder = binaries::cached_folder(&name, |folder, log| build(&sources, folder, log))?;
    Ok(folder.join("otlp"))
}

fn build(sources: &Path, folder: &Path, log: &Path) -> io::Result<()> {
    let (sources, target) = (sources.display().to_string(), folder.join("otlp"));
    let target = target.display().to_string();
    let args = [
        "-C",
        &sources,
        "build",
        "-v",
        "-trimpath",
        "-buildvcs=false",
        "-o",
        &target,
        ".",
    ];
    binaries::go("the receiver of traces, about a minute", &args, &[], log)?;
    fs::metadata(&target).map(|_| ())
}
