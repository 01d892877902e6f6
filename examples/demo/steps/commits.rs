//! Wrong commits, and commits that undo others.

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use serde_json::{Value, json};
use std::time::Instant;

use super::Scene;
use crate::{object_watch::ObjectWatch, timeline::short_ids};

/// A second definition of an object that deploy/worker.yaml defines.
const DUPLICATE: &str = "---
apiVersion: v1
kind: ConfigMap
metadata:
  name: worker
  namespace: shop
data:
  queue: returns
";

impl Scene<'_> {
    /// Two wrong commits that must not change the shop.
    pub(super) async fn bad_commits(self) -> Result<(), String> {
        let (clone, timeline) = (&self.stage.clone, self.timeline);
        timeline.step("6  Bad commits");
        let (old, new) = ("  replicas: 2\n", " replicas: 20\n");
        clone.replace("deploy/api.yaml", old, new)?;
        let commit = clone.commit("Scale the API")?;
        timeline.block(&format!("-{old}+{}", new));
        timeline.command("git commit -am 'Scale the API' && git push      # one space too few");
        self.refused(&commit).await?;

        clone.replace("deploy/api.yaml", new, old)?;
        clone.append("deploy/api.yaml", DUPLICATE)?;
        let commit = clone.commit("A queue for returns")?;
        timeline.command("git commit -am 'A queue for returns' && git push      # worker: twice");
        self.refused(&commit).await
    }

    /// Pushes a wrong commit, which must not change live objects.
    async fn refused(self, commit: &str) -> Result<(), String> {
        let mark = self.stage.mark();
        let before = self.substance().await?;
        let refused = self.push_bad(commit).await?;
        let text = format!("refused: Ready=False, {}", refused.reason);
        self.timeline.done(refused.after, &text);
        self.timeline.note(&short_ids(&refused.message));

        let since = Instant::now();
        let after = self.substance().await?;
        let (_, writes) = self.stage.requests_since(mark).await;
        if let Some(changed) = before.iter().find(|object| !after.contains(object)) {
            return Err(format!("a bad commit changed {changed}"));
        }
        if writes > 0 || after.len() != before.len() {
            return Err(format!("a bad commit led to {writes} writes"));
        }
        let text = format!(
            "all {} live objects are what they were, 0 writes",
            after.len()
        );
        self.timeline.done(since.elapsed(), &text);
        Ok(())
    }

    /// The live objects without the fields that controllers and the API server change.
    async fn substance(self) -> Result<Vec<Value>, String> {
        let mut objects = self.live_objects().await?;
        for object in &mut objects {
            object["status"] = json!(null);
            for field in ["managedFields", "resourceVersion"] {
                object["metadata"][field] = json!(null);
            }
        }
        Ok(objects)
    }

    /// Reverts the wrong commits, then the sale.
    pub(super) async fn revert(self) -> Result<(), String> {
        let (stage, timeline) = (self.stage, self.timeline);
        timeline.step("7  Reverting, and removing");
        stage
            .clone
            .git(&["revert", "--no-edit", "HEAD", "HEAD~1"])?;
        timeline.command("git revert HEAD HEAD~1 && git push      # the bad commits");
        let mark = stage.mark();
        let applied = self.push(&stage.clone.head()?).await?;
        let (_, writes) = stage.requests_since(mark).await;
        if writes > 0 {
            return Err(format!(
                "{writes} writes for a tree that was applied before"
            ));
        }
        let text = "Ready again; this tree was applied before, so there was nothing to write";
        timeline.done(applied.healthy, text);

        stage.clone.git(&["revert", "--no-edit", "HEAD~4"])?;
        timeline.command("git revert HEAD~4 && git push      # the sale is over");
        let applied = self.push(&stage.clone.head()?).await?;
        self.expect_banner("Welcome to the shop").await?;
        self.live(&applied, "the old line is live");
        Ok(())
    }

    /// Objects that are deleted in Git are deleted in the cluster.
    pub(super) async fn prune(self) -> Result<(), String> {
        let (stage, timeline) = (self.stage, self.timeline);
        let doomed = ["deploy/worker.yaml", "deploy/batch"];
        let kinds = [&["grep", "-h", "^kind:", "--"], &doomed[..]].concat();
        let removed = super::Kinds::of(&stage.clone.git(&kinds)?);
        stage
            .clone
            .git(&[&["rm", "-r", "--quiet"], &doomed[..]].concat())?;
        let commit = stage.clone.commit("No more batch work")?;
        timeline.command("git rm -r deploy/worker.yaml deploy/batch && git commit … && git push");

        let deployments: Api<Deployment> = Api::namespaced(stage.client.clone(), "shop");
        let mut worker = ObjectWatch::on(&deployments, "worker").await?;
        let what = "the Deployment worker is there before it is pruned";
        worker
            .until(what, self.patience, |worker| worker.map(drop))
            .await?;
        let gone = worker.until("the Deployment worker is pruned", self.patience, |worker| {
            worker.is_none().then_some(())
        });
        let (applied, _) = tokio::try_join!(self.push(&commit), gone)?;
        timeline.note(&removed.to_string());
        let text = format!("{} objects pruned", removed.objects);
        self.live(&applied, &text);

        // A Namespace is gone only after all its objects are.
        let since = Instant::now();
        let namespace = [
            "wait",
            "--for=delete",
            "namespace/shop-batch",
            "--timeout=60s",
        ];
        stage.kubectl(&namespace).await?;
        let text = "the Namespace shop-batch and all in it are gone";
        timeline.done(since.elapsed(), text);
        Ok(())
    }
}
