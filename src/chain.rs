//! Errors with their causes, and refusals of an API server, in words for people.

use kube::core::Status;

use crate::text;

/// The longest text of one error in a chain of causes, and of the whole chain, in bytes. A server may
/// answer with a message of any size.
const LONGEST_ERROR: usize = 2048;
const LONGEST_CHAIN: usize = 4096;

/// kube's reason for an answer that is not a `Status`.
pub(crate) const NOT_A_STATUS: &str = "Failed to parse error data";

/// How much is shown of an answer that is not a `Status`, in bytes.
const LONGEST_START: usize = 200;

/// An error with its causes, for people.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let message;
        (message, next) = link(error);
        let message = text::shorten(&message, LONGEST_ERROR);
        if text.is_empty() {
            text = message;
        } else if !text.contains(&message) {
            text = format!("{text}: {message}");
        }
    }
    text::shorten(&text, LONGEST_CHAIN)
}

/// An error's own words, and its cause. The words of kube's errors repeat their causes, and show an answer of the
/// API server in Rust's notation.
fn link<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> (String, Option<&'a (dyn std::error::Error + 'static)>) {
    use kube::runtime::watcher;
    if let Some(kube::Error::Api(status)) = error.downcast_ref() {
        return (refusal(status), None);
    }
    match error.downcast_ref::<watcher::Error>() {
        Some(watcher::Error::WatchError(status)) => (refusal(status), None),
        Some(watcher::Error::InitialListFailed(cause)) => {
            ("the list failed".to_owned(), Some(cause))
        }
        Some(watcher::Error::WatchStartFailed(cause) | watcher::Error::WatchFailed(cause)) => {
            ("the watch failed".to_owned(), Some(cause))
        }
        _ => (error.to_string(), error.source()),
    }
}

/// The message of a refusal. It is the server's own, if the server gave one. What stands before an API server, such
/// as a load balancer, may answer with something else; then the HTTP status is named.
pub fn refusal(status: &Status) -> String {
    let said = status.message.trim();
    if status.reason == NOT_A_STATUS {
        let start = text::printable(said);
        let colon = if start.is_empty() { "" } else { ": " };
        return format!(
            "HTTP status {}, and not from the API server itself{colon}{}",
            status.code,
            text::shorten(&start, LONGEST_START)
        );
    }
    match (said, &*status.reason) {
        ("", "") => format!("HTTP status {}", status.code),
        ("", reason) => format!("{reason} (HTTP status {})", status.code),
        (said, _) => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher;

    use super::*;

    #[test]
    fn an_answer_of_the_api_server_is_told_in_its_own_words() {
        let answer = || {
            let status = Status::failure("slow down", "TooManyRequests").with_code(429);
            kube::Error::Api(Box::new(status))
        };
        let status = Box::new(Status::failure("too old", "Expired").with_code(410));
        let errors: [(Box<dyn std::error::Error>, _); 4] = [
            (Box::new(answer()), "slow down"),
            (
                Box::new(watcher::Error::InitialListFailed(answer())),
                "the list failed: slow down",
            ),
            (
                Box::new(watcher::Error::WatchFailed(answer())),
                "the watch failed: slow down",
            ),
            (Box::new(watcher::Error::WatchError(status)), "too old"),
        ];
        for (error, says) in errors {
            assert_eq!(chain(&*error), says);
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words_or_by_its_status() {
        let long = "x".repeat(1000);
        for (message, reason, code, says) in [
            ("no room", "Forbidden", 403, "no room"),
            (" ", "Timeout", 504, "Timeout (HTTP status 504)"),
            ("", "", 500, "HTTP status 500"),
            (
                "<html>\nbad gateway</html>\n",
                NOT_A_STATUS,
                502,
                "HTTP status 502, and not from the API server itself: <html>bad gateway</html>",
            ),
            (
                "",
                NOT_A_STATUS,
                503,
                "HTTP status 503, and not from the API server itself",
            ),
        ] {
            let status = Status::failure(message, reason).with_code(code);
            assert_eq!(refusal(&status), says);
        }
        let status = Status::failure(&long, NOT_A_STATUS).with_code(502);
        assert!(refusal(&status).len() < 300);
    }
}
