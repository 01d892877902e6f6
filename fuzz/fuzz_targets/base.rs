//! URLs of remote bases: what a kustomization may name has one meaning, no password in it, and a folder of its own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use towline_fuzz::render::remote::RemoteBase;

fuzz_target!(|url_text: &str| {
    let Some(base) = RemoteBase::named(url_text) else {
        return;
    };
    let is_bad = |c: char| c.is_whitespace() || c.is_control();
    assert!(!base.url.contains(is_bad) && !base.pin.name().contains(is_bad));
    let authority = base.url.split_once("://").map(|(_, rest)| rest.split('/').next());
    if let Some(Some(login)) = authority.map(|it| it.and_then(|it| it.split_once('@'))) {
        assert!(!login.0.contains(':'));
    }
    let folder = base.folder();
    assert!(!folder.split('/').any(|part| matches!(part, "" | "." | "..")));
    assert_eq!(RemoteBase::named(&base.named_url()), Some(base));
});
