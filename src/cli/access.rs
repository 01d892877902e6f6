//! How a command reaches its cluster, and what it says when it cannot.

use std::fmt::Debug;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams, ObjectList, ObjectMeta, Patch, PatchParams, Request};
use kube::client::Body;
use kube::config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::{NamespaceResourceScope, Status};
use kube::{Client, Config, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{Abridged, GROUP};
use crate::chain::refusal;
use crate::cluster::{ServedKind, Viewer, date_of};
use crate::config::ClusterArgs;
use crate::leader;
use crate::metrics::Metrics;
use crate::text::{redact, redact_url};

/// The field manager of what a person writes with this program. It differs from the operator's.
pub(super) const CLI_MANAGER: &str = "towline-cli";

/// Why a cluster does not do what a command asks.
#[derive(Debug, thiserror::Error)]
pub(super) enum AccessError {
    /// No cluster is configured.
    #[error(
        "no cluster is configured: set KUBECONFIG, name a file by --kubeconfig, or run this in a pod"
    )]
    NoCluster(#[source] InferConfigError),
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used")]
    Kubeconfig(#[source] KubeconfigError),
    /// The kubeconfig is not YAML. The cause would quote its lines, and they hold credentials.
    #[error("the kubeconfig is not valid YAML")]
    NotYaml,
    /// A client cannot be made of the kubeconfig.
    #[error("the credentials of the kubeconfig cannot be used")]
    Credentials(#[source] kube::Error),
    /// The cluster does not answer.
    #[error("the cluster at {url} cannot be reached")]
    Unreachable {
        /// Its address.
        url: String,
        /// What happened.
        #[source]
        source: kube::Error,
    },
    /// The cluster does not know who asks.
    #[error("the cluster at {url} does not accept the credentials of the kubeconfig")]
    Unauthorized {
        /// Its address.
        url: String,
    },
    /// The user may not do it.
    #[error("you have no right to {doing}: {message}")]
    Forbidden {
        /// Verb, resource and namespace.
        doing: String,
        /// The API server's words, which name the user.
        message: String,
    },
    /// The cluster does not serve towline's kinds.
    #[error(
        "the cluster at {url} does not serve {resource}: towline is not installed there. Install it \
         (kubectl apply --server-side -f crds/ -f deploy/), or choose another cluster by --context"
    )]
    NoDefinitions {
        /// Its address.
        url: String,
        /// The resource that is not served.
        resource: String,
    },
    /// The object does not exist.
    #[error("{what} does not exist{place}")]
    Missing {
        /// Kind and name.
        what: String,
        /// ` in namespace NAME`, if it would be in one.
        place: String,
    },
    /// There is no Sync to wait for.
    #[error(
        "there is no Sync{place}: create one, or name its namespace by --namespace, or all by --all-namespaces"
    )]
    NoSync {
        /// ` in namespace NAME`, if only one was looked at.
        place: String,
    },
    /// The API server refuses it for another reason.
    #[error("the API server refuses to {doing}: {message}")]
    Refused {
        /// Verb, resource and namespace.
        doing: String,
        /// Its words.
        message: String,
    },
}

/// A cluster, and the namespace that a command is about.
pub(super) struct Access {
    pub(super) client: Client,
    pub(super) namespace: String,
    /// The address of the API server, for messages.
    url: String,
}

/// A kind of object in namespaces.
pub(super) trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug
{
}

impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + Debug
{
}

impl Access {
    /// Finds the cluster as kubectl does.
    ///
    /// # Errors
    /// [`AccessError`]: none is configured, or the kubeconfig cannot be used.
    pub(super) async fn open(args: &ClusterArgs) -> Result<Self, AccessError> {
        let config = config(args).await?;
        let url = redact_url(&config.cluster_url.to_string());
        let namespace = args.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let clients = leader::clients(&config, None, &Metrics::default());
        Ok(Self {
            client: clients.map_err(AccessError::Credentials)?.requests,
            namespace,
            url: url.trim_end_matches('/').to_owned(),
        })
    }

    /// The same cluster, in another namespace.
    pub(super) fn at(&self, namespace: &str) -> Self {
        Self {
            client: self.client.clone(),
            namespace: namespace.to_owned(),
            url: self.url.clone(),
        }
    }

    /// What time it is by the API server's clock, where that says it.
    pub(super) async fn server_time(&self) -> Option<Timestamp> {
        let request = http::Request::get("/version").body(Body::empty()).ok()?;
        let answer = self.client.send(request).await.ok()?;
        date_of(answer.headers())
    }

