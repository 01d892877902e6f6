//! A Kubernetes control plane on the loopback interface.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};

use super::{
    audit::{AuditLog, Entry, Mark, POLICY},
    binaries,
    components::{CERTIFICATE, Ports, kubeconfig_file},
    kubeconfig::{Access, User, client, token_file},
    nodes,
    process::{Lifetime, Process},
    scratch::Scratch,
    secret,
    wait::{eventually, within},
};

pub use super::components::Component;

/// How long a program may take to become ready. On an idle machine with two cores it takes three seconds.
const READY: Duration = Duration::from_secs(90);

/// How often a start is tried again when another process took a port after we picked it.
const ATTEMPTS: usize = 5;

/// What to start beside etcd and the API server.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The controller manager: garbage collection, namespaces, Deployments.
    pub controllers: bool,
    /// The number of simulated nodes. If it is not 0, the scheduler and kwok run too.
    pub nodes: u32,
    /// Write an audit log: [`ControlPlane::audit`].
    pub audit: bool,
    /// Whether the programs end when this process ends.
    pub lifetime: Lifetime,
    /// More flags for the API server.
    pub api_server_args: Vec<String>,
}

impl Options {
    fn components(&self) -> Vec<Component> {
        let mut components = vec![Component::Etcd, Component::ApiServer];
        if self.controllers {
            components.push(Component::ControllerManager);
        }
        if self.nodes > 0 {
            components.extend([Component::Scheduler, Component::Kwok]);
        }
        components
    }
}

