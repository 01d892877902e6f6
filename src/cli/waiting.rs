//! `towline wait`: for a commit to be live, or for Syncs to be ready.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt as _;

use super::access::{Access, AccessError};
use super::arrival::{Arrival, History, Reach, arrival, reach};
use super::standing::{ResourceState, Standing};
use super::terminal::{Progress, Terminal};
use super::{CliError, Exit};
use crate::api::{GitRepository, Sync, short_commits};
use crate::config::WaitArgs;
use crate::intent::SyncIntent;
use crate::source::LocalClone;
use crate::text::printable;

/// The pause between two looks, and how much longer it is for each Sync: every look lists them all.
const PAUSE: Duration = Duration::from_millis(500);
const MORE: Duration = Duration::from_millis(2);

/// A Sync has failed when so many looks in a row see it fail: some failures end with the next try.
const LOOKS: u32 = 4;

/// The namespace and name of a Sync or of a GitRepository.
type NamespacedName = (String, String);

/// Waits for a commit, or until Syncs are ready.
pub(super) async fn wait(args: &WaitArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let until = Instant::now() + args.timeout;
    let since = began(&access).await;
    let clone = CloneHere::open();
    let (mut progress, mut failing) = (Progress::default(), 0);
    loop {
        let (repositories, syncs) = futures::try_join!(
            access.list::<GitRepository>(args.all_namespaces),
            access.list::<Sync>(args.all_namespaces)
        )?;
        let listed = syncs.len();
        let syncs = chosen(args, &access, syncs)?;
        let report = match &args.commit {
            Some(commit) => of_commit(
                commit,
                &syncs,
                &repositories,
                (since, &clone),
                !args.names.is_empty(),
            ),
            None => of_readiness(&syncs, !args.names.is_empty()),
        };
        failing = match report.exit {
            Some(Exit::Differs) => failing + 1,
            _ => 0,
        };
        let exit = match report.exit {
            Some(Exit::Differs) if failing < LOOKS && Instant::now() < until => None,
            None if Instant::now() >= until => Some(Exit::Timeout),
            exit => exit,
        };
        if let Some(exit) = exit {
            progress.end();
            Terminal::say(&report.text)?;
            if exit == Exit::Timeout {
                Terminal::note("towline: the time is over");
                if let Some(commit) = args.commit.as_ref().filter(|_| report.is_unknown) {
                    Terminal::note(&unknown(commit));
                }
            }
            return Ok(exit);
        }
        progress.tell(&report.progress);
        let listed = u32::try_from(listed).unwrap_or(u32::MAX);
        tokio::time::sleep(PAUSE + MORE.saturating_mul(listed)).await;
    }
}

/// The Syncs that are waited for.
fn chosen(args: &WaitArgs, access: &Access, syncs: Vec<Sync>) -> Result<Vec<Sync>, AccessError> {
    let place = || match args.all_namespaces {
        true => String::new(),
        false => format!(" in namespace {}", access.namespace),
    };
    if args.names.is_empty() {
        // Somebody who waits expects something: the namespace may be a misspelt one.
        return match syncs.is_empty() {
            true => Err(AccessError::NoSync { place: place() }),
            false => Ok(syncs),
        };
    }
    for name in &args.names {
        if !syncs.iter().any(|sync| sync.name_any() == *name) {
            return Err(AccessError::Missing {
                what: format!("Sync {name}"),
                place: place(),
            });
        }
    }
    let is_named = |sync: &Sync| args.names.contains(&sync.name_any());
    Ok(syncs.into_iter().filter(is_named).collect())
}

fn name_of<K: kube::Resource>(object: &K) -> NamespacedName {
    (object.namespace().unwrap_or_default(), object.name_any())
}

/// The second that follows the begin of the wait, by the API server's clock where it says what time it is: the operator's is
/// rather like that one than like the clock here.
async fn began(access: &Access) -> Timestamp {
    let theirs = access.server_time().await;
    let second = theirs.unwrap_or_else(Timestamp::now).as_second();
    Timestamp::from_second(second.saturating_add(1)).unwrap_or_default()
}

