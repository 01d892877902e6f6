//! `towline get`: Syncs and GitRepositories with their state.

use jiff::Timestamp;
use kube::ResourceExt;
use serde_json::Value;

use super::access::{Access, AccessError, kind_name, plain};
use super::standing::{HEADS, Standing, Steered};
use super::table::table;
use super::terminal::Terminal;
use super::{CliError, Exit, output};
use crate::api::{GitRepository, Sync};
use crate::config::{GetArgs, ListFormat, SteeredName};

/// Lists Syncs and GitRepositories, with one request a kind.
pub(super) async fn get(args: &GetArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let everywhere = args.all_namespaces;
    let (repositories, syncs) = match args.output {
        None | Some(ListFormat::Name) => futures::try_join!(
            access.list_briefly::<GitRepository>(everywhere),
            access.list_briefly::<Sync>(everywhere)
        )?,
        Some(ListFormat::Json | ListFormat::Yaml) => futures::try_join!(
            access.list::<GitRepository>(everywhere),
            access.list::<Sync>(everywhere)
        )?,
    };
    let is_there = |named: &SteeredName| {
        let is_repository = |one: &GitRepository| named.means(GitRepository::WORD, &one.name_any());
        let is_sync = |one: &Sync| named.means(Sync::WORD, &one.name_any());
        repositories.iter().any(is_repository) || syncs.iter().any(is_sync)
    };
    let missing = args.names.iter().filter(|name| !is_there(name));
    let missing: Vec<AccessError> = missing
        .map(|name| access.missing(name, everywhere))
        .collect();
    if args.names.is_empty() && !everywhere && repositories.is_empty() && syncs.is_empty() {
        access.expect_namespace().await?;
    }
    let mut listed: Vec<ListedObject> = chosen(args, repositories).collect();
    listed.extend(chosen(args, syncs));
    let text = match args.output {
        None if listed.is_empty() && !missing.is_empty() => String::new(),
        None => {
            let place = (!everywhere).then_some(&*access.namespace);
            let terminal = Terminal::of(args.cluster.color);
            let standings: Vec<Standing> = listed.into_iter().map(|one| one.standing).collect();
            listing(
                &standings,
                place,
                args.not_ready,
                Timestamp::now(),
                terminal,
            )
        }
        Some(ListFormat::Name) => listed.iter().map(|one| format!("{}\n", one.id)).collect(),
        Some(format) => {
            let objects: Vec<Value> = listed.into_iter().map(|one| (one.object)()).collect();
            match format {
                ListFormat::Json => output::json(&objects),
                _ => output::yaml(&objects)?,
            }
        }
    };
    Terminal::print(&text)?;
    CliError::if_any(missing)?;
    Ok(Exit::Done)
}

/// One object in the forms in which it can be shown.
struct ListedObject {
    standing: Standing,
    /// `sync.towline.dev/shop`
    id: String,
    object: Box<dyn FnOnce() -> Value>,
}

fn chosen<K: Steered + 'static>(
    args: &GetArgs,
    objects: Vec<K>,
) -> impl Iterator<Item = ListedObject> {
    let means = |name: &str| args.names.iter().any(|one| one.means(K::WORD, name));
    let is_named = move |name: &str| args.names.is_empty() || means(name);
    objects.into_iter().filter_map(move |object| {
        let (name, standing) = (object.name_any(), Standing::of(&object));
        let is_wanted = is_named(&name) && !(args.not_ready && standing.is_ready());
        is_wanted.then(|| ListedObject {
            standing,
            id: format!("{}/{name}", kind_name::<K>()),
            object: Box::new(|| plain(object)),
        })
    })
}

/// The table. `place` is the only namespace.
fn listing(
    standings: &[Standing],
    place: Option<&str>,
    only_not_ready: bool,
    now: Timestamp,
    terminal: Terminal,
) -> String {
    if standings.is_empty() {
        let what = match only_not_ready {
            true => "everything is ready",
            false => "no Syncs and no GitRepositories",
        };
        return terminal.fitted(&match place {
            Some(place) => format!("{what} in namespace {place}"),
            None => what.to_owned(),
        });
    }
    let rows = standings.iter().map(|standing| {
        let mut row = standing.row(now);
        if place.is_some() {
            row.remove(0);
        }
        row
    });
    let heads = &HEADS[usize::from(place.is_some())..];
    table(heads, &rows.collect::<Vec<_>>(), terminal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::standing::testing::{ready, sync};
    use super::*;

    #[test]
    fn a_list_says_what_is_there_and_that_nothing_is() {
        let now = "2026-01-02T03:14:05Z".parse().unwrap();
        let status = json!({
            "conditions": ready("False", "ApplyFailed", ""), "summary": "ConfigMap a: no",
            "shortRevision": "main@sha1:0123456789ab",
        });
        let standings = [Standing::of(&sync(&status, &json!({})))];
        let terminal = Terminal::default();
        assert_eq!(
            listing(&standings, Some("team-a"), false, now, terminal),
            "NAME       STATE        SINCE  REVISION                MESSAGE\n\
             sync/shop  ApplyFailed  10m    main@sha1:0123456789ab  ConfigMap a: no\n"
        );
        let everywhere = listing(&standings, None, false, now, terminal);
        assert!(
            everywhere.contains("\nteam-a     sync/shop"),
            "{everywhere}"
        );
        assert_eq!(
            listing(&[], None, true, now, terminal),
            "everything is ready\n"
        );
        assert_eq!(
            listing(&[], Some("a"), false, now, terminal),
            "no Syncs and no GitRepositories in namespace a\n"
        );
    }
}