/// A running control plane. It ends on drop, unless its lifetime is [`Lifetime::Kept`].
#[derive(Debug)]
pub struct ControlPlane {
    options: Options,
    ports: Ports,
    access: Access,
    // Before the folder, so that a drop ends the programs before it removes their data.
    processes: BTreeMap<Component, Process>,
    scratch: Scratch,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready. Panics with the end of the failed program's
    /// log.
    pub async fn start(options: Options) -> Self {
        Self::try_start(options)
            .await
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// Like [`Self::start`], but returns the error, for programs that show it to a person.
    pub async fn try_start(options: Options) -> Result<Self, String> {
        let mut reason = String::new();
        for _ in 0..ATTEMPTS {
            let mut control_plane = Self::lay_out(options.clone())
                .await
                .map_err(|error| format!("prepare the control plane: {error}"))?;
            match control_plane.boot().await {
                Ok(()) => return Ok(control_plane),
                Err(error) => reason = error,
            }
            // Even if the lifetime is `Kept`: an incomplete control plane is of no use.
            control_plane.processes.values_mut().for_each(Process::kill);
            if !reason.contains("address already in use") {
                break;
            }
        }
        Err(reason)
    }

    /// Picks ports, and writes every file that the programs read.
    async fn lay_out(options: Options) -> io::Result<Self> {
        let mut scratch = Scratch::new()?;
        if options.lifetime == Lifetime::Kept {
            scratch.keep();
        }
        let folder = scratch.path();
        let ports = Ports::pick();
        let access = Access {
            url: format!("https://127.0.0.1:{}", ports.api_server),
            certificate: folder.join(CERTIFICATE).display().to_string(),
            secret: secret::token::<16>(),
        };
        fs::write(folder.join("tokens.csv"), token_file(&access.secret))?;
        let (private_key, public_key) = secret::signing_keys();
        fs::write(folder.join("service-account.key"), private_key)?;
        fs::write(folder.join("service-account.pub"), public_key)?;
        fs::write(folder.join("audit-policy.yaml"), POLICY)?;
        for user in User::ALL {
            access.write(&folder.join(kubeconfig_file(user)), user, None)?;
        }
        if options.nodes > 0 {
            let stages = Command::new(binaries::program("kwok-stages").await?).output()?;
            fs::write(folder.join("stages.yaml"), stages.stdout)?;
        }
        Ok(Self {
            options,
            ports,
            access,
            processes: BTreeMap::new(),
            scratch,
        })
    }

    async fn boot(&mut self) -> Result<(), String> {
        let (storage, rest) = (
            &self.options.components()[..2],
            &self.options.components()[2..],
        );
        for component in storage {
            self.spawn(*component).await?;
        }
        self.ready().await?;
        for component in rest {
            self.spawn(*component).await?;
        }
        if self.options.nodes > 0 {
            nodes::create(&self.client().await, self.options.nodes).await?;
        }
        self.wait_for_controllers().await
    }

    async fn spawn(&mut self, component: Component) -> Result<(), String> {
        let name = component.program();
        let failed = |error| format!("start {name}: {error}");
        let program = binaries::program(name).await.map_err(failed)?;
        let folder = self.folder();
        let mut args = component.args(folder, &self.ports, self.options.audit);
        if component == Component::ApiServer {
            args.extend(self.options.api_server_args.iter().cloned());
        }
        let log = folder.join(format!("{name}.log"));
        let process = Process::spawn(name, &program, args, &[], &log, self.options.lifetime)
            .map_err(failed)?;
        self.processes.insert(component, process);
        Ok(())
    }

    /// Waits until the API server says that it is ready.
    async fn ready(&mut self) -> Result<(), String> {
        let certificate = self.folder().join(CERTIFICATE);
        let admin = self.kubeconfig_path();
        self.wait_for(Component::ApiServer, async || {
            // The certificate, followed by its issuer's. The file may be half written.
            let text = fs::read_to_string(&certificate).unwrap_or_default();
            if text.matches("END CERTIFICATE").count() < 2 {
                return Err("it has no certificate yet".to_owned());
            }
            let request = client(&admin).await.request_text(get("/readyz")).await;
            request.map(drop).map_err(|error| error.to_string())
        })
        .await
    }

    /// Waits until the controllers and the nodes have done their first work.
    async fn wait_for_controllers(&mut self) -> Result<(), String> {
        let client = self.client().await;
        if self.options.controllers {
            let accounts = Api::<ServiceAccount>::namespaced(client.clone(), "default");
            self.wait_for(Component::ControllerManager, async || {
                let account = accounts.get("default").await;
                account.map(drop).map_err(|error| error.to_string())
            })
            .await?;
        }
        let count = self.options.nodes;
        if count > 0 {
            self.wait_for(Component::Kwok, async || nodes::ready(&client, count).await)
                .await?;
        }
        Ok(())
    }

    /// Calls `look` until it succeeds. Fails if a program ends before that.
    async fn wait_for(
        &mut self,
        by: Component,
        mut look: impl AsyncFnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        let looked = within(READY, async || match self.check_running() {
            // A program that ended will not become ready.
            Err(ended) => Ok(Err(ended)),
            Ok(()) => look().await.map(Ok),
        });
        match looked.await {
            Ok(result) => result,
            Err(last) => {
                let (name, log) = (by.program(), self.processes[&by].log_tail());
                Err(format!("{name} is not ready: {last}\n{log}"))
            }
        }
    }

    fn check_running(&mut self) -> Result<(), String> {
        for (component, process) in &mut self.processes {
            if let Some(status) = process.exited() {
                let (name, log) = (component.program(), process.log_tail());
                return Err(format!("{name} ended with {status}\n{log}"));
            }
        }
        Ok(())
    }

    /// Sends SIGKILL to one program. Its data stay.
    pub fn kill(&mut self, component: Component) {
        if let Some(mut process) = self.processes.remove(&component) {
            process.kill();
        }
    }

    /// Starts a killed program again with the same data and ports, and waits until all programs are
    /// ready.
    pub async fn restart(&mut self, component: Component) {
        self.kill(component);
        let started = async {
            self.spawn(component).await?;
            if self.processes.contains_key(&Component::ApiServer) {
                self.ready().await?;
            }
            Ok::<_, String>(())
        };
        if let Err(error) = started.await {
            panic!("restart: {error}");
        }
    }

    /// Copies etcd's data, as an administrator's backup does. The control plane is down meanwhile.
    pub async fn back_up(&mut self) {
        self.kill(Component::ApiServer);
        self.kill(Component::Etcd);
        let (data, backup) = (self.folder().join("etcd"), self.folder().join("backup"));
        copy(&data, &backup).expect("copy etcd's data");
        self.restart(Component::Etcd).await;
        self.restart(Component::ApiServer).await;
    }

    /// Replaces etcd's data by the backup. Resource versions are then lower than before.
    pub async fn restore(&mut self) {
        self.kill(Component::ApiServer);
        self.kill(Component::Etcd);
        let (data, backup) = (self.folder().join("etcd"), self.folder().join("backup"));
        fs::remove_dir_all(&data).expect("remove etcd's data");
        copy(&backup, &data).expect("restore etcd's data");
        self.restart(Component::Etcd).await;
        self.restart(Component::ApiServer).await;
    }

    /// The folder of its data, logs and kubeconfigs.
    pub fn folder(&self) -> &Path {
        self.scratch.path()
    }

    /// `https://127.0.0.1:PORT`
    pub fn url(&self) -> &str {
        &self.access.url
    }

    /// The process ids, for measurements and for a message about what was left running.
    pub fn pids(&self) -> BTreeMap<Component, u32> {
        let pid = |(component, process): (&Component, &Process)| (*component, process.pid());
        self.processes.iter().map(pid).collect()
    }

    pub fn log(&self, component: Component) -> PathBuf {
        self.folder().join(format!("{}.log", component.program()))
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.kubeconfig_for(User::Admin)
    }

    pub fn kubeconfig_for(&self, user: User) -> PathBuf {
        self.folder().join(kubeconfig_file(user))
    }

    /// A kubeconfig that impersonates a user, who has only the rights that RBAC gives.
    pub fn kubeconfig_as(&self, user: &str, groups: &[&str]) -> PathBuf {
        let path = self
            .folder()
            .join(format!("as-{}.kubeconfig", secret::token::<8>()));
        self.access
            .write(&path, User::Admin, Some((user, groups)))
            .expect("write a kubeconfig");
        path
    }

    /// A kubeconfig with a token, such as that of a ServiceAccount.
    pub fn kubeconfig_with(&self, token: &str) -> PathBuf {
        let path = self
            .folder()
            .join(format!("with-{}.kubeconfig", secret::token::<8>()));
        let config = self.access.kubeconfig_with(token);
        fs::write(&path, config.to_string()).expect("write a kubeconfig");
        path
    }

    /// The administrator's client. Every call makes a new one: a client belongs to the runtime that made
    /// it, and every test has its own runtime.
    pub async fn client(&self) -> Client {
        self.client_for(User::Admin).await
    }

    pub async fn client_for(&self, user: User) -> Client {
        client(&self.kubeconfig_for(user)).await
    }

    /// Creates a namespace whose name begins with `prefix`.
    pub async fn namespace(&self, prefix: &str) -> String {
        let client = self.client().await;
        let name = format!("{prefix}-{}", secret::token::<3>());
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await
            .expect("create a namespace");
        if self.options.controllers {
            // The API server refuses pods until it exists, and controllers retry with a growing delay.
            eventually("the namespace's service account", READY, async || {
                Api::<ServiceAccount>::namespaced(client.clone(), &name)
                    .get("default")
                    .await
            })
            .await;
        }
        name
    }

    /// The audit log; empty unless the options asked for one.
    pub fn audit(&self) -> AuditLog {
        AuditLog::new(&self.folder().join("audit.log"))
    }

    /// All requests answered between `mark` and now, without the request that this function sends to mark
    /// the end.
    pub async fn audit_since(&self, mark: Mark) -> Vec<Entry> {
        assert!(self.options.audit, "ask for an audit log in the options");
        let uri = format!("/version?{}", secret::token::<8>());
        let request = get(&uri);
        self.client()
            .await
            .request_text(request)
            .await
            .expect("ask for the version");
        eventually("the last request in the audit log", READY, async || {
            let mut entries = self.audit().since(mark);
            let place = entries.iter().position(|entry| entry.uri == uri)?;
            entries.remove(place);
            Some(entries)
        })
        .await
    }
}

fn get(uri: &str) -> axum::http::Request<Vec<u8>> {
    axum::http::Request::get(uri)
        .body(Vec::new())
        .expect("a request")
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()?.is_dir() {
            true => copy(&from, &to)?,
            false => drop(fs::copy(&from, &to)?),
        }
    }
    Ok(())
}
