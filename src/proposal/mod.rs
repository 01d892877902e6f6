//! Plans open pull requests: look at the host → choose → fetch both commits → render and try out → comment and set a status.
//!
//! It is the least urgent work of the operator. It has slots of its own, and a copy of the repository of its own, so that no
//! Sync waits for it. It writes nothing to the cluster but the condition that its GitRepository's driver writes for it.

mod about;
mod choose;
mod comment;
mod delta;
mod fields;
mod host;
mod moves;
mod reach;
mod read;
mod told;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::choose::choose;
use self::comment::{Header, Plan, Written};
use self::host::{Host, HostError, Labelled};
use self::read::Work;
use self::work::WorkError;
use crate::api::{ConditionType, Reason, Verdict};
use crate::backoff::{Backoff, jittered};
use crate::driver::Context;
use crate::fair::Permits;
use crate::fleet::{SourceName, Subscription};
use crate::intent::{GitReference, MAX_TIMEOUT, PullRequestsIntent, SourceIntent};
use crate::message::{CommitStatus, Course, Labeller, PullRequest, Repository, status_name};
use crate::outbox::{Name, ProviderView};
use crate::repository::{Login, LoginError, request};
use crate::source::{self, FetchRequest, Snapshot, host_and_path};
use crate::text::redact;

/// Requests that are planned at once, and those of one namespace: a plan may take minutes.
const AT_ONCE: u32 = 2;
const AT_ONCE_OF_NAMESPACE: u32 = 1;

/// The longest time for the plan of one request.
const LONGEST_PLAN: Duration = Duration::from_secs(600);

/// The first look after a start, and the pause after a panic.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const AFTER_PANIC: Duration = Duration::from_secs(60);

/// The shortest time between two looks at a host, if webhooks ask for them.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);

/// The pauses after a request that could not be planned.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// Plans the pull requests of all repositories that ask for it, as long as this replica leads and is polled.
pub async fn follow(context: Arc<Context>) {
    context.leadership.begun().await;
    let slots = Permits::new(AT_ONCE, AT_ONCE_OF_NAMESPACE);
    let mut running: HashMap<SourceName, Running> = HashMap::new();
    let changes = context.fleet.sources.changes();
    loop {
        for name in changes.next().await {
            let intent = context.fleet.sources.read(&name).planning;
            if running.get(&name).map(|running| &running.intent) == intent.as_ref() {
                continue;
            }
            running.remove(&name);
            if let Some(intent) = intent {
                let task = keep_planning(
                    Arc::clone(&context),
                    name.clone(),
                    Arc::clone(&intent),
                    Arc::clone(&slots),
                );
                let task = tokio::spawn(task).abort_handle();
                running.insert(name, Running { intent, task });
            } else {
                let plans = &context.fleet.plans;
                plans.update(&name, |view| view.verdict = None);
            }
        }
    }
}

/// The planner of a repository. It ends on drop.
struct Running {
    intent: Arc<SourceIntent>,
    task: AbortHandle,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Runs a planner, and restarts it when it panics.
async fn keep_planning(
    context: Arc<Context>,
    name: SourceName,
    intent: Arc<SourceIntent>,
    slots: Arc<Permits>,
) {
    let Some(plans) = intent.pull_requests.clone() else {
        return;
    };
    loop {
        let planner = Planner {
            context: &context,
            name: &name,
            intent: &intent,
            plans: &plans,
            slots: &slots,
            hook: context.receivers.requests(&name),
            login: Login::default(),
            known: BTreeMap::new(),
        };
        let _ = AssertUnwindSafe(planner.run()).catch_unwind().await;
        tracing::error!(repository = %name, "planning pull requests panicked; it begins again");
        sleep(AFTER_PANIC).await;
    }
}

/// Why a request could not be planned.
#[derive(Debug, thiserror::Error)]
enum PlanError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("a Secret of the repository cannot be used")]
    Login(#[from] LoginError),
    #[error("its commit {0} cannot be fetched")]
    Fetch(String, #[source] source::Error),
    #[error(
        "its label {label} was set by {who}, who may not push to the repository: somebody who may has to set it anew"
    )]
    Untrusted { label: String, who: String },
    #[error("who set its label {0} is not known: somebody who may push has to set it anew")]
    LabelledByWhom(String),
    #[error("its branch changed meanwhile")]
    Moved,
    #[error(transparent)]
    Work(#[from] WorkError),
    #[error("it took longer than {} minutes", LONGEST_PLAN.as_secs() / 60)]
    Late,
}

