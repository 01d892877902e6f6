//! `towline history` and `towline events`: what has happened.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::access::{Access, AccessError};
use super::annotate::resolve;
use super::standing::{Steered as _, ago};
use super::table::{Cell, table};
use super::terminal::{Paint, Terminal};
use super::{CliError, Exit, output};
use crate::api::{
    Alert, GROUP, GitRepository, HistoryEntry, Provider, Sync, SyncStatus, short_commits,
};
use crate::config::{EventsArgs, EventsName, NamedArgs, SteeredName};

/// Lists the commits that changed a Sync.
pub(super) async fn history(args: &NamedArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let name = &*args.name;
    let sync: Sync = access.get(name).await?;
    let status = sync.status.unwrap_or_default();
    let history = past(&status);
    let terminal = Terminal::of(args.cluster.color);
    let text = match args.output {
        Some(format) => {
            let (history, unfinished) = (&status.history, &status.unfinished);
            let all = json!({"sync": name, "history": history, "unfinished": unfinished});
            output::value(&all, format)?
        }
        None if history.is_empty() => {
            terminal.fitted(&format!("sync/{name} has applied no commit"))
        }
        None => {
            let rows: Vec<Vec<Cell>> = history.iter().map(commit_row).collect();
            table(&COMMITS, &rows, terminal)
        }
    };
    Terminal::print(&text)?;
    Ok(Exit::Done)
}

/// A revision that changed a Sync.
pub(super) struct PastRevision {
    pub(super) entry: HistoryEntry,
    /// Some of its objects could not be applied.
    is_unfinished: bool,
}

/// The revisions that changed a Sync, also those of which only a part could be applied, the newest first.
pub(super) fn past(status: &SyncStatus) -> Vec<PastRevision> {
    let of = |entries: &[HistoryEntry], is_unfinished| {
        let entries = entries.iter().cloned();
        entries
            .map(move |entry| PastRevision {
                entry,
                is_unfinished,
            })
            .collect::<Vec<_>>()
    };
    let mut all = of(&status.unfinished, true);
    all.extend(of(&status.history, false));
    // Statuses have whole seconds.
    let age = |entry: &HistoryEntry| (entry.applied.0, entry.committed.as_ref().map(|at| at.0));
    all.sort_by_key(|past| std::cmp::Reverse(age(&past.entry)));
    all
}

const COMMITS: [&str; 9] = [
    "REVISION",
    "COMMITTED",
    "APPLIED",
    "CONVERGED",
    "CREATED",
    "CHANGED",
    "PRUNED",
    "AUTHOR",
    "SUBJECT",
];

fn commit_row(past: &PastRevision) -> Vec<Cell> {
    let entry = &past.entry;
    let at = |time: Timestamp| time.round(jiff::Unit::Second).unwrap_or(time).to_string();
    let committed = entry
        .committed
        .as_ref()
        .map(|time| at(time.0))
        .unwrap_or_default();
    let converged = match &entry.converged {
        // How long it took is what people look for.
        Some(time) => format!("after {}", ago(entry.applied.0, time.0)),
        None => "no".to_owned(),
    };
    let figures = [
        committed,
        at(entry.applied.0),
        converged,
        entry.created.to_string(),
        entry.changed.to_string(),
        entry.pruned.to_string(),
    ];
    let mut cells = vec![Cell::from(&*revision(past))];
    cells.extend(figures.iter().map(|text| Cell::figure(text)));
    cells.push(Cell::from(&*entry.author));
    cells.push(Cell::from(entry.subject.as_deref().unwrap_or_default()));
    cells
}

fn revision(past: &PastRevision) -> String {
    let entry = &past.entry;
    let chart = entry.chart_revision.as_ref();
    let chart = chart.map_or_else(String::new, |chart| format!(" with chart {chart}"));
    let by = match &entry.failed {
        _ if past.is_unfinished => " (in part)".to_owned(),
        _ if entry.pinned => " (pinned)".to_owned(),
        Some(cause) => format!(" (failed: {cause})"),
        None => String::new(),
    };
    short_commits(&format!("{}{chart}{by}", entry.revision))
}