/// The clone that the command runs in, if it runs in one. A job of CI does, often.
#[derive(Default)]
struct CloneHere {
    clone: Option<LocalClone>,
    /// What it said. To ask again may take it seconds.
    said: RefCell<HashMap<(String, String), bool>>,
}

impl CloneHere {
    fn open() -> Self {
        Self {
            clone: LocalClone::around(Path::new(".")),
            said: RefCell::default(),
        }
    }
}

impl History for CloneHere {
    fn has(&self, commit: &str, url: &str) -> bool {
        let clone = self.clone.as_ref();
        clone.is_some_and(|clone| clone.is_of(url) && clone.has(commit))
    }

    fn is_before(&self, older: &str, newer: &str) -> Option<bool> {
        let clone = self.clone.as_ref()?;
        let pair = (older.to_owned(), newer.to_owned());
        if let Some(said) = self.said.borrow().get(&pair) {
            return Some(*said);
        }
        let said = clone.is_ancestor(older, newer)?;
        self.said.borrow_mut().insert(pair, said);
        Some(said)
    }
}

/// What a look found.
struct Report {
    /// Lines for standard output when the wait ends.
    text: String,
    /// One line about what is waited for.
    progress: String,
    /// None: go on.
    exit: Option<Exit>,
    /// Whether nobody knows the commit that some wait for: no status, and no clone here.
    is_unknown: bool,
}

/// What is said of a commit that nobody knows when the time is over.
fn unknown(commit: &str) -> String {
    format!(
        "towline: nobody knows {}: no status names it, and no clone here says that what is live came after it. If it was pushed \
         together with newer commits, or a newer one came before this command began, run the command in a clone that has the newer \
         ones as well (git fetch, and without --depth). Otherwise see whether it was pushed",
        short_commits(commit)
    )
}

/// Whether Syncs are ready. A suspended one is waited for only if it `is_named`.
fn of_readiness(syncs: &[Sync], is_named: bool) -> Report {
    let standings: Vec<Standing> = syncs.iter().map(Standing::of).collect();
    let counts =
        |standing: &&Standing| is_named || !matches!(standing.state, ResourceState::Suspended);
    let mut report = Report {
        text: String::new(),
        progress: String::new(),
        exit: Some(Exit::Done),
        is_unknown: false,
    };
    let waiting = standings
        .iter()
        .filter(counts)
        .filter(|standing| !standing.is_ready());
    let first = waiting.clone().next();
    if let Some(first) = first {
        let (count, state) = (waiting.count(), first.state.word());
        report.progress = format!(
            "{count} of {} not ready; {}: {state}",
            syncs.len(),
            first.name
        );
        let is_over = |standing: &Standing| {
            matches!(
                standing.state,
                ResourceState::Failing(_) | ResourceState::Suspended | ResourceState::Deleting
            )
        };
        let mut counted = standings.iter().filter(counts);
        report.exit = counted.any(is_over).then_some(Exit::Differs);
    }
    for Standing {
        name,
        state,
        message,
        ..
    } in &standings
    {
        let line = format!("{name}: {}: {message}", state.word());
        report
            .text
            .push_str(printable(line.trim_end_matches([':', ' '])).as_str());
        report.text.push('\n');
    }
    report
}

