//! The real kubectl, for what a person would type.

use std::{path::Path, process::Command};

use super::binaries;

/// Runs kubectl and gives what it wrote to standard output, or, if it failed, to standard error.
pub async fn try_kubectl(kubeconfig: &Path, args: &[&str]) -> Result<String, String> {
    let program = binaries::program("kubectl")
        .await
        .map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        // A developer's own preferences are not what is tested.
        .env("KUBERC", "off");
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

/// Like [`try_kubectl`]; panics with what kubectl complained about.
pub async fn kubectl(kubeconfig: &Path, args: &[&str]) -> String {
    try_kubectl(kubeconfig, args)
        .await
        .unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"))
}