/// Lists the events of towline's resources.
pub(super) async fn events(args: &EventsArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let events: Vec<Event> = access.list(args.all_namespaces).await?;
    let mut past: Vec<PastEvent> = events.iter().filter_map(PastEvent::of).collect();
    if let Some(name) = &args.name {
        let is_about = |(word, object): (&str, &str)| name.means(word, object);
        past.retain(|event| event.object.split_once('/').is_some_and(is_about));
    }
    past.sort_by_key(PastEvent::order);
    if past.is_empty() {
        expected(&access, args).await?;
    }
    let text = match args.output {
        Some(format) => {
            let events: Vec<Value> = past.iter().map(PastEvent::value).collect();
            output::value(&json!({ "events": events }), format)?
        }
        None if past.is_empty() => match &args.name {
            Some(name) => format!("no events of {name}\n"),
            None => "no events\n".to_owned(),
        },
        None => {
            let now = Timestamp::now();
            let rows: Vec<Vec<Cell>> = past
                .iter()
                .map(|event| event.row(now, args.all_namespaces))
                .collect();
            let heads = ["NAMESPACE", "AGO", "OBJECT", "REASON", "MESSAGE"];
            table(&heads, &rows, Terminal::of(args.cluster.color))
        }
    };
    Terminal::print(&text)?;
    Ok(Exit::Done)
}