fn of_commit(
    commit: &str,
    syncs: &[Sync],
    repositories: &[GitRepository],
    (since, history): (Timestamp, &dyn History),
    is_named: bool,
) -> Report {
    let source = |sync: &Sync| {
        (
            sync.namespace().unwrap_or_default(),
            SyncIntent::from(sync).source,
        )
    };
    let reaches: BTreeMap<NamespacedName, Reach<'_>> = repositories
        .iter()
        .map(|repository| {
            let name = name_of(repository);
            let followers: Vec<&Sync> = syncs.iter().filter(|sync| source(sync) == name).collect();
            let reach = reach(commit, repository, since, &followers, history);
            (name, reach)
        })
        .collect();
    let arrivals: Vec<(&Sync, Reach<'_>, Arrival)> = syncs
        .iter()
        .map(|sync| {
            let reach = reaches.get(&source(sync)).copied().unwrap_or(Reach::NotYet);
            (sync, reach, arrival(commit, sync, reach))
        })
        .collect();
    // Once a repository is known to have the commit, those of another URL are other repositories. Its status may come
    // later than those of its Syncs.
    let knows = |reach: Reach<'_>, arrival: &Arrival| {
        matches!(reach, Reach::There | Reach::Beyond(_))
            || !matches!(arrival, Arrival::Pending(_) | Arrival::Left(_))
    };
    let urls: BTreeMap<NamespacedName, &str> = repositories
        .iter()
        .map(|repository| (name_of(repository), &*repository.spec.url))
        .collect();
    let url = |sync: &Sync| urls.get(&source(sync)).copied().unwrap_or_default();
    let known: BTreeSet<&str> = arrivals
        .iter()
        .filter(|(_, reach, arrival)| knows(*reach, arrival))
        .map(|(sync, ..)| url(sync))
        .collect();
    let is_ours = |sync: &Sync| is_named || known.is_empty() || known.contains(url(sync));
    let ours: Vec<_> = arrivals
        .into_iter()
        .filter(|(sync, ..)| is_ours(sync))
        .collect();
    let is_unknown = ours.iter().any(|(_, reach, arrival)| {
        let is_pending = matches!(arrival, Arrival::Pending(_));
        is_pending && matches!(reach, Reach::NotYet | Reach::Elsewhere(_))
    });
    let ours = ours
        .into_iter()
        .map(|(sync, _, arrival)| (Standing::of(sync).name, arrival))
        .collect();
    Report {
        is_unknown,
        ..summed_up(commit, ours, is_named)
    }
}

