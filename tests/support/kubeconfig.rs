//! The users of a control plane, and their kubeconfigs.

use std::{fs, io, path::Path};

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

/// A user of the control plane. Each user has its own token, so that the audit log can name the user. All
/// users are in `system:masters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// The tests and the harness itself.
    Admin,
    /// The operator.
    Towline,
    /// A second operator beside the first.
    Replica,
    /// A person who edits the cluster without the operator's knowledge.
    Person,
    /// The programs of the control plane.
    ControllerManager,
    Scheduler,
    Kwok,
}

impl User {
    pub const ALL: [Self; 7] = [
        Self::Admin,
        Self::Towline,
        Self::Replica,
        Self::Person,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kwok,
    ];

    /// The user's name in audit entries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Towline => "towline",
            Self::Replica => "towline-replica",
            Self::Person => "person",
            Self::ControllerManager => "controller-manager",
            Self::Scheduler => "scheduler",
            Self::Kwok => "kwok",
        }
    }

    fn token(self, secret: &str) -> String {
        format!("{}-{secret}", self.name())
    }
}

/// The API server's token file for all users.
pub fn token_file(secret: &str) -> String {
    User::ALL
        .into_iter()
        .map(|user| {
            let name = user.name();
            format!("{},{name},{name},system:masters\n", user.token(secret))
        })
        .collect()
}

/// How to reach an API server.
#[derive(Clone, Debug)]
pub struct Access {
    /// `https://127.0.0.1:PORT`
    pub url: String,
    /// The server's own certificate, which is what a client trusts.
    pub certificate: String,
    pub secret: String,
}

impl Access {
    /// A kubeconfig for `user`. With `act_as`, every request impersonates that user and those groups, for
    /// tests of what RBAC allows.
    pub fn kubeconfig(&self, user: User, act_as: Option<(&str, &[&str])>) -> serde_json::Value {
        let mut credentials = json!({ "token": user.token(&self.secret) });
        if let Some((name, groups)) = act_as {
            credentials["as"] = json!(name);
            credentials["as-groups"] = json!(groups);
        }
        self.kubeconfig_of(user.name(), &credentials)
    }

    /// A kubeconfig with a token.
    pub fn kubeconfig_with(&self, token: &str) -> serde_json::Value {
        self.kubeconfig_of("bearer", &json!({ "token": token }))
    }

    fn kubeconfig_of(&self, name: &str, credentials: &serde_json::Value) -> serde_json::Value {
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "local", "cluster": {
                "server": self.url,
                "certificate-authority": self.certificate,
            }}],
            "users": [{ "name": name, "user": credentials }],
            "contexts": [{ "name": "local", "context": { "cluster": "local", "user": name } }],
            "current-context": "local",
        })
    }

    pub fn write(
        &self,
        path: &Path,
        user: User,
        act_as: Option<(&str, &[&str])>,
    ) -> io::Result<()> {
        fs::write(path, format!("{:#}\n", self.kubeconfig(user, act_as)))
    }
}

/// A client that returns every error of the server: it does not retry.
pub async fn client(kubeconfig: &Path) -> Client {
    let file = Kubeconfig::read_from(kubeconfig).expect("read our own kubeconfig");
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
        .await
        .expect("understand our own kubeconfig");
    config.default_retry = false;
    Client::try_from(config).expect("make a client")
}
