//! Lists and watches in little memory.
//!
//! A page of a list is one answer of the API server, and is in memory as a whole: 500 objects of 1.5 MB are
//! 750 MB, whatever is kept of them. So the first list is a watch that begins with all objects (streaming
//! lists, KEP-3157): only one object is in memory at a time. API servers that do not offer this are asked for
//! small pages.

use std::fmt::Debug;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _, stream};
use kube::runtime::watcher::{self, Error, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::resume::{code, resumed};

/// The objects of a page, where the API server does not stream lists. An object has at most 1.5 MB.
const PAGE: u32 = 20;

/// How long the next object of a streamed list may take. An old API server answers with a watch that
/// never says where the list ends.
const PATIENCE: Duration = Duration::from_secs(15);

/// The events of all objects that `api` and `config` name: first those that are there, then the changes. It
/// resumes after every error, as [`resumed`] says. `what` names the watched objects in the log.
pub fn watched<K>(
    what: impl Into<String>,
    api: Api<K>,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let start = move || {
        let streamed = watcher(api.clone(), config.clone().streaming_lists()).boxed();
        let (api, config) = (api.clone(), config.clone().page_size(PAGE));
        or_else(streamed, move || watcher(api, config).boxed(), PATIENCE)
    };
    resumed(what, start)
}

type Events<K> = BoxStream<'static, watcher::Result<Event<K>>>;

/// The events of `first`, or those of `second` if the API server does not understand what `first` asks for.
fn or_else<K: Send + 'static>(
    first: Events<K>,
    second: impl FnOnce() -> Events<K> + Send + 'static,
    patience: Duration,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send {
    stream::unfold(
        (first, Some(second)),
        move |(mut events, mut second)| async move {
            if let Some(other) = second.take() {
                let next = tokio::time::timeout(patience, events.next()).await;
                match next {
                    Err(_) => events = other(),
                    Ok(Some(Err(error))) if is_unknown(&error) => events = other(),
                    Ok(next) => {
                        let next = next?;
                        // The list has come, so the API server understands.
                        let is_listed = matches!(next, Ok(Event::InitDone));
                        return Some((next, (events, Some(other).filter(|_| !is_listed))));
                    }
                }
            }
            let next = events.next().await?;
            Some((next, (events, second)))
        },
    )
}

/// Whether the API server refuses the request as such.
fn is_unknown(error: &Error) -> bool {
    matches!(code(error), Some(400 | 405 | 422))
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(code: u16) -> Error {
        Error::WatchStartFailed(kube::Error::Api(Box::new(Status {
            code,
            ..Status::default()
        })))
    }

    fn paged() -> Events<u8> {
        stream::iter([
            Ok(Event::Init),
            Ok(Event::InitApply(2)),
            Ok(Event::InitDone),
        ])
        .boxed()
    }

    async fn shown(first: Events<u8>) -> Vec<String> {
        let events = or_else(first, paged, Duration::from_millis(50));
        let shown = |event| match event {
            Ok(event) => format!("{event:?}"),
            Err(error) => format!("{:?}", code(&error)),
        };
        events.map(shown).collect().await
    }

    const PAGED: [&str; 3] = ["Init", "InitApply(2)", "InitDone"];

    #[tokio::test]
    async fn a_list_is_streamed_where_the_api_server_can_and_paged_where_it_cannot() {
        let all = [
            Ok(Event::Init),
            Ok(Event::InitApply(1)),
            Ok(Event::InitDone),
        ];
        // After the list, a refusal is no longer about the list.
        let later = all
            .into_iter()
            .chain([Err(refused(422)), Ok(Event::Apply(3))]);
        let found = shown(stream::iter(later).boxed()).await;
        assert_eq!(
            found,
            ["Init", "InitApply(1)", "InitDone", "Some(422)", "Apply(3)"]
        );
        for code in [400, 405, 422] {
            let found = shown(stream::iter([Err(refused(code))]).boxed()).await;
            assert_eq!(found, PAGED);
        }
        // What may pass is passed on.
        let found = shown(stream::iter([Err(refused(403)), Err(refused(503))]).boxed()).await;
        assert_eq!(found, ["Some(403)", "Some(503)"]);
    }

    #[tokio::test]
    async fn a_list_that_never_ends_is_asked_for_in_pages() {
        let silent = stream::iter([Ok(Event::Init), Ok(Event::InitApply(1))]);
        let found = shown(silent.chain(stream::pending()).boxed()).await;
        assert_eq!(found, [&["Init", "InitApply(1)"][..], &PAGED[..]].concat());
    }
}
