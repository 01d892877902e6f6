//! The URLs of repositories: which are the same, and that none is shown with its user.
#![no_main]

use libfuzzer_sys::fuzz_target;
use towline_fuzz::manifest::redact;
use towline_fuzz::webhook::RepositoryUrl;

fuzz_target!(|text: &str| {
    let _ = redact::text(text);
    let _ = redact::url(text);
    let Some(url) = RepositoryUrl::parse(text) else {
        return;
    };
    if let Some(rest) = text.strip_prefix("https://") {
        let with_user = format!("https://user:marker@{rest}");
        // A longer text may be too long.
        if let Some(same) = RepositoryUrl::parse(&with_user) {
            assert_eq!(same, url);
        }
    }
});
