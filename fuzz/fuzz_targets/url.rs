//! URLs of repositories: checks which are equal, and that redaction accepts every text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use towline_fuzz::text;
use towline_fuzz::webhook::RepositoryUrl;

fuzz_target!(|url_text: &str| {
    let _ = text::redact(url_text);
    let _ = text::redact_url(url_text);
    let Some(url) = RepositoryUrl::parse(url_text) else {
        return;
    };
    if let Some(rest) = url_text.strip_prefix("https://") {
        let with_user = format!("https://user:marker@{rest}");
        // With a user, the text may be longer than the limit.
        if let Some(same) = RepositoryUrl::parse(&with_user) {
            assert_eq!(same, url);
        }
    }
});
