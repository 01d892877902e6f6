//! The programs of the demo: a control plane with towline, and a Git server.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use kube::{Api, Client};
use towline::api::{Condition, GitRepository, Sync};
use towline_testing::{
    audit::{Entry, Mark},
    binaries,
    control_plane::{ControlPlane, Options},
    definitions::define,
    git::GitServer,
    kubeconfig::User,
    kubectl::try_kubectl,
    operator::{Operator, OperatorOptions, built},
    renderers,
};

use crate::{clone::WorkingCopy, timeline::Timeline};

/// The name of the GitRepository, its Sync and the repository itself.
pub const NAME: &str = "shop";

/// The demo prints a note if a build takes longer than this.
const SOON: Duration = Duration::from_secs(2);

/// Fields are dropped in this order, so that the operator ends before its cluster.
pub struct Stage {
    pub operator: Operator,
    pub clone: WorkingCopy,
    pub url: String,
    _git: GitServer,
    pub client: Client,
    kubectl: PathBuf,
    cp: ControlPlane,
    /// Whether the operator has kustomize and Helm.
    renders: bool,
}

impl Stage {
    /// Starts everything; with `renders`, the operator has kustomize and Helm.
    pub async fn start(timeline: &Timeline, renders: bool) -> Result<Self, String> {
        timeline.step("1  A Kubernetes cluster, and towline in it");
        let since = Instant::now();
        let git = Command::new("git").arg("--version").output();
        git.map_err(|error| format!("cannot run git, which the demo needs: {error}"))?;
        if !binaries::is_built() {
            timeline.note("The first run builds Kubernetes from source; the next ones do not.");
        }
        let kubectl = binaries::program("kubectl")
            .await
            .map_err(|error| error.to_string())?;
        let mut building = tokio::task::spawn_blocking(built);
        let program = match tokio::time::timeout(SOON, &mut building).await {
            Ok(program) => program,
            Err(_) => {
                timeline.note("Building towline, which has changed since the last run…");
                building.await
            }
        };
        let program = program.map_err(|error| error.to_string())?;
        let renderers = match renders {
            true => Some(built_renderers(timeline).await?),
            false => None,
        };
        timeline.done(
            since.elapsed(),
            "programs built: Kubernetes, kubectl, towline",
        );

        let since = Instant::now();
        let cp = ControlPlane::try_start(Options {
            controllers: true,
            nodes: 1,
            audit: true,
            ..Options::default()
        })
        .await?;
        let client = cp.client().await;
        let version = client.apiserver_version().await;
        let version = version.map_err(|error| error.to_string())?.git_version;
        let text = format!(
            "control plane up: Kubernetes {version} at {}, one node that runs pods in name only",
            cp.url()
        );
        timeline.done(since.elapsed(), &text);

        let since = Instant::now();
        timeline.command("kubectl apply --server-side -f crds/");
        define(&cp).await?;
        timeline.done(since.elapsed(), "custom resource definitions served");

        let since = Instant::now();
        let mut options = OperatorOptions::new(&cp);
        options.program = Some(program);
        let folder = renderers.map(|folder| format!("--renderers-dir={}", folder.display()));
        options.args.extend(folder);
        let operator = Operator::start(options).await;
        let text = format!("operator ready, process {}", operator.pid());
        timeline.done(since.elapsed(), &text);

        let since = Instant::now();
        let git = GitServer::start();
        let url = git.repo(NAME).url().to_owned();
        let clone = WorkingCopy::of(&url, &cp.folder().join("clone"))?;
        timeline.done(since.elapsed(), &format!("Git server up: {url}"));
        Ok(Self {
            operator,
            clone,
            url,
            _git: git,
            client,
            kubectl,
            cp,
            renders,
        })
    }

    pub fn repositories(&self) -> Api<GitRepository> {
        Api::namespaced(self.client.clone(), "default")
    }

    pub fn syncs(&self) -> Api<Sync> {
        Api::namespaced(self.client.clone(), "default")
    }

