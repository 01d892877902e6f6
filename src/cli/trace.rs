//! `towline trace`: which Sync, commit and author made an object.

use serde_json::{Map, Value};

use super::access::{Access, AccessError};
use super::lineage::{Lineage, absent, kind, wanted};
use super::past::{PastRevision, past};
use super::standing::{Standing, Steered as _};
use super::table::pairs;
use super::terminal::Terminal;
use super::{CliError, Exit, output};
use crate::api::{Failure, GROUP, GitRepository, HistoryEntry, Sync, short_commits};
use crate::config::ObjectArgs;
use crate::intent::SyncIntent;
use crate::manifest::{GroupKind, ObjectKey};
use crate::text::redact_url;

/// Names of facts and the facts, in the order in which they are shown.
type Facts = Vec<(&'static str, String)>;

/// Traces an object back to Git.
pub(super) async fn trace(args: &ObjectArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let viewer = access.viewer().await?;
    let served = kind(&viewer, &args.object.kind)?;
    let lineage = Lineage::read(&access, &viewer, &served, &args.object.name).await?;
    let lineage =
        lineage.ok_or_else(|| absent(&wanted(&served, &args.object, &access.namespace)))?;
    let mut facts: Facts = vec![("object", lineage.in_words())];
    let exit = match &lineage.sync {
        None => {
            let (none, exit) = unmanaged(&lineage);
            facts.push(("sync", none));
            exit
        }
        Some(name) => {
            let there = access.at(&name.namespace);
            let sync = there.find::<Sync>(&name.name).await;
            facts.push(("sync", name.to_string()));
            match sync {
                Ok(Some(sync)) => {
                    let source = SyncIntent::from(&sync).source;
                    // Not everybody who may read a Sync may read its repository.
                    let source = there.find::<GitRepository>(&source).await.ok().flatten();
                    let object = super::lineage::key(lineage.top());
                    let object = object.map(|key| key.to_string()).unwrap_or_default();
                    facts.extend(of_sync(&object, &sync, source.as_ref()));
                }
                Ok(None) => facts.push(("state", "the Sync does not exist any longer".to_owned())),
                Err(error @ AccessError::Forbidden { .. }) => {
                    facts.push(("state", error.to_string()));
                }
                Err(error) => return Err(error.into()),
            }
            Exit::Done
        }
    };
    let text = match args.output {
        Some(format) => output::value(&as_object(&facts), format)?,
        None => as_lines(&facts, Terminal::of(args.cluster.color)),
    };
    Terminal::print(&text)?;
    Ok(exit)
}

/// What is told of an object without a Sync.
fn unmanaged(lineage: &Lineage) -> (String, Exit) {
    let top = super::lineage::key(lineage.top());
    let is_source = |key: &ObjectKey| key.kind == GroupKind::new(GROUP, "GitRepository");
    match top.filter(is_source) {
        Some(source) if lineage.chain.len() > 1 => {
            let text = format!("none: {source} makes it, by its spec.sync");
            (text, Exit::Done)
        }
        _ => {
            let text = "none: towline does not manage this object";
            (text.to_owned(), Exit::Differs)
        }
    }
}

/// The newest commit that changed an object, by the lists of the history, and whether the lists of newer commits are
/// whole. None if no list names the object.
fn change_of<'a>(object: &str, history: &'a [PastRevision]) -> Option<(&'a HistoryEntry, bool)> {
    let names = |named: &String| {
        named
            .split_once(' ')
            .is_some_and(|(_, what)| what == object)
    };
    let place = history
        .iter()
        .position(|past| past.entry.objects.iter().any(names))?;
    let is_whole = |PastRevision { entry, .. }: &PastRevision| {
        let all = [entry.created, entry.changed, entry.pruned].map(|count| count as usize);
        all.iter().sum::<usize>() <= entry.objects.len()
    };
    Some((&history[place].entry, history[..place].iter().all(is_whole)))
}

/// What a Sync's status says of the origin of its object.
fn of_sync(object: &str, sync: &Sync, source: Option<&GitRepository>) -> Facts {
    let standing = Standing::of(sync);
    let status = sync.status.clone().unwrap_or_default();
    let intent = SyncIntent::from(sync);
    let mut facts: Facts = vec![("state", standing.state.word().to_owned())];
    facts.push((
        "repository",
        match source {
            Some(source) => format!("{} ({})", intent.source, redact_url(&source.spec.url)),
            None => intent.source,
        },
    ));
    let path = &intent.render.path;
    facts.push((
        "path",
        match path.is_empty() {
            true => "the whole repository".to_owned(),
            false => path.clone(),
        },
    ));
    let file = failure(object, &status.failures).and_then(|failure| failure.file.clone());
    facts.push((
        "file",
        file.unwrap_or_else(|| {
            let within = match path.is_empty() {
                true => String::new(),
                false => format!(" -- {path}"),
            };
            format!(
                "not recorded in the cluster; in a clone: git grep -n {}{within}",
                quoted(object)
            )
        }),
    ));
    facts.push(("live revision", sync.told().revision.to_owned()));
    if let Some(chart) = &status.chart {
        facts.push(("chart repository", chart.source.clone()));
        let revision = chart.last_applied_revision.as_deref().unwrap_or_default();
        facts.push(("chart revision", short_commits(revision)));
    }
    let history = past(&status);
    let changed = change_of(object, &history);
    let newest = history.first().map(|newest| (&newest.entry, false));
    if let Some((change, is_certain)) = changed.or(newest) {
        facts.push(("last change", short_commits(&change.revision)));
        facts.push(("author", change.author.clone()));
        facts.extend(
            change
                .committed
                .as_ref()
                .map(|at| ("committed", at.0.to_string())),
        );
        facts.push(("applied", change.applied.0.to_string()));
        let note = match (changed, is_certain) {
            (_, true) => "",
            (Some(_), false) => {
                "the last commit that is known to have changed this object; later ones changed more objects than the \
                 history names"
            }
            (None, _) => {
                "the last commit that changed the Sync; which commit changed this object is not recorded"
            }
        };
        facts.push(("note", note.to_owned()));
    }
    facts.retain(|(_, text)| !text.is_empty());
    facts
}