/// Refuses to say that there are no events where something is wrong with the question. What has events may have been deleted
/// since.
async fn expected(access: &Access, args: &EventsArgs) -> Result<(), CliError> {
    let everywhere = args.all_namespaces;
    let Some(name) = &args.name else {
        if !everywhere {
            access.expect_namespace().await?;
        }
        return match access.has_any::<Sync>(everywhere).await {
            // Whoever may read events only has the whole answer.
            Ok(_) | Err(AccessError::Forbidden { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        };
    };
    let is_there = match (everywhere, name) {
        (false, EventsName::Alert(name)) => {
            return Ok(access.get::<Alert>(name).await.map(drop)?);
        }
        (false, EventsName::Provider(name)) => {
            return Ok(access.get::<Provider>(name).await.map(drop)?);
        }
        (false, EventsName::Steered(SteeredName::Any(name))) => {
            access.find::<Sync>(name).await?.is_some()
                || access.find::<GitRepository>(name).await?.is_some()
                // Not everybody may read these.
                || matches!(access.find::<Alert>(name).await, Ok(Some(_)))
                || matches!(access.find::<Provider>(name).await, Ok(Some(_)))
        }
        (false, EventsName::Steered(steered)) => {
            return resolve(access, steered).await.map(drop);
        }
        (true, _) => {
            let all = all_named(access, name).await?;
            all.iter().any(|(word, object)| name.means(word, object))
        }
    };
    match is_there {
        true => Ok(()),
        false => Err(access.missing(format!("a {name}"), everywhere).into()),
    }
}

/// The words and names of all resources of the kinds that a name may mean.
async fn all_named(
    access: &Access,
    name: &EventsName,
) -> Result<Vec<(&'static str, String)>, AccessError> {
    fn named<K: ResourceExt>(word: &'static str, all: &[K]) -> Vec<(&'static str, String)> {
        all.iter().map(|one| (word, one.name_any())).collect()
    }
    match name {
        EventsName::Alert(_) => return Ok(named("alert", &access.list::<Alert>(true).await?)),
        EventsName::Provider(_) => {
            return Ok(named("provider", &access.list::<Provider>(true).await?));
        }
        EventsName::Steered(_) => (),
    }
    let (repositories, syncs) = futures::try_join!(
        access.list_briefly::<GitRepository>(true),
        access.list_briefly::<Sync>(true),
    )?;
    let mut all = named(GitRepository::WORD, &repositories);
    all.extend(named(Sync::WORD, &syncs));
    if matches!(name, EventsName::Steered(SteeredName::Any(_))) {
        // Not everybody may read these.
        let alerts = access.list::<Alert>(true).await.unwrap_or_default();
        let providers = access.list::<Provider>(true).await.unwrap_or_default();
        all.extend(named("alert", &alerts));
        all.extend(named("provider", &providers));
    }
    Ok(all)
}

/// One event.
struct PastEvent {
    at: Timestamp,
    /// The same, as exactly as it is known: times of most events are whole seconds.
    exact: Timestamp,
    /// In which order the API server got events.
    version: u64,
    namespace: String,
    /// `sync/shop`
    object: String,
    reason: String,
    message: String,
    is_warning: bool,
}

impl PastEvent {
    /// Reads an event. None if it is about something else.
    fn of(event: &Event) -> Option<Self> {
        let about = &event.involved_object;
        let group = about.api_version.as_deref()?.split('/').next()?;
        let word = match about.kind.as_deref()? {
            "GitRepository" => "repo".to_owned(),
            kind => kind.to_lowercase(),
        };
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        let first = event.event_time.as_ref().map(|time| time.0);
        let made = event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0);
        let at = last.or(first).or(made).unwrap_or_default();
        let version = event.metadata.resource_version.as_deref();
        (group == GROUP).then(|| Self {
            at,
            exact: first.map_or(at, |first| first.max(at)),
            version: version
                .and_then(|version| version.parse().ok())
                .unwrap_or_default(),
            namespace: about.namespace.clone().unwrap_or_default(),
            object: format!("{word}/{}", about.name.as_deref().unwrap_or_default()),
            reason: event.reason.clone().unwrap_or_default(),
            message: event.message.clone().unwrap_or_default(),
            is_warning: event.type_.as_deref() == Some("Warning"),
        })
    }

    /// By what events are sorted.
    fn order(&self) -> (Timestamp, u64) {
        (self.exact, self.version)
    }

    fn row(&self, now: Timestamp, everywhere: bool) -> Vec<Cell> {
        let paint = match self.is_warning {
            true => Paint::Red,
            false => Paint::Plain,
        };
        vec![
            Cell::from(if everywhere { &*self.namespace } else { "" }),
            Cell::from(&*ago(self.at, now)),
            Cell::from(&*self.object),
            Cell::new(&self.reason, paint),
            Cell::from(&*short_commits(&self.message)),
        ]
    }

    fn value(&self) -> Value {
        json!({
            "at": self.at.to_string(), "namespace": self.namespace, "object": self.object,
            "reason": self.reason, "message": self.message, "warning": self.is_warning,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_second_are_in_the_order_in_which_they_came() {
        let event = |name: &str, exact: Option<&str>, version: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": {"name": name, "resourceVersion": version}, "reason": name,
                "lastTimestamp": "2026-01-02T03:04:05Z",
                "eventTime": exact.map(|exact| format!("2026-01-02T03:04:05.{exact}Z")),
                "involvedObject": {"apiVersion": "towline.dev/v1alpha1", "kind": "Sync", "name": "shop"},
            }))
            .unwrap()
        };
        let events = [
            event("effect", Some("000002"), "8"),
            event("cause", Some("000001"), "9"),
            event("old-effect", None, "101"),
            event("old-cause", None, "99"),
        ];
        let mut past: Vec<PastEvent> = events.iter().filter_map(PastEvent::of).collect();
        past.sort_by_key(PastEvent::order);
        let names: Vec<&str> = past.iter().map(|event| &*event.reason).collect();
        assert_eq!(names, ["old-cause", "old-effect", "cause", "effect"]);
    }

    #[test]
    fn an_event_of_another_kind_is_left_out() {
        let event = |api: &str, kind: &str| -> Event {
            serde_json::from_value(json!({
                "metadata": {"name": "e"}, "reason": "Diff", "message": "m", "type": "Warning",
                "lastTimestamp": "2026-01-02T03:04:05Z",
                "involvedObject": {"apiVersion": api, "kind": kind, "name": "shop", "namespace": "a"},
            }))
            .unwrap()
        };
        assert!(PastEvent::of(&event("v1", "Pod")).is_none());
        let past = PastEvent::of(&event("towline.dev/v1alpha1", "GitRepository")).unwrap();
        assert_eq!((&*past.object, past.is_warning), ("repo/shop", true));
        let now = past.at + jiff::SignedDuration::from_secs(5);
        let rows = [past.row(now, false)];
        let text = table(
            &["NAMESPACE", "AGO", "OBJECT"],
            &rows.map(|row| row[..3].to_vec()),
            Terminal::default(),
        );
        assert_eq!(text, "AGO  OBJECT\n5s   repo/shop\n");
    }
}
