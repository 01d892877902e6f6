//! What an API server said, in words for people.

use kube::core::Status;

use super::shorten;

/// kube's reason for an answer that is not a `Status`.
const NOT_A_STATUS: &str = "Failed to parse error data";

/// How much is shown of an answer that is not a `Status`, in bytes.
const LONGEST_START: usize = 200;

/// The message of a refusal. It is the server's own, if the server gave one. What stands before an API server, such
/// as a load balancer, may answer with something else; then the HTTP status is named.
pub fn refusal(status: &Status) -> String {
    let said = status.message.trim();
    if status.reason == NOT_A_STATUS {
        let start = super::printable(said);
        let colon = if start.is_empty() { "" } else { ": " };
        return format!(
            "HTTP status {}, and not from the API server itself{colon}{}",
            status.code,
            shorten(&start, LONGEST_START)
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
    use super::*;

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
