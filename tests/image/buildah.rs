//! buildah with its own storage: no daemon, no registry, and nothing is left behind.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use towline_testing::binaries;
use towline_testing::process::{Lifetime, Process};
use towline_testing::scratch::Scratch;

/// The path of the mounted folder in the container.
const MOUNT: &str = "/var/run/towline-test";

/// A shell script that remounts `$0` read-only and then runs the other arguments. It gives a container a
/// read-only root, for which `buildah run` has no option. The mounts end with the command.
const READ_ONLY: &str = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@""#;

/// Paths that buildah mounts in every container beside its volumes. buildah creates them if it can.
const MOUNTED: [&str; 4] = [
    "etc/hosts",
    "etc/hostname",
    "etc/resolv.conf",
    "run/.containerenv",
];

/// Folders of this machine that the base image mounts read-only. The image that the Dockerfile names is
/// also a Debian with a compiler, but cannot be pulled everywhere.
const BORROWED: [&str; 3] = ["/usr", "/etc/alternatives", "/etc/ssl"];

/// A storage for images and containers.
pub struct Buildah {
    scratch: Scratch,
}

impl Buildah {
    pub fn new() -> Self {
        Self {
            scratch: Scratch::new().expect("a folder for images"),
        }
    }

    /// Makes a base image with the folders of a Debian. Their content is mounted during the build.
    pub fn base(&self) -> String {
        let container = self.run(&["from", "scratch"]);
        let root = PathBuf::from(self.run(&["mount", &container]));
        for folder in ["usr", "etc", "tmp", "proc", "sys", "dev", "rust", "cargo"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        for folder in ["bin", "lib", "lib64"] {
            symlink(Path::new("usr").join(folder), root.join(folder)).unwrap();
        }
        self.run(&["umount", &container]);
        for variable in [
            "PATH=/rust/bin:/usr/bin:/bin",
            "CARGO_HOME=/cargo",
            // All crates were downloaded for the tests. The image must not need others.
            "CARGO_NET_OFFLINE=true",
        ] {
            self.run(&["config", "--env", variable, &container]);
        }
        let image = "localhost/towline-base";
        self.run(&["commit", "--quiet", &container, image]);
        image.to_owned()
    }

    /// Builds the unchanged Dockerfile. Compiled code is cached beside the control plane's programs, so
    /// that a second build only compiles what changed.
    pub fn build(&self, base: &str, name: &str) {
        let target = binaries::cache_folder().unwrap().join("image-target");
        fs::create_dir_all(&target).unwrap();
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]));
        let cargo = std::env::var_os("CARGO_HOME").map_or_else(
            || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cargo"),
            PathBuf::from,
        );
        let mut volumes: Vec<String> = BORROWED
            .iter()
            .map(|path| format!("{path}:{path}:ro"))
            .collect();
        volumes.push(format!("{sysroot}:/rust:ro"));
        volumes.push(format!("{}:/cargo:ro", cargo.display()));
        volumes.push(format!("{}:/towline/target:rw", target.display()));
        let base = format!("RUST_IMAGE={base}");
        let mut args = vec!["build", "--isolation", "chroot", "--build-arg", &base];
        for volume in &volumes {
            args.extend(["--volume", volume]);
        }
        args.extend(["--tag", name, env!("CARGO_MANIFEST_DIR")]);
        self.run(&args);
    }

    /// The configuration of an image, as the OCI image specification defines it.
    pub fn config(&self, image: &str) -> Value {
        let text = self.run(&["inspect", "--type", "image", image]);
        let all: Value = serde_json::from_str(&text).expect("JSON of buildah inspect");
        all["OCIv1"]["config"].clone()
    }

    /// Makes a container of an image.
    pub fn container(&self, image: &str) -> Container<'_> {
        let name = self.run(&["from", image]);
        let root = PathBuf::from(self.run(&["mount", &name]));
        let mounted = self.scratch.path().join("mounted");
        fs::create_dir_all(&mounted).unwrap();
        Container {
            buildah: self,
            name,
            root,
            mounted,
        }
    }

    fn args(&self) -> [String; 6] {
        let folder = |name| self.scratch.path().join(name).display().to_string();
        [
            "--root".to_owned(),
            folder("storage"),
            "--runroot".to_owned(),
            folder("run"),
            "--storage-driver".to_owned(),
            "vfs".to_owned(),
        ]
    }

    fn run(&self, args: &[&str]) -> String {
        output(Command::new("buildah").args(self.args()).args(args))
    }
}

/// A container that has not been started.
pub struct Container<'a> {
    buildah: &'a Buildah,
    name: String,
    root: PathBuf,
    mounted: PathBuf,
}

impl Container<'_> {
    /// The container's files.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A folder that the container sees read-only.
    pub fn mounted(&self) -> &Path {
        &self.mounted
    }

    /// Starts the container's program on a read-only root, as the image's user unless `options` name
    /// another. The program ends on drop.
    pub fn run(&self, options: &[&str], args: &[&str]) -> Process {
        self.make_mount_points();
        let root = self.root.display().to_string();
        let private = ["--mount", "sh", "-c", READ_ONLY, &root, "buildah"];
        let volume = format!("{}:{MOUNT}:ro", self.mounted.display());
        let kubeconfig = format!("KUBECONFIG={MOUNT}/config");
        let run = ["run", "--isolation", "chroot", "--volume", &volume];
        let environment = ["--env", &kubeconfig];
        let program = [&self.name, "--", "/usr/bin/towline"];
        let run = [&run[..], &environment, options, &program, args].concat();
        let all: Vec<String> = private
            .into_iter()
            .map(str::to_owned)
            .chain(self.buildah.args())
            .chain(run.into_iter().map(str::to_owned))
            .collect();
        let log = self.mounted.with_file_name("towline.log");
        let unshare = Path::new("unshare");
        Process::spawn("buildah run", unshare, all, &[], &log, Lifetime::Ours).unwrap()
    }

    fn make_mount_points(&self) {
        let inside = |path: &str| self.root.join(path.trim_start_matches('/'));
        for folder in ["dev", "proc", "sys", "run", MOUNT] {
            fs::create_dir_all(inside(folder)).unwrap();
        }
        for file in MOUNTED {
            fs::write(inside(file), "").unwrap();
        }
    }
}

/// The output of a program. Panics with its error if it fails.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{command:?}: {error}; .ci/run installs what the tests need")
    });
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}\n{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
