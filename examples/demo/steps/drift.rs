//! People change the cluster without a commit.

use std::{fmt::Debug, time::Duration};

use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service},
    },
};
use kube::Api;
use serde::de::DeserializeOwned;

use super::{Scene, follow::is_ready};
use crate::{object_watch::ObjectWatch, stage::NAME};

impl Scene<'_> {
    pub(super) async fn drift(self) -> Result<(), String> {
        let timeline = self.timeline;
        timeline.step("5  People edit the cluster behind Git's back");
        timeline.note(
            "Timed by a watch on the object, from the event with the wrong state to the one that \
             puts it right.",
        );

        let edit = ["patch", "configmap", "frontend", "--type=merge"];
        let edit = [&edit[..], &["--patch={\"data\":{\"banner\":\"Closed\"}}"]].concat();
        let took = self
            .healed::<ConfigMap>("frontend", &edit, |map| {
                map?.data
                    .as_ref()?
                    .get("banner")
                    .map(|text| text == "Summer sale")
            })
            .await?;
        timeline.done(took, "ConfigMap frontend says \"Summer sale\" again");

        let scale = ["scale", "deployment", "api", "--replicas=0"];
        let took = self
            .healed::<Deployment>("api", &scale, |deployment| {
                Some(deployment?.spec.as_ref()?.replicas == Some(2))
            })
            .await?;
        timeline.done(took, "Deployment api has 2 replicas again");

        let delete = ["delete", "service", "api"];
        let took = self
            .healed::<Service>("api", &delete, |service| Some(service.is_some()))
            .await?;
        timeline.done(took, "Service api is there again");

        let mut sync = ObjectWatch::on(&self.stage.syncs(), NAME).await?;
        let head = self.stage.clone.head()?;
        let what = "the Sync is ready again";
        sync.until(what, self.patience, |sync| is_ready(sync?, &head))
            .await
            .map(drop)
    }

    /// Runs a person's command. Returns how long the object differed from Git.
    async fn healed<K>(
        self,
        name: &str,
        command: &[&str],
        is_right: impl Fn(Option<&K>) -> Option<bool>,
    ) -> Result<Duration, String>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + 'static,
        K::DynamicType: Default,
    {
        let api: Api<K> = Api::namespaced(self.stage.client.clone(), "shop");
        let mut watch = ObjectWatch::on(&api, name).await?;
        let should = |right: bool| {
            let is_right = &is_right;
            move |object: Option<&K>| (is_right(object) == Some(right)).then_some(())
        };
        let what = format!("{name} is as in Git before the drift");
        watch.until(&what, self.patience, should(true)).await?;

        let quoted = command
            .iter()
            .map(|argument| match argument.split_once('=') {
                Some((flag, value)) if value.contains('"') => format!("{flag}='{value}'"),
                _ => (*argument).to_owned(),
            });
        let quoted: Vec<String> = quoted.collect();
        let typed = format!("kubectl --namespace shop {}", quoted.join(" "));
        self.timeline.command(&typed);
        let args = [&["--namespace=shop"], command].concat();
        let timed = async {
            let what = format!("{name} differs from Git");
            let (wrong, ()) = watch.until(&what, self.patience, should(false)).await?;
            let what = format!("{name} is healed");
            let (right, ()) = watch.until(&what, self.patience, should(true)).await?;
            Ok(right.saturating_duration_since(wrong))
        };
        let (_, took) = tokio::try_join!(self.stage.person(&args), timed)?;
        Ok(took)
    }
}