    /// Runs kubectl as the administrator.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String, String> {
        let output = try_kubectl(&self.cp.kubeconfig_path(), args).await;
        output.map_err(|error| format!("kubectl {}: {}", args.join(" "), error.trim()))
    }

    /// Runs kubectl as somebody who changes the cluster without a commit.
    pub async fn person(&self, args: &[&str]) -> Result<String, String> {
        let output = try_kubectl(&self.cp.kubeconfig_for(User::Person), args).await;
        output.map_err(|error| format!("kubectl {}: {}", args.join(" "), error.trim()))
    }

    /// Writes a file for kubectl to read.
    pub fn file(&self, name: &str, text: &str) -> Result<String, String> {
        let path = self.cp.folder().join(name);
        fs::write(&path, text).map_err(|error| format!("write {name}: {error}"))?;
        Ok(path.display().to_string())
    }

    pub fn mark(&self) -> Mark {
        self.cp.audit().mark()
    }

    /// The operator's requests since `mark` in the API server's audit log, without watches: all of them,
    /// and those that wrote to objects from Git.
    pub async fn requests_since(&self, mark: Mark) -> (usize, usize) {
        let requests = self.cp.audit_since(mark).await;
        let ours = |entry: &&Entry| entry.user == User::Towline.name() && entry.verb != "watch";
        let all = requests.iter().filter(ours).count();
        let writes = requests.iter().filter(ours).filter(|entry| {
            entry.is_write() && entry.group != towline::api::GROUP && entry.resource != "events"
        });
        (all, writes.count())
    }

    /// Text for a failed step: the conditions of both resources, and the end of the operator's log.
    pub async fn state(&self) -> String {
        let mut text = String::new();
        if let Ok(repository) = self.repositories().get(NAME).await {
            let status = repository.status.unwrap_or_default();
            text += &conditions("GitRepository", &status.conditions);
        }
        if let Ok(sync) = self.syncs().get(NAME).await {
            text += &conditions("Sync", &sync.status.unwrap_or_default().conditions);
        }
        text + &self.operator.log_tail()
    }

    /// Commands that a user can try while everything runs, each with its purpose.
    pub fn invitation(&self) -> Vec<(String, String)> {
        let kubeconfig: PathBuf = self.cp.kubeconfig_path();
        let line = |command: String, comment: &str| (command, comment.to_owned());
        let again = line(
            "cargo run --example demo -- --keep --renderers".to_owned(),
            "this demo takes plain manifests only: start it so to try a kustomization or a chart",
        );
        let again = (!self.renders).then_some(again);
        let mut lines = vec![
            line(format!("export KUBECONFIG={}", kubeconfig.display()), ""),
            line(
                format!("alias kubectl={}", self.kubectl.display()),
                "if you have none of your own",
            ),
            line(
                "kubectl get gitrepositories,syncs --watch".to_owned(),
                "see what towline says",
            ),
            line(
                format!("git clone {} && cd {NAME}", self.url),
                "change deploy/frontend.yaml, commit, push: it is live a second later",
            ),
            line(
                "kubectl --namespace shop delete deployment api".to_owned(),
                "and see it come back",
            ),
            line(
                format!("tail -f {}", self.operator.log_path().display()),
                "the operator's log",
            ),
        ];
        lines.extend(again);
        lines
    }
}

/// The folder of kustomize and Helm.
async fn built_renderers(timeline: &Timeline) -> Result<PathBuf, String> {
    let mut building = tokio::task::spawn_blocking(renderers::folder);
    let folder = match tokio::time::timeout(SOON, &mut building).await {
        Ok(folder) => folder,
        Err(_) => {
            timeline.note(
                "The first run with renderers builds kustomize and Helm, which takes minutes…",
            );
            building.await
        }
    };
    folder.map(Into::into).map_err(|error| error.to_string())
}

fn conditions(kind: &str, conditions: &[Condition]) -> String {
    let lines = conditions.iter().map(|condition| {
        format!(
            "  {kind} {NAME}: {}={} {}: {}\n",
            condition.type_, condition.status, condition.reason, condition.message
        )
    });
    lines.collect()
}