/// What is known of a request.
struct Known {
    /// What its plan was made of.
    made_of: String,
    /// When it is tried again, if it could not be planned.
    again: Option<Instant>,
    backoff: Backoff,
    failure: Option<String>,
}

struct Planner<'a> {
    context: &'a Context,
    name: &'a SourceName,
    intent: &'a SourceIntent,
    plans: &'a PullRequestsIntent,
    slots: &'a Arc<Permits>,
    /// Changes with each delivery of the repository's webhook.
    hook: Subscription<SourceName, ()>,
    login: Login,
    /// By the number of the request.
    known: BTreeMap<u64, Known>,
}

impl Planner<'_> {
    async fn run(mut self) {
        sleep(jittered(FIRST_LOOK)).await;
        let provider: Name = (self.name.namespace.to_string(), self.plans.provider.clone());
        let mut provider = self.context.outbox.providers.subscribe(&provider);
        loop {
            let began_at = Instant::now();
            let _ = provider.borrow_and_update();
            let verdict = tokio::select! {
                verdict = self.round() => verdict,
                // What the round waits for may be over, such as a limit of the old token.
                () = provider.changed() => continue,
            };
            let plans = &self.context.fleet.plans;
            plans.update(self.name, |view| view.verdict = Some(verdict));
            self.wait(&mut provider, began_at + SHORTEST_PAUSE).await;
        }
    }

    /// Waits until the next look. A webhook's look does not come before `earliest`.
    async fn wait(&mut self, provider: &mut Subscription<Name, ProviderView>, earliest: Instant) {
        let pause = jittered(self.context.policy.bounded(self.plans.interval));
        tokio::select! {
            () = sleep(pause) => (),
            () = provider.changed() => (),
            () = self.hook.changed() => sleep_until(earliest).await,
            () = self.login.changed() => self.known.clear(),
        }
    }

    /// Looks at all open requests once. Returns the condition.
    async fn round(&mut self) -> Verdict {
        let verdict = |is, reason, message: String| {
            Verdict::new(ConditionType::PullRequestsPlanned, is, reason, message)
        };
        let provider: Name = (self.name.namespace.to_string(), self.plans.provider.clone());
        let shown = &self.plans.provider;
        let endpoint = match self.context.outbox.providers.read(&provider) {
            ProviderView::Open(endpoint) => endpoint,
            ProviderView::Unknown => {
                let message = format!("Provider {shown} is not known yet");
                return verdict(None, Reason::ProviderNotReady, message);
            }
            ProviderView::Absent => {
                let message = format!("Provider {shown} does not exist");
                return verdict(Some(false), Reason::ProviderNotReady, message);
            }
            ProviderView::Suspended(_) => {
                let message = format!("Provider {shown} is suspended");
                return verdict(Some(false), Reason::ProviderNotReady, message);
            }
            ProviderView::Broken(_, why) => {
                let message = format!("Provider {shown} cannot be used: {why}");
                return verdict(Some(false), Reason::ProviderNotReady, message);
            }
        };
        let failed = |error: &HostError| {
            let at = endpoint.destination.address.origin();
            verdict(Some(false), Reason::PlanFailed, format!("{at}: {error}"))
        };
        let Some(target) = self.target() else {
            let message = "the repository has not been fetched yet".to_owned();
            return verdict(None, Reason::Progressing, message);
        };
        let repository = host_and_path(&self.intent.git.url);
        let repository = repository.map(|(host, path)| Repository { host, path });
        let host = match Host::new(&endpoint, repository) {
            Ok(host) => host,
            Err(error) => return failed(&error),
        };
        let (open, odd) = match host.open(&target).await {
            Ok(open) => open,
            Err(error) => return failed(&error),
        };
        let choice = choose(open, self.plans);
        let is_chosen = |number: &u64| choice.chosen.iter().any(|one| one.number == *number);
        self.known.retain(|number, _| is_chosen(number));
        for request in &choice.chosen {
            if !self.context.leadership.leads() {
                break;
            }
            if let Err(HostError::Unwell(why)) = self.keep(&host, request).await {
                return failed(&HostError::Unwell(why));
            }
        }
        self.told(&choice, odd)
    }

    /// The branch that is followed.
    fn target(&self) -> Option<String> {
        match &self.intent.git.reference {
            GitReference::Branch(branch) => Some(branch.clone()),
            // The name of the branch that the remote's HEAD names.
            _ => {
                let latest = self.context.fleet.sources.read(self.name).latest?;
                latest.snapshot.revision.name.as_deref().map(str::to_owned)
            }
        }
    }

    /// Plans a request, if what its plan is made of has changed.
    ///
    /// # Errors
    ///
    /// [`HostError::Unwell`], which concerns all requests.
    async fn keep(&mut self, host: &Host<'_>, request: &PullRequest) -> Result<(), HostError> {
        let made_of = self.made_of(request);
        if let Some(known) = self.known.get(&request.number)
            && known.made_of == made_of
            && known.again.is_none_or(|again| again > Instant::now())
        {
            return Ok(());
        }
        let planned = self.plan(host, request).await;
        let known = self.known.entry(request.number).or_insert_with(|| Known {
            made_of: String::new(),
            again: None,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            failure: None,
        });
        if known.made_of != made_of {
            known.backoff.reset();
        }
        known.made_of = made_of;
        match planned {
            Ok(()) => (known.again, known.failure) = (None, None),
            Err(error) => {
                known.again = Some(Instant::now() + known.backoff.pause());
                let why = redact(&crate::chain(&error));
                let is_news = known.failure.as_ref() != Some(&why);
                known.failure = Some(why.clone());
                if let PlanError::Host(HostError::Unwell(why)) = error {
                    return Err(HostError::Unwell(why));
                }
                if is_news && !matches!(error, PlanError::Moved | PlanError::Host(_)) {
                    let text = format!("no plan: {why}");
                    let _ = host.set(&self.status(request, Course::GivenUp, text)).await;
                }
            }
        }
        Ok(())
    }

    /// What a plan is made of, beside the live objects.
    fn made_of(&self, request: &PullRequest) -> String {
        let syncs = self.context.fleet.syncs.views();
        let syncs = syncs.iter().filter(|(name, view)| {
            name.namespace == self.name.namespace && view.source == *self.name.name
        });
        let syncs = syncs.map(|(name, view)| format!("{}@{:?}", name.name, view.object.generation));
        let syncs: Vec<String> = syncs.collect();
        let PullRequest { head, target, .. } = request;
        format!("{head} {target} {:?} {syncs:?}", self.intent.requested_at)
    }

    async fn plan(&mut self, host: &Host<'_>, request: &PullRequest) -> Result<(), PlanError> {
        self.trust(host, request).await?;
        let base = host.merge_base(request).await?;
        let plan = {
            let SourceName { namespace, name } = self.name;
            let _slot = self.slots.take(namespace, name).await;
            let planned = timeout(LONGEST_PLAN, self.work(host, request, base));
            planned.await.map_err(|_| PlanError::Late)??
        };
        let left = self.write(host, request, &plan).await?;
        let status = self.status(request, plan.course(left), plan.line(left));
        Ok(host.set(&status).await?)
    }

    /// A request of a fork is planned if somebody who may push has set the label.
    async fn trust(&self, host: &Host<'_>, request: &PullRequest) -> Result<(), PlanError> {
        let Some(label) = self.plans.label.clone().filter(|_| !request.is_own) else {
            return Ok(());
        };
        match host.labeller(request.number, &label).await? {
            Labelled::ByPushers => Ok(()),
            Labelled::By(person) if host.may_push(&person).await? => Ok(()),
            Labelled::By(Labeller { name: who, .. }) => Err(PlanError::Untrusted { label, who }),
            Labelled::Unknown => Err(PlanError::LabelledByWhom(label)),
        }
    }

    async fn work(
        &mut self,
        host: &Host<'_>,
        request: &PullRequest,
        base: String,
    ) -> Result<Plan, PlanError> {
        let named = GitReference::Name(host.api().head_ref(request.number));
        let head = self.fetch(named).await?;
        if head.revision.commit.to_string() != request.head {
            return Err(PlanError::Moved);
        }
        let followed = self.context.fleet.sources.read(self.name).latest;
        let followed = followed.map(|latest| latest.snapshot);
        let is_base = |snapshot: &Arc<Snapshot>| snapshot.revision.commit.to_string() == base;
        let began_at = match followed.filter(is_base) {
            Some(snapshot) => snapshot,
            None => self.fetch(GitReference::Commit(base.clone())).await?,
        };
        let work = Work {
            context: self.context,
            source: self.name,
            intent: self.intent,
            base: began_at,
            head,
        };
        Ok(Plan {
            syncs: work.plan().await?,
            head: request.head.clone(),
            base,
            target: request.target.clone(),
        })
    }

    /// Fetches a commit into the copy that only plans use. Submodules are left out: a request could name one that its author
    /// may not read.
    async fn fetch(&mut self, reference: GitReference) -> Result<Arc<Snapshot>, PlanError> {
        let login = self
            .login
            .read(&self.context.secrets, self.intent, self.name);
        let (credentials, proxy) = login.await?;
        let what = match &reference {
            GitReference::Name(name) => name.clone(),
            other => other.to_string(),
        };
        let wanted = FetchRequest {
            reference,
            timeout: self.intent.timeout.min(MAX_TIMEOUT),
            full_history: false,
            recurse_submodules: false,
            apart: true,
            ..request(self.name, self.intent, credentials, proxy)
        };
        let fetched = self.context.cache.fetch(wanted).await;
        let fetched = fetched.map_err(|error| PlanError::Fetch(what, error))?;
        Ok(Arc::clone(fetched.snapshot()))
    }

    /// Writes the comment, if there is something to say, or an earlier one says something else. Returns how many objects have no
    /// room in it.
    async fn write(
        &self,
        host: &Host<'_>,
        request: &PullRequest,
        plan: &Plan,
    ) -> Result<usize, HostError> {
        let number = request.number;
        let text = |id: Option<u64>| {
            let header = Header {
                marker: &self.marker(number, id),
                repository: &self.name.to_string(),
                cluster: self.context.policy.cluster(),
            };
            plan.comment(&header, host.api().longest_comment())
        };
        let marker = |id| self.marker(number, id);
        match host.comment(number, marker).await? {
            Some(known) => {
                let Written { text, left } = text(Some(known.id));
                if is_same(&known.body, &text) || host.rewrite(number, known.id, &text).await? {
                    return Ok(left);
                }
            }
            None if !plan.touches() => return Ok(0),
            None => (),
        }
        let id = host.write(number, &text(None).text).await?;
        let Written { text, left } = text(Some(id));
        // Without its own marker, it is the comment as long as there is no other one.
        host.rewrite(number, id, &text).await.map(|_| left)
    }

    /// Makes the comment with an id known again, and is of no use in another comment. A comment gets its id when it is
    /// written, so it has the marker of none until then.
    fn marker(&self, number: u64, id: Option<u64>) -> String {
        let (url, name) = (&self.intent.git.url, self.status_name());
        let id = id.map(|id| format!(" {id}")).unwrap_or_default();
        let key = &self.context.key;
        let seal = key.digest_for("pull request", &format!("{url} {number} {name}{id}"));
        format!("<!-- {name} {} -->", hex::encode(&seal[..12]))
    }

    /// `towline/<cluster>/<namespace>/<repository>/plan`
    fn status_name(&self) -> String {
        let cluster = self.context.policy.cluster();
        let name = status_name(cluster, &self.name.namespace, &self.name.name);
        format!("{name}/plan")
    }

    fn status(&self, request: &PullRequest, course: Course, text: String) -> CommitStatus {
        CommitStatus {
            commit: request.head.clone(),
            course,
            name: self.status_name(),
            text,
            url: None,
        }
    }
}

/// Hosts may change the ends of lines, and white space at the end.
fn is_same(one: &str, other: &str) -> bool {
    let lines = |text: &str| -> Vec<String> {
        let lines = text.trim_end().lines();
        lines.map(|line| line.trim_end().to_owned()).collect()
    };
    lines(one) == lines(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_does_to_white_space_is_no_change() {
        assert!(is_same("a\n b\n", "a\r\n b  \r\n\n"));
        assert!(!is_same("a\nb", "a b"));
    }
}
