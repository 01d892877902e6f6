//! The first steps of a new user. The test runs the commands between the marks of README.md and of the
//! page about upgrade and uninstall, and compares their output with the printed output.
//!
//! Three things differ from a real cluster: the repository is on a test server, nothing pulls the image,
//! and a local process with the pod's account and settings takes the place of the simulated pod.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use crate::pages;
use crate::world::config_map;
use crate::world::life::deployment;
use towline_testing::binaries;
use towline_testing::control_plane::{ControlPlane, Options};
use towline_testing::deployed::as_deployed;
use towline_testing::git::GitServer;
use towline_testing::helm::Helm;
use towline_testing::operator::Operator;
use towline_testing::repo::Repo;
use towline_testing::scratch::Scratch;

/// The pages, in the order in which a reader uses them.
const PAGES: [&str; 2] = ["README.md", "docs/guides/upgrade-uninstall.md"];

/// The repository URL in README.md, which a reader replaces with their own.
const THEIRS: &str = "https://git.example/team-a/shop.git";

/// One fenced block.
struct Block<'a> {
    language: &'a str,
    text: &'a str,
}

/// The fenced blocks between the marks of a page.
fn walk(page: &str) -> Vec<Block<'_>> {
    let (_, rest) = page.split_once("<!-- walk:begin -->\n").unwrap();
    let (walk, _) = rest.split_once("<!-- walk:end -->").unwrap();
    let fenced = walk.split("```").skip(1).step_by(2);
    let blocks = fenced.map(|block| {
        let (language, text) = block.split_once('\n').unwrap();
        Block { language, text }
    });
    blocks.collect()
}

/// A shell in the project's folder, with kubectl and Helm.
struct Shell {
    env: BTreeMap<String, PathBuf>,
    _scratch: Scratch,
    _helm: Helm,
}

impl Shell {
    async fn new(cp: &ControlPlane) -> Self {
        let scratch = Scratch::new().unwrap();
        let helm = Helm::of(&cp.kubeconfig_path()).await;
        let kubectl = binaries::program("kubectl").await.unwrap();
        symlink(kubectl, scratch.path().join("kubectl")).unwrap();
        let mut env: BTreeMap<String, PathBuf> = helm.env().into_iter().collect();
        let path = format!(
            "{}:{}:{}",
            scratch.path().display(),
            helm.folder().display(),
            std::env::var("PATH").unwrap()
        );
        env.insert("PATH".to_owned(), path.into());
        env.insert("KUBERC".to_owned(), "off".into());
        Self {
            env,
            _scratch: scratch,
            _helm: helm,
        }
    }

    /// The output of a block's commands. Panics if one of them fails.
    async fn types(&self, script: &str) -> String {
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", script])
            .envs(&self.env)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = tokio::task::spawn_blocking(move || bash.output());
        let output = output.await.unwrap().unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        assert!(output.status.success(), "{script}\n{stdout}{stderr}");
        stdout
    }
}

/// A repository that a reader may have.
fn shop(git: &GitServer) -> Repo {
    let repo = git.repo("shop");
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n";
    let files = [
        ("apps/prod/namespace.yaml", namespace.to_owned()),
        (
            "apps/prod/settings.yaml",
            config_map("settings", "shop", "git"),
        ),
        ("apps/prod/web.yaml", deployment("web", "shop", "")),
    ];
    let files: Vec<_> = files
        .iter()
        .map(|(path, text)| (*path, Some(text)))
        .collect();
    repo.commit(&files, "open the shop");
    repo
}

/// A table as words. Values that change from run to run are replaced.
fn plain(table: &str) -> Vec<Vec<String>> {
    let plain = |word: &str| {
        let is_age = word.len() < 6
            && word.starts_with(|first: char| first.is_ascii_digit())
            && word.ends_with(['s', 'm']);
        match word.split_once("@sha1:") {
            Some((branch, _)) => format!("{branch}@sha1:…"),
            None if is_age => "AGE".to_owned(),
            // A pod's name has the hashes of its template and of itself.
            None if word.matches('-').count() == 2 && word.starts_with("towline-") => {
                "towline-…".to_owned()
            }
            None => word.to_owned(),
        }
    };
    let lines = table.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| line.split_whitespace().map(plain).collect())
        .collect()
}

#[tokio::test]
async fn the_pages_lead_to_a_synced_repository_and_back() {
    let cp = ControlPlane::start(Options {
        controllers: true,
        nodes: 1,
        ..Options::default()
    })
    .await;
    let git = GitServer::start();
    let repo = shop(&git);
    let shell = Shell::new(&cp).await;
    let pages = PAGES.map(pages::text);
    let mut operator: Option<Operator> = None;
    let mut shown = String::new();
    let mut typed = Vec::new();
    let started = Instant::now();
    for block in pages.iter().flat_map(|page| walk(page)) {
        match block.language {
            "sh" => {
                shown = shell.types(&block.text.replace(THEIRS, repo.url())).await;
                typed.push(block.text);
            }
            "text" => assert_eq!(plain(&shown), plain(block.text), "{shown}"),
            other => panic!("unknown language of a block: {other}"),
        }
        // A release has a new pod after an install or upgrade.
        if block.text.starts_with("helm install") || block.text.starts_with("helm upgrade") {
            drop(operator.take());
            operator =
                Some(Operator::start(as_deployed(&cp, "towline-system", "towline").await).await);
        }
    }
    // `eprintln!` would be captured by the test runner.
    let time = started.elapsed().as_secs_f32();
    writeln!(
        io::stderr(),
        "from the front page's install to the uninstall: {time:.1} s"
    )
    .unwrap();
    for command in [
        "helm install",
        "kubectl get gitops",
        "helm upgrade",
        "helm uninstall",
    ] {
        let is_typed = typed.iter().any(|text| text.contains(command));
        assert!(is_typed, "no page contains {command}");
    }
    let left = shell.types("kubectl get crd,configmap -A -o name").await;
    assert!(
        !left.contains("towline.dev") && !left.contains("settings"),
        "{left}"
    );
}