/// What a Sync's status says to be wrong with an object.
pub(super) fn failure<'a>(object: &str, failures: &'a [Failure]) -> Option<&'a Failure> {
    failures.iter().find(|failure| failure.object == object)
}

/// The name of an object, as a shell takes it.
fn quoted(object: &str) -> String {
    let name = object.rsplit(['/', ' ']).next().unwrap_or_default();
    format!("'{}'", name.replace('\'', "'\\''"))
}

fn as_lines(facts: &Facts, terminal: Terminal) -> String {
    pairs(facts.iter().map(|(name, text)| (*name, &**text)), terminal)
}

fn as_object(facts: &Facts) -> Value {
    let fields = facts.iter().map(|(name, text)| {
        let mut words = name.split(' ');
        let mut field = words.next().unwrap_or_default().to_owned();
        for word in words {
            let (first, rest) = word.split_at(1);
            field.push_str(&first.to_uppercase());
            field.push_str(rest);
        }
        (field, Value::from(text.as_str()))
    });
    Value::Object(fields.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::standing::testing::{ready, sync};
    use super::*;

    #[test]
    fn the_commit_and_author_are_those_of_the_last_change() {
        let revision = format!("main@sha1:{}", "1".repeat(40));
        let status = json!({
            "conditions": ready("True", "Converged", "m"), "shortRevision": "main@sha1:111111111111",
            "history": [{"revision": revision, "author": "Alice <a@example>", "applied": "2026-01-02T03:04:05Z",
                "changed": 1, "pruned": 0}],
            "failures": [{"object": "ConfigMap a/bad", "file": "apps/bad.yaml", "reason": "ApplyFailed", "message": "no"}],
        });
        let sync = sync(&status, &json!({}));
        let facts = of_sync("ConfigMap a/it's", &sync, None);
        let text = as_lines(&facts, Terminal::default());
        for line in [
            "state          Ready\n",
            "repository     fleet\n",
            "file           not recorded in the cluster; in a clone: git grep -n 'it'\\''s'\n",
            "last change    main@sha1:111111111111\n",
            "author         Alice <a@example>\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
        assert_eq!(as_object(&facts)["lastChange"], "main@sha1:111111111111");
        let facts = of_sync("ConfigMap a/bad", &sync, None);
        assert!(facts.contains(&("file", "apps/bad.yaml".to_owned())));
    }

    #[test]
    fn a_commit_of_which_only_a_part_could_be_applied_is_to_blame_for_that_part() {
        let entry = |author: &str, at: &str, object: &str| {
            json!({"revision": format!("main@sha1:{author}"), "author": author, "changed": 1, "pruned": 0,
                "applied": format!("2026-01-02T03:04:{at}Z"), "objects": [format!("changed {object}")]})
        };
        let status = json!({
            "conditions": ready("True", "Converged", "m"),
            "history": [entry("dave", "09", "Service a/web"), entry("anna", "01", "Deployment.apps a/web")],
            "unfinished": [entry("carol", "05", "Deployment.apps a/web")],
        });
        let sync = sync(&status, &json!({}));
        for (object, author) in [
            ("Deployment.apps a/web", "carol"),
            ("Service a/web", "dave"),
        ] {
            let facts = of_sync(object, &sync, None);
            assert!(facts.contains(&("author", author.to_owned())), "{facts:?}");
            assert!(!facts.iter().any(|(name, _)| *name == "note"));
        }
        let past = past(&sync.status.unwrap());
        let authors: Vec<_> = past.iter().map(|past| &*past.entry.author).collect();
        assert_eq!(authors, ["dave", "carol", "anna"]);
    }

    #[test]
    fn the_commit_is_the_one_whose_list_names_the_object() {
        let entry = |digit: &str, changed: u32, objects: Value| {
            json!({"revision": format!("main@sha1:{}", digit.repeat(40)), "author": digit, "changed": changed,
                "applied": "2026-01-02T03:04:05Z", "pruned": 0, "objects": objects})
        };
        let named = json!(["changed ConfigMap a/m", "changed ConfigMap a/n"]);
        for (newest, author, note) in [
            (entry("2", 1, json!(["changed Secret a/s"])), "1", None),
            (
                entry("2", 9, json!(["changed Secret a/s"])),
                "1",
                Some("later ones changed more objects"),
            ),
            (entry("2", 1, json!(["healed ConfigMap a/m"])), "2", None),
        ] {
            let history = json!([newest, entry("1", 2, named.clone())]);
            let status = json!({"conditions": ready("True", "Converged", "m"), "history": history});
            let facts = of_sync("ConfigMap a/m", &sync(&status, &json!({})), None);
            assert!(facts.contains(&("author", author.to_owned())), "{facts:?}");
            let found = facts.iter().find(|(name, _)| *name == "note");
            match note {
                Some(part) => assert!(found.unwrap().1.contains(part)),
                None => assert_eq!(found, None),
            }
        }
    }
}
