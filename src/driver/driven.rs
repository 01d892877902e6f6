//! The interface of a kind of resource whose resources each get a driver.

use std::fmt::Debug;
use std::sync::Arc;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::Context;

/// A resource that has a driver.
pub trait Driven:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + std::marker::Sync
    + 'static
{
    /// Publishes a resource before any driver starts.
    fn announce(&self, context: &Context);

    /// Publishes a resource that cannot be read. The resource keeps its objects.
    fn reserve(context: &Context, namespace: &str, name: &str, uid: &str);

    /// Called when all resources that exist at the start have been announced.
    fn all_announced(context: &Context);

    /// Keeps the caches for its driver filled, while another replica leads.
    fn standby(
        context: Arc<Context>,
        object: watch::Receiver<Arc<Self>>,
    ) -> impl Future<Output = ()> + Send;

    /// Runs its driver until the resource is gone.
    fn drive(
        context: Arc<Context>,
        object: watch::Receiver<Arc<Self>>,
    ) -> impl Future<Output = ()> + Send;

    /// Whether somebody removed labels, annotations or finalizers that the driver has written on the
    /// resource. The driver is then woken, to write them again.
    fn lost_marks(_known: &ObjectMeta, _new: &ObjectMeta) -> bool {
        false
    }

    /// Removes the published state of a resource that is gone.
    fn forget(context: &Context, namespace: &str, name: &str);

    /// Removes cached data that only resources outside `left` needed.
    fn tidy(context: &Arc<Context>, left: Vec<Arc<Self>>);
}
