//! The programs of a control plane, and the arguments of each.

use std::path::Path;

use super::{kubeconfig::User, ports};

/// One program of the control plane, in the order in which they start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    Etcd,
    ApiServer,
    ControllerManager,
    Scheduler,
    /// Simulates nodes: marks pods as running and ready without starting them.
    Kwok,
}

impl Component {
    pub fn program(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }

    /// Its arguments. They name files that a start has written to `folder`.
    pub fn args(self, folder: &Path, ports: &Ports, audit: bool) -> Vec<String> {
        let path = |name: &str| folder.join(name).display().to_string();
        let flag = |name: &str, value: String| format!("--{name}={value}");
        let kubeconfig = |user: User| flag("kubeconfig", path(&kubeconfig_file(user)));
        match self {
            Self::Etcd => {
                let client = format!("http://127.0.0.1:{}", ports.etcd);
                let peer = format!("http://127.0.0.1:{}", ports.etcd_peer);
                vec![
                    flag("data-dir", path("etcd")),
                    flag("listen-client-urls", client.clone()),
                    flag("advertise-client-urls", client),
                    flag("listen-peer-urls", peer.clone()),
                    flag("initial-advertise-peer-urls", peer.clone()),
                    flag("initial-cluster", format!("default={peer}")),
                    // The data must survive a kill of the program, but not a crash of the machine.
                    "--unsafe-no-fsync".to_owned(),
                    "--log-level=warn".to_owned(),
                ]
            }
            Self::ApiServer => {
                let mut args = vec![
                    flag("etcd-servers", format!("http://127.0.0.1:{}", ports.etcd)),
                    "--bind-address=127.0.0.1".to_owned(),
                    "--advertise-address=127.0.0.1".to_owned(),
                    // The API server would write its address into endpoints, where a loopback address is
                    // not allowed.
                    "--endpoint-reconciler-type=none".to_owned(),
                    flag("secure-port", ports.api_server.to_string()),
                    flag("cert-dir", path("certificates")),
                    "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                    flag("service-account-key-file", path("service-account.pub")),
                    flag(
                        "service-account-signing-key-file",
                        path("service-account.key"),
                    ),
                    "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                    flag("token-auth-file", path("tokens.csv")),
                    "--authorization-mode=RBAC".to_owned(),
                ];
                if audit {
                    args.push(flag("audit-policy-file", path("audit-policy.yaml")));
                    args.push(flag("audit-log-path", path("audit.log")));
                    // The log stays in one file, because a mark is a position in that file.
                    args.push("--audit-log-maxsize=10000".to_owned());
                }
                args
            }
            Self::ControllerManager => vec![
                kubeconfig(User::ControllerManager),
                flag(
                    "service-account-private-key-file",
                    path("service-account.key"),
                ),
                flag("root-ca-file", path(CERTIFICATE)),
                "--use-service-account-credentials".to_owned(),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                // A node must not be taken for dead when kwok is slow on a busy machine: no kubelet would
                // make its pods ready again.
                "--node-monitor-grace-period=1h".to_owned(),
                // The default of 20 requests a second would limit what a benchmark measures.
                "--kube-api-qps=1000".to_owned(),
                "--kube-api-burst=2000".to_owned(),
            ],
            Self::Scheduler => vec![
                kubeconfig(User::Scheduler),
                "--leader-elect=false".to_owned(),
                "--secure-port=0".to_owned(),
                "--kube-api-qps=1000".to_owned(),
                "--kube-api-burst=2000".to_owned(),
            ],
            Self::Kwok => vec![
                kubeconfig(User::Kwok),
                flag("config", path("stages.yaml")),
                "--manage-all-nodes=true".to_owned(),
                "--node-port=0".to_owned(),
            ],
        }
    }
}

/// The API server's self-signed certificate, inside a control plane's folder.
pub const CERTIFICATE: &str = "certificates/apiserver.crt";

/// The file name of a user's kubeconfig inside a control plane's folder.
pub fn kubeconfig_file(user: User) -> String {
    format!("{}.kubeconfig", user.name())
}

/// The ports of the programs that others connect to. The other programs do not listen.
#[derive(Clone, Debug)]
pub struct Ports {
    pub etcd: u16,
    pub etcd_peer: u16,
    pub api_server: u16,
}

impl Ports {
    pub fn pick() -> Self {
        Self {
            etcd: ports::free(),
            etcd_peer: ports::free(),
            api_server: ports::free(),
        }
    }
}