/// The report about a commit, of the Syncs that follow its repository.
fn summed_up(commit: &str, arrivals: Vec<(String, Arrival)>, is_named: bool) -> Report {
    let short = short_commits(commit);
    let (mut changed, mut untouched, mut pending, mut failed) = (0, 0, 0, 0);
    let (mut text, mut progress) = (String::new(), String::new());
    let total = arrivals.len();
    for (name, arrival) in arrivals {
        let said = match arrival {
            Arrival::Untouched => {
                untouched += 1;
                continue;
            }
            Arrival::Live => {
                changed += 1;
                "live".to_owned()
            }
            Arrival::Superseded(by) => {
                changed += 1;
                format!("superseded by {}, which is live", short_commits(&by))
            }
            Arrival::Pending(why) => {
                pending += 1;
                if progress.is_empty() {
                    progress = format!("; {name}: {why}");
                }
                format!("not live: {why}")
            }
            Arrival::Failed(why) => {
                failed += 1;
                format!("failed: {why}")
            }
            Arrival::Left(why) => {
                failed += usize::from(is_named);
                format!("not waited for: {why}")
            }
        };
        text.push_str(&printable(&format!("{name}: {said}")));
        text.push('\n');
    }
    let exit = match (failed, pending) {
        (0, 0) => Some(Exit::Done),
        (0, _) => None,
        _ => Some(Exit::Differs),
    };
    if exit == Some(Exit::Done) && changed == 0 {
        text.push_str(&match untouched {
            0 => format!("no Sync waits for {short}\n"),
            _ => format!("{short} changed the content of no Sync ({untouched} have it)\n"),
        });
    }
    let progress = format!("{short}: waiting for {pending} of {total} Syncs{progress}");
    Report {
        is_unknown: false,
        text,
        progress,
        exit,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::standing::testing::{ready, sync};
    use super::*;

    const COMMIT: &str = "1111111111111111111111111111111111111111";

    fn of(arrivals: &[Arrival], is_named: bool) -> (String, Option<Exit>) {
        let named = arrivals.iter().cloned().enumerate();
        let named = named.map(|(index, arrival)| (format!("sync/s{index}"), arrival));
        let report = summed_up(COMMIT, named.collect(), is_named);
        (report.text, report.exit)
    }

    #[test]
    fn only_syncs_that_a_commit_changed_count() {
        let superseded = Arrival::Superseded(format!("main@sha1:{}", "2".repeat(40)));
        let pending = Arrival::Pending("it works".to_owned());
        let failed = Arrival::Failed("ApplyFailed: no".to_owned());
        let left = Arrival::Left("suspended by alice".to_owned());
        for (arrivals, text, exit) in [
            (
                vec![Arrival::Live, Arrival::Untouched, superseded],
                "sync/s0: live\nsync/s2: superseded by main@sha1:222222222222, which is live\n",
                Some(Exit::Done),
            ),
            (
                vec![Arrival::Untouched, Arrival::Untouched],
                "111111111111 changed the content of no Sync (2 have it)\n",
                Some(Exit::Done),
            ),
            (
                vec![Arrival::Live, pending.clone()],
                "sync/s0: live\nsync/s1: not live: it works\n",
                None,
            ),
            (
                vec![failed, pending],
                "sync/s0: failed: ApplyFailed: no\nsync/s1: not live: it works\n",
                Some(Exit::Differs),
            ),
            (
                vec![left.clone(), Arrival::Live],
                "sync/s0: not waited for: suspended by alice\nsync/s1: live\n",
                Some(Exit::Done),
            ),
        ] {
            assert_eq!(of(&arrivals, false), (text.to_owned(), exit));
        }
        assert_eq!(of(&[left], true).1, Some(Exit::Differs));
    }

    /// The status of a repository comes later than those of its Syncs.
    #[test]
    fn a_sync_that_lags_is_waited_for() {
        let repository = |name: &str, url: &str| -> GitRepository {
            serde_json::from_value(json!({
                "apiVersion": "towline.dev/v1alpha1", "kind": "GitRepository",
                "metadata": {"name": name, "namespace": "team-a"}, "spec": {"url": url},
                "status": {"revision": format!("main@sha1:{}", "0".repeat(40))},
            }))
            .unwrap()
        };
        let sync = |name: &str, source: &str, applied: &str| -> Sync {
            let status = json!({
                "conditions": ready("True", "Converged", "m"),
                "lastAppliedRevision": format!("main@sha1:{applied}"),
                "lastAttemptedRevision": format!("main@sha1:{applied}"),
            });
            let mut sync = sync(&status, &json!({"name": name}));
            sync.spec.source_ref.name = source.to_owned();
            sync
        };
        let old = "0".repeat(40);
        let url = "https://git.example/fleet";
        let repositories = [
            repository("fleet", url),
            repository("twin", url),
            repository("other", "https://git.example/other"),
        ];
        let syncs = [
            sync("a", "fleet", COMMIT),
            sync("b", "fleet", &old),
            sync("c", "twin", &old),
            sync("d", "other", &old),
        ];
        let report = |syncs: &[Sync]| {
            of_commit(
                COMMIT,
                syncs,
                &repositories,
                (Timestamp::MAX, &CloneHere::default()),
                false,
            )
        };
        let lags = report(&syncs);
        assert_eq!(lags.exit, None, "{}", lags.text);
        assert!(lags.text.contains("sync/b: not live") && lags.text.contains("sync/c: not live"));
        assert!(!lags.text.contains("sync/d"), "{}", lags.text);
        assert!(lags.is_unknown);
        let done = report(&[sync("a", "fleet", COMMIT), sync("d", "other", &old)]);
        assert_eq!(done.exit, Some(Exit::Done), "{}", done.text);
        assert!(!done.is_unknown);
    }
}
