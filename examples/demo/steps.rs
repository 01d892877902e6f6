//! The steps of the demo.

mod commits;
mod drift;
mod follow;

use std::time::{Duration, Instant};

use crate::{
    clone::MANIFESTS,
    object_watch::ObjectWatch,
    stage::{NAME, Stage},
    timeline::{Latency, Timeline},
};
use follow::{Applied, is_ready};

/// The values that each step needs.
#[derive(Clone, Copy)]
struct Scene<'a> {
    stage: &'a Stage,
    timeline: &'a Timeline,
    patience: Duration,
}

/// Plays all steps after the first one. Stops at a step that cannot be verified.
pub async fn play(stage: &Stage, timeline: &Timeline, patience: Duration) -> Result<(), String> {
    let scene = Scene {
        stage,
        timeline,
        patience,
    };
    scene.connect().await?;
    scene.first_deployment().await?;
    scene.one_line().await?;
    scene.drift().await?;
    scene.bad_commits().await?;
    scene.revert().await?;
    scene.prune().await?;
    scene.as_the_user_sees_it().await
}

impl Scene<'_> {
    /// Creates the GitRepository.
    async fn connect(self) -> Result<(), String> {
        let Self {
            stage,
            timeline,
            patience,
        } = self;
        timeline.step("2  Tell towline where the desired state is");
        stage.clone.take("README.md")?;
        stage.clone.take("deploy/namespace.yaml")?;
        let commit = stage.clone.commit("An empty shop")?;
        stage.clone.push()?;

        timeline.note("The repository holds one manifest so far. This is all that a user writes:");
        let manifest = format!(
            "apiVersion: towline.dev/v1alpha1\n\
             kind: GitRepository\n\
             metadata:\n\
             \x20 name: {NAME}\n\
             spec:\n\
             \x20 url: {}\n\
             \x20 ref:\n\
             \x20   branch: main\n\
             \x20 interval: 1s        # between two looks; without it, 1m\n\
             \x20 sync:               # what to apply from it, and how\n\
             \x20   path: deploy\n\
             \x20   prune: true       # delete what leaves Git\n\
             \x20   wait: true        # Ready means healthy\n",
            stage.url
        );
        timeline.block(&manifest);
        let file = stage.file("shop.yaml", &manifest)?;
        timeline.command("kubectl apply -f shop.yaml");
        let syncs = stage.syncs();
        let mut sync = ObjectWatch::on(&syncs, NAME).await?;
        stage.kubectl(&["apply", "-f", &file]).await?;
        let since = Instant::now();
        let (at, ()) = sync
            .until("the Sync is ready", patience, |sync| {
                is_ready(sync?, &commit)
            })
            .await?;
        timeline.done(
            at.saturating_duration_since(since),
            "cloned, Sync created, the shop's Namespace applied: Ready",
        );
        Ok(())
    }

    /// The whole shop in one commit.
    async fn first_deployment(self) -> Result<(), String> {
        let Self {
            stage, timeline, ..
        } = self;
        timeline.step("3  A whole shop in one commit");
        stage.clone.take("deploy")?;
        let commit = stage.clone.commit("The shop")?;
        let changed = stage.clone.git(&["diff", "--name-only", "HEAD~1"])?;
        let count = stage.clone.git(&["grep", "-h", "^kind:", "--", "deploy"])?;
        let kinds = Kinds::of(&count);
        timeline.note(&format!("{kinds}"));
        timeline.command(&format!(
            "git commit -m 'The shop' && git push      # {} files",
            changed.lines().count()
        ));
        if kinds.objects < 50 {
            return Err(format!("only {} objects", kinds.objects));
        }
        let applied = self.push(&commit).await?;
        self.live(&applied, &format!("{} objects live", kinds.objects));
        if applied.counts.applied as usize != kinds.objects {
            return Err(format!(
                "{:?} instead of {} objects",
                applied.counts, kinds.objects
            ));
        }

        // Checks with kubectl too, not only by towline's own status.
        let since = Instant::now();
        let found = self.live_objects().await?;
        if found.len() != kinds.objects {
            return Err(format!("kubectl finds {} objects", found.len()));
        }
        let status = stage
            .kubectl(&[
                "rollout",
                "status",
                "deployment/api",
                "--namespace=shop",
                "--watch=false",
            ])
            .await?;
        if !status.contains("successfully rolled out") {
            return Err(format!("the Deployment api is not rolled out: {status}"));
        }
        let text = format!("kubectl finds all {}; {}", found.len(), status.trim());
        timeline.done(since.elapsed(), &text);
        Ok(())
    }

    /// The most frequent case: one line changes.
    async fn one_line(self) -> Result<(), String> {
        let Self {
            stage, timeline, ..
        } = self;
        timeline.step("4  One line changed");
        let (old, new) = ("banner: Welcome to the shop", "banner: Summer sale");
        stage.clone.replace("deploy/frontend.yaml", old, new)?;
        let commit = stage.clone.commit("Announce the sale")?;
        timeline.block(&format!("-  {old}\n+  {new}"));
        timeline.command("git commit -am 'Announce the sale' && git push");
        let mark = stage.mark();
        let applied = self.push(&commit).await?;
        self.expect_banner("Summer sale").await?;
        self.live(&applied, "the new line is live");
        let (all, writes) = stage.requests_since(mark).await;
        if writes != 1 {
            return Err(format!("{writes} writes for one line"));
        }
        timeline.note(&format!(
            "By the API server's audit log, that took {all} requests from towline, and 1 of them wrote \
             to an object of the shop. The time until it is observed is mostly that until the next \
             look at the repository, once a second."
        ));
        Ok(())
    }

    /// Prints what `kubectl get` and `kubectl events` show at the end.
    async fn as_the_user_sees_it(self) -> Result<(), String> {
        let Self {
            stage,
            timeline,
            patience,
        } = self;
        timeline.step("8  What a user sees");
        let head = stage.clone.head()?;
        let mut sync = ObjectWatch::on(&stage.syncs(), NAME).await?;
        let since = Instant::now();
        let what = "the Sync is ready in the end";
        sync.until(what, patience, |sync| is_ready(sync?, &head))
            .await?;
        let took = since.elapsed();
        for kind in ["gitrepositories", "syncs"] {
            timeline.command(&format!("kubectl get {kind}"));
            timeline.table(&stage.kubectl(&["get", kind]).await?);
        }
        let get = [
            "get",
            "events",
            "--field-selector=involvedObject.name=shop",
            "--sort-by=.metadata.resourceVersion",
            "--output=custom-columns=REASON:.reason,MESSAGE:.message",
        ];
        timeline.command(&format!("kubectl {}", get.join(" ")));
        timeline.table(&stage.kubectl(&get).await?);
        timeline.done(took, "the Sync is Ready at the last commit");
        Ok(())
    }

    /// Prints the times of a commit's way into the cluster.
    fn live(self, applied: &Applied, what: &str) {
        let Applied {
            observed,
            applied,
            healthy,
            ..
        } = applied;
        self.timeline.done(
            *healthy,
            &format!(
                "{what}  (push → observed {} → applied {} → healthy {})",
                Latency(*observed),
                Latency(*applied),
                Latency(*healthy)
            ),
        );
    }

    /// The live objects of all the shop's manifests. Fails if one is missing.
    async fn live_objects(self) -> Result<Vec<serde_json::Value>, String> {
        let manifests = format!("{MANIFESTS}/deploy");
        let args = [
            "get",
            "--recursive",
            "--filename",
            &manifests,
            "--output=json",
        ];
        let text = self.stage.kubectl(&args).await?;
        let mut list: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match list["items"].take() {
            serde_json::Value::Array(items) => Ok(items),
            _ => Err("kubectl did not return a list".to_owned()),
        }
    }

    async fn expect_banner(self, banner: &str) -> Result<(), String> {
        let path = "--output=jsonpath={.data.banner}";
        let args = ["get", "configmap", "frontend", "--namespace=shop", path];
        match self.stage.kubectl(&args).await? {
            found if found == banner => Ok(()),
            found => Err(format!(
                "the live banner is {found:?} instead of {banner:?}"
            )),
        }
    }
}

/// The number of objects by kind.
struct Kinds {
    objects: usize,
    by_kind: Vec<(String, usize)>,
}

impl Kinds {
    /// Counts lines such as `kind: Service`.
    fn of(lines: &str) -> Self {
        let mut by_kind: Vec<(String, usize)> = Vec::new();
        for line in lines.lines() {
            let kind = line.trim_start_matches("kind:").trim();
            match by_kind.iter_mut().find(|(known, _)| known == kind) {
                Some((_, count)) => *count += 1,
                None => by_kind.push((kind.to_owned(), 1)),
            }
        }
        by_kind.sort_by(|(a, m), (b, n)| n.cmp(m).then(a.cmp(b)));
        Self {
            objects: lines.lines().count(),
            by_kind,
        }
    }
}

impl std::fmt::Display for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<String> = self
            .by_kind
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        // A no-break space, so that number and kind stay on one line.
        let kinds = kinds.join(", ").replace(", ", ",\u{1}");
        let kinds = kinds.replace(' ', "\u{a0}").replace('\u{1}', " ");
        write!(f, "{} objects: {kinds}", self.objects)
    }
}
