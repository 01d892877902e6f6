//! The real Helm, built once by Go and kept beside the control plane's programs.

use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
};

use super::{binaries, scratch::Scratch};

const FOUR: &str = "v4.3.1";

/// The previous major version, which most people still use.
const THREE: &str = "v3.22.0";

/// Helm, isolated from the developer's own configuration.
#[derive(Debug)]
pub struct Helm {
    version: &'static str,
    program: PathBuf,
    kubeconfig: PathBuf,
    scratch: Scratch,
}

impl Helm {
    /// Helm without a cluster, for commands that need none.
    pub async fn offline() -> Self {
        Self::of(Path::new("/dev/null")).await
    }

    /// Helm 4 with a cluster.
    pub async fn of(kubeconfig: &Path) -> Self {
        Self::version(FOUR, kubeconfig).await
    }

    /// Helm 3 with a cluster.
    pub async fn three(kubeconfig: &Path) -> Self {
        Self::version(THREE, kubeconfig).await
    }

    async fn version(version: &'static str, kubeconfig: &Path) -> Self {
        let program = tokio::task::spawn_blocking(|| program(version))
            .await
            .expect("build Helm")
            .expect("build Helm");
        Self {
            version,
            program,
            kubeconfig: kubeconfig.to_owned(),
            scratch: Scratch::new().expect("a folder for Helm"),
        }
    }

    /// Adds a program that changes what is rendered, by `sed`, before it is installed. Returns what `--post-renderer` takes.
    pub fn post_renderer(&self, script: &str) -> String {
        let folder = self.scratch.path().join("DATA/plugins/post");
        std::fs::create_dir_all(&folder).expect("a folder for the plugin");
        let program = folder.join("post.sh");
        std::fs::write(&program, format!("#!/bin/sh\nexec sed '{script}'\n")).expect("a program");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("a program");
        let plugin = "apiVersion: v1\ntype: postrenderer/v1\nname: post\nversion: 0.1.0\nruntime: subprocess\nruntimeConfig:\n  \
                      platformCommand:\n  - command: ${HELM_PLUGIN_DIR}/post.sh\n";
        std::fs::write(folder.join("plugin.yaml"), plugin).expect("a plugin");
        // Helm 3 takes a program, Helm 4 the name of a plugin.
        match self.version {
            THREE => program.display().to_string(),
            _ => "post".to_owned(),
        }
    }

    /// The folder of the program, for use in a PATH.
    pub fn folder(&self) -> &Path {
        self.program.parent().expect("a folder")
    }

    /// Variables that keep the developer's own configuration and plugins out.
    pub fn env(&self) -> Vec<(String, PathBuf)> {
        let home = |name: &str| (format!("HELM_{name}_HOME"), self.scratch.path().join(name));
        let mut env = ["CACHE", "CONFIG", "DATA"].map(home).to_vec();
        env.push(("KUBECONFIG".to_owned(), self.kubeconfig.clone()));
        env
    }

    /// Runs Helm. Returns standard output, or standard error if it failed.
    pub async fn try_run(&self, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(args).envs(self.env());
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

    /// Like [`Self::try_run`], but panics with Helm's error.
    pub async fn run(&self, args: &[&str]) -> String {
        self.try_run(args)
            .await
            .unwrap_or_else(|error| panic!("helm {args:?}: {error}"))
    }
}

fn program(version: &str) -> io::Result<PathBuf> {
    let folder = binaries::cached_folder(&format!("helm-{version}"), |folder, log| {
        // The module path contains the major version: `v4.3.1` is in `helm.sh/helm/v4`.
        let module = format!("helm.sh/helm/{}", &version[..2]);
        let package = format!("{module}/cmd/helm@{version}");
        let flags = format!("-ldflags=-s -w -X {module}/internal/version.version={version}");
        let args = ["install", "-v", "-trimpath", &flags, &package];
        let env = [("GOBIN".to_owned(), folder.display().to_string())];
        binaries::go("Helm, about two minutes", &args, &env, log)
    })?;
    Ok(folder.join("helm"))
}
