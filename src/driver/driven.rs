//! What a kind of resource must offer, so that a driver can be started for each resource of the kind.

use std::fmt::Debug;
use std::sync::Arc;

use kube::Resource;
use kube::core::NamespaceResourceScope;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::Context;

/// A resource that a driver can be started for.
pub trait Driven:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + std::marker::Sync
    + 'static
{
    /// Makes a resource known before any driver starts.
    fn announce(&self, context: &Context);

    /// Makes a resource known that cannot be read: what it has stays its own.
    fn reserve(context: &Context, namespace: &str, name: &str);

    /// All that exist at the start have been announced.
    fn all_announced(context: &Context);

    /// Keeps filled what its driver will need, while another replica leads.
    fn standby(
        context: Arc<Context>,
        object: watch::Receiver<Arc<Self>>,
    ) -> impl Future<Output = ()> + Send;

    /// Runs its driver until the resource is gone.
    fn drive(
        context: Arc<Context>,
        object: watch::Receiver<Arc<Self>>,
    ) -> impl Future<Output = ()> + Send;

    /// Forgets a resource that is gone.
    fn forget(context: &Context, namespace: &str, name: &str);

    /// Throws away what only resources other than these needed.
    fn tidy(context: &Arc<Context>, left: Vec<Arc<Self>>);
}
