//! The real kubectl, for commands that a person would type.

use std::{path::Path, process::Command};

use super::binaries;

/// Runs kubectl. Returns standard output, or standard error if it failed.
pub async fn try_kubectl(kubeconfig: &Path, args: &[&str]) -> Result<String, String> {
    let program = binaries::program("kubectl")
        .await
        .map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command
        .args(args)
        .env("KUBECONFIG", kubeconfig)
        // Ignores the developer's own preferences.
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

/// Like [`try_kubectl`], but panics with kubectl's error.
pub async fn kubectl(kubeconfig: &Path, args: &[&str]) -> String {
    try_kubectl(kubeconfig, args)
        .await
        .unwrap_or_else(|error| panic!("kubectl {args:?}: {error}"))
}