    /// The kinds that the cluster serves, and their objects.
    pub(super) async fn viewer(&self) -> Result<Viewer, AccessError> {
        let doing = Doing::url("/apis");
        let viewer = Viewer::new(self.client.clone()).await;
        viewer.map_err(|error| self.explain(error, &doing))
    }

    /// Objects of a kind in the command's namespace.
    pub(super) fn api<K: Namespaced>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// All objects of a kind in one request, as the API server has them in memory. Of all namespaces, or of the
    /// command's.
    pub(super) async fn list<K: Namespaced>(
        &self,
        everywhere: bool,
    ) -> Result<Vec<K>, AccessError> {
        self.list_as::<K, K>(everywhere).await
    }

    /// The same, as far as a table shows them.
    pub(super) async fn list_briefly<K: Namespaced + Abridged>(
        &self,
        everywhere: bool,
    ) -> Result<Vec<K>, AccessError> {
        let briefs = self.list_as::<K, K::Brief>(everywhere).await?;
        Ok(briefs.into_iter().map(Into::into).collect())
    }

    async fn list_as<K: Namespaced, T: DeserializeOwned + Clone>(
        &self,
        everywhere: bool,
    ) -> Result<Vec<T>, AccessError> {
        let place = (!everywhere).then_some(&*self.namespace);
        let explain = |error| self.explain(error, &Doing::new::<K>("list", place));
        let request =
            Request::new(K::url_path(&(), place)).list(&ListParams::default().match_any());
        let request = request.map_err(|error| explain(kube::Error::BuildRequest(error)))?;
        let listed = self.client.request::<ObjectList<T>>(request).await;
        listed.map(|list| list.items).map_err(explain)
    }

    /// One object.
    ///
    /// # Errors
    /// [`AccessError::Missing`], among others.
    pub(super) async fn get<K: Namespaced>(&self, name: &str) -> Result<K, AccessError> {
        let doing = Doing::new::<K>("get", Some(&self.namespace)).of(name);
        let got = self.api::<K>().get(name).await;
        got.map_err(|error| self.explain(error, &doing))
    }

    /// The same; none where there is no such object.
    pub(super) async fn find<K: Namespaced>(&self, name: &str) -> Result<Option<K>, AccessError> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(AccessError::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Changes fields of one object by a merge patch.
    pub(super) async fn patch<K: Namespaced>(
        &self,
        name: &str,
        patch: &Value,
    ) -> Result<K, AccessError> {
        let doing = Doing::new::<K>("patch", Some(&self.namespace)).of(name);
        let params = PatchParams {
            field_manager: Some(CLI_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.api::<K>();
        let patched = api.patch(name, &params, &Patch::Merge(patch)).await;
        patched.map_err(|error| self.explain(error, &doing))
    }

    /// Whether there is any object of a kind.
    pub(super) async fn has_any<K: Namespaced>(
        &self,
        everywhere: bool,
    ) -> Result<bool, AccessError> {
        let place = (!everywhere).then_some(&*self.namespace);
        let api: Api<K> = match everywhere {
            true => Api::all(self.client.clone()),
            false => self.api(),
        };
        let listed = api.list_metadata(&ListParams::default().limit(1)).await;
        let explain = |error| self.explain(error, &Doing::new::<K>("list", place));
        listed.map(|list| !list.items.is_empty()).map_err(explain)
    }

    /// That an object does not exist.
    pub(super) fn missing(&self, what: impl std::fmt::Display, everywhere: bool) -> AccessError {
        AccessError::Missing {
            what: what.to_string(),
            place: match everywhere {
                true => String::new(),
                false => format!(" in namespace {}", self.namespace),
            },
        }
    }

    /// Refuses a namespace that does not exist, as far as the user may know: of such a one, every list is empty.
    ///
    /// # Errors
    /// [`AccessError::Missing`].
    pub(super) async fn expect_namespace(&self) -> Result<(), AccessError> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        match api.get_metadata(&self.namespace).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Err(AccessError::Missing {
                what: format!("namespace {}", self.namespace),
                place: String::new(),
            }),
            _ => Ok(()),
        }
    }

    /// What an error of the client means for the user.
    pub(super) fn explain(&self, error: kube::Error, doing: &Doing) -> AccessError {
        let url = self.url.clone();
        let status = match error {
            kube::Error::Api(status) => status,
            // What is wrong with the answer may quote it.
            kube::Error::SerdeError(_) => {
                return AccessError::Refused {
                    doing: doing.to_string(),
                    message: "its answer cannot be read".to_owned(),
                };
            }
            source => return AccessError::Unreachable { url, source },
        };
        let message = redact(&refusal(&status));
        match status.code {
            401 => AccessError::Unauthorized { url },
            403 => AccessError::Forbidden {
                doing: doing.to_string(),
                message,
            },
            404 if is_unserved(&status) => AccessError::NoDefinitions {
                url,
                resource: doing.resource.clone(),
            },
            404 if status.message.starts_with("namespaces \"") => AccessError::Missing {
                what: format!(
                    "namespace {}",
                    doing.namespace.as_deref().unwrap_or_default()
                ),
                place: String::new(),
            },
            404 => AccessError::Missing {
                what: doing.what(),
                place: match &doing.namespace {
                    Some(namespace) => format!(" in namespace {namespace}"),
                    None => String::new(),
                },
            },
            _ => AccessError::Refused {
                doing: doing.to_string(),
                message,
            },
        }
    }
}

/// Whether the whole resource is unknown, and not one object of it.
fn is_unserved(status: &Status) -> bool {
    ["page not found", "could not find the requested resource"]
        .iter()
        .any(|words| status.message.contains(words))
}

/// What a request does, for messages.
#[derive(Clone, Debug)]
pub(super) struct Doing {
    verb: &'static str,
    /// `syncs.towline.dev`
    resource: String,
    kind: String,
    namespace: Option<String>,
    name: Option<String>,
}

impl Doing {
    /// A request on a kind, in a namespace or in all.
    pub(super) fn new<K: Resource<DynamicType = ()>>(
        verb: &'static str,
        namespace: Option<&str>,
    ) -> Self {
        let (plural, group) = (K::plural(&()), K::group(&()));
        Self {
            verb,
            resource: match group.is_empty() {
                true => plural.into_owned(),
                false => format!("{plural}.{group}"),
            },
            kind: K::kind(&()).into_owned(),
            namespace: namespace.map(str::to_owned),
            name: None,
        }
    }

