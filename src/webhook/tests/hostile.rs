//! Hostile input, made by a generator that is the same on every run.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};

use crate::webhook::*;

/// Xorshift64* (Vigna 2016): random enough for tests.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() >> 33) as usize % end
    }

    fn of<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }

    fn text(&mut self, from: &[&str], longest: usize) -> String {
        let parts = self.below(longest);
        (0..parts).map(|_| self.of(from)).collect()
    }
}

const PROVIDERS: [Provider; 7] = [
    Provider::GitHub,
    Provider::GitLab,
    Provider::Bitbucket,
    Provider::BitbucketServer,
    Provider::Gitea,
    Provider::AzureDevOps,
    Provider::Generic,
];

const URL_PARTS: [&str; 32] = [
    "https://",
    "ssh://",
    "git@",
    "://",
    ":",
    "/",
    "//",
    "@",
    "[",
    "]",
    "::1",
    "%",
    "%2",
    "%2f",
    "%00",
    "?",
    "#",
    "..",
    ".git",
    "_git",
    "scm",
    "projects",
    "repos",
    "v3",
    "dev.azure.com",
    ".visualstudio.com",
    "a",
    "é",
    "\u{130}",
    "\0",
    "~",
    "443",
];

const JSON_PARTS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u00",
    "\\ud83d",
    "null",
    "true",
    "-",
    "1e9",
    "0.1",
    " ",
    "\n",
    "é",
    "\"ref\":",
    "\"refs/heads/main\"",
    "\"repository\":",
    "\"clone_url\":",
    "\"https://h/p\"",
    "\"project\":",
    "\"git_http_url\":",
    "\"push\":",
    "\"changes\":",
    "\"new\":",
    "\"type\":",
    "\"branch\"",
    "\"name\":",
    "\"links\":",
    "\"html\":",
    "\"href\":",
    "\"slug\":",
    "\"key\":",
    "\"eventType\":",
    "\"git.push\"",
    "\"resource\":",
    "\"url\":",
];

const HEADERS: [&str; 12] = [
    "x-towline-signature",
    "x-forgejo-event",
    "x-gitea-event",
    "x-gitlab-event",
    "x-github-event",
    "x-event-key",
    "authorization",
    "x-hub-signature-256",
    "x-hub-signature",
    "x-gitlab-token",
    "x-gitea-signature",
    "content-type",
];

const VALUES: [&str; 18] = [
    "push",
    "create",
    "Push Hook",
    "System Hook",
    "repo:push",
    "repo:refs_changed",
    "Basic ",
    "Basic Og==",
    "Basic \u{e9}",
    "sha256=",
    "sha256=é",
    "sha1=00",
    "=",
    "",
    "application/x-www-form-urlencoded",
    "\t",
    "00",
    "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
];

/// Runs as many rounds as fit into a part of a second.
fn rounds(mut round: impl FnMut(&mut Random)) {
    let (mut random, begin) = (Random(0x9e37_79b9_7f4a_7c15), Instant::now());
    for _ in 0..50_000 {
        round(&mut random);
        if begin.elapsed() > Duration::from_millis(300) {
            return;
        }
    }
}

#[test]
fn no_url_panics() {
    rounds(|random| {
        let text = random.text(&URL_PARTS, 12);
        // Case, and a user before the host, do not matter.
        let url = RepositoryUrl::parse(&text);
        if text.is_ascii() {
            assert_eq!(RepositoryUrl::parse(&text.to_uppercase()), url, "{text:?}");
        }
        if let (Some(rest), Some(url)) = (text.strip_prefix("https://"), url) {
            let with_user = RepositoryUrl::parse(&format!("https://u:p@{rest}"));
            assert_eq!(with_user, Some(url), "{text:?}");
        }
    });
}

#[test]
fn no_headers_panic() {
    let secret = Secret::new(b"secret").unwrap();
    rounds(|random| {
        let mut headers = HeaderMap::new();
        for _ in 0..random.below(6) {
            let value = random.text(&VALUES, 3);
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                headers.append(random.of(&HEADERS), value);
            }
        }
        if let Some(provider) = Provider::of(&headers)
            && let Ok(proof) = provider.proof(&headers)
        {
            assert!(!proof.is_of(&secret, b"body"), "{headers:?}");
        }
    });
}

#[test]
fn no_body_panics() {
    let mut pushes = 0;
    rounds(|random| {
        let mut body = match random.below(2) {
            0 => random.text(&JSON_PARTS, 40).into_bytes(),
            _ => br#"{"ref": "refs/heads/main", "url": "https://h/p", "repository": {"clone_url": "https://h/p"}}"#.to_vec(),
        };
        for _ in 0..random.below(3) {
            let at = random.below(body.len().max(1));
            match random.below(3) {
                0 => body.truncate(at),
                1 => body.insert(at.min(body.len()), random.next() as u8),
                _ => {
                    if let Some(byte) = body.get_mut(at) {
                        *byte = random.next() as u8;
                    }
                }
            }
        }
        let mut headers = HeaderMap::new();
        for name in HEADERS {
            if let Ok(value) = HeaderValue::from_bytes(random.of(&VALUES).as_bytes()) {
                headers.append(name, value);
            }
        }
        for provider in PROVIDERS {
            if let Ok(Some(push)) = provider.push(&headers, &body) {
                assert!(!push.repository.is_empty());
                pushes += 1;
            }
        }
    });
    assert!(pushes > 0, "the generator makes nothing that is valid");
}
