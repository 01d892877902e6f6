//! A webhook request: headers, one on each line, then an empty line, then the body.
#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use towline_fuzz::webhook::{Provider, Secret};

fuzz_target!(|input: &[u8]| {
    let end = input.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&input[..end], &input[end + 2..]),
        None => (input, &[][..]),
    };
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n').take(64) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(&line[..colon]),
            HeaderValue::from_bytes(&line[colon + 1..]),
        ) {
            headers.append(name, value);
        }
    }
    let Some(provider) = Provider::of(&headers) else {
        return;
    };
    if let (Ok(proof), Ok(secret)) = (provider.proof(&headers), Secret::new(b"not in a corpus")) {
        assert!(!proof.is_of(&secret, body));
    }
    if let Ok(Some(push)) = provider.push(&headers, body) {
        assert!(!push.repository.is_empty());
    }
});