    /// A request on a kind that the cluster serves.
    pub(super) fn on(served: &ServedKind, verb: &'static str, namespace: Option<&str>) -> Self {
        Self {
            verb,
            resource: served.definition().trim_end_matches('.').to_owned(),
            kind: served.group_kind().to_string(),
            namespace: namespace.filter(|_| served.namespaced).map(str::to_owned),
            name: None,
        }
    }

    /// A read of something that is no resource.
    pub(super) fn url(path: &str) -> Self {
        Self {
            verb: "get",
            resource: path.to_owned(),
            kind: path.to_owned(),
            namespace: None,
            name: None,
        }
    }

    /// The same for one object.
    pub(super) fn of(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    fn what(&self) -> String {
        let name = self.name.as_deref().unwrap_or_default();
        format!("{} {name}", self.kind).trim_end().to_owned()
    }
}

impl std::fmt::Display for Doing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

async fn config(args: &ClusterArgs) -> Result<Config, AccessError> {
    let options = KubeConfigOptions {
        context: args.context.clone(),
        ..KubeConfigOptions::default()
    };
    let is_named = args.context.is_some() || std::env::var_os("KUBECONFIG").is_some();
    let config = match &args.kubeconfig {
        Some(path) => match Kubeconfig::read_from(path) {
            Ok(file) => Config::from_custom_kubeconfig(file, &options).await,
            Err(error) => Err(error),
        },
        // Elsewhere a pod's account stands in for a kubeconfig that is broken; that would be another cluster.
        None if is_named => Config::from_kubeconfig(&options).await,
        None => return Config::infer().await.map_err(AccessError::NoCluster),
    };
    config.map_err(|error| match error {
        KubeconfigError::Parse(_) => AccessError::NotYaml,
        other => AccessError::Kubeconfig(other),
    })
}

/// An object as JSON, without what only the API server needs, and without nulls.
pub(super) fn plain<K: Serialize + Resource>(mut object: K) -> Value {
    let meta: &mut ObjectMeta = object.meta_mut();
    meta.managed_fields = None;
    // Types of this program can be written as JSON.
    let mut value = serde_json::to_value(object).unwrap_or_default();
    crate::manifest::without_nulls(&mut value);
    value
}

/// The kind of an object as kubectl names it: `sync.towline.dev`.
pub(super) fn kind_name<K: Resource<DynamicType = ()>>() -> String {
    format!("{}.{GROUP}", K::kind(&()).to_lowercase())
}
