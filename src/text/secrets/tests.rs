use serde_json::json;

use super::*;

#[test]
fn a_value_is_found_in_base64_of_another_case_and_of_base64() {
    let secrets = Secrets::default();
    secrets.add("Hunter2-secret");
    let encode = |text: &str| BASE64_STANDARD.encode(text);
    let login = encode("shop:Hunter2-secret");
    for shown in [
        encode("HUNTER2-SECRET"),
        encode("x hunter2-secret y"),
        encode(&encode("Hunter2-secret")),
        encode(&format!(
            "{{\"auths\":{{\"r.example\":{{\"auth\":\"{login}\"}}}}}}"
        )),
    ] {
        let hidden = secrets.hide(&format!("it is {shown} here"));
        assert!(hidden.contains(HIDDEN), "{hidden}");
        assert!(hidden.len() + 12 < shown.len() + 11, "{hidden}");
    }
    assert_eq!(secrets.hide("nothing of it"), "nothing of it");
}

const VALUES: [&str; 6] = [
    "hunter2",
    "p@ss\"w'o\\rd<&>",
    "line one\nline two\t\u{7}",
    "p\u{e4}ssw\u{f6}rd",
    "correct horse battery staple",
    "73911842",
];

fn secrets(value: &str) -> Secrets {
    let secrets = Secrets::default();
    secrets.add_all(&json!({"a": [{"b": value}]}));
    secrets
}

#[test]
fn a_password_in_an_address_and_a_number_as_a_float_are_hidden() {
    for (value, said, hidden) in [
        (
            "postgres://user:hunter2-pw@db/app",
            "bad hunter2-pw",
            "bad ***",
        ),
        ("user:hunter2-pw@db", "bad hunter2-pw", "bad ***"),
        ("7391184200", "bad 7.391184200e+09", "bad ***00e+09"),
        ("7391184242", "bad 7.391184242e+09", "bad ***e+09"),
        ("100000", "at 1.0 of 2", "at 1.0 of 2"),
        ("https://user@db/app", "bad user", "bad user"),
    ] {
        assert_eq!(secrets(value).hide(said), hidden);
    }
}

#[test]
fn what_an_answer_may_repeat_of_a_header_is_hidden() {
    for (header, answer) in [
        ("Bearer hunter2-token", "bad token hunter2-token"),
        ("hunter2-token", "bad token hunter2-token"),
        (
            "Basic dXNlcjpodW50ZXIyLXB3",
            "no login dXNlcjpodW50ZXIyLXB3, nor hunter2-pw",
        ),
        (
            "Token token=\"hunter2-token\", a=b",
            "bad token hunter2-token",
        ),
    ] {
        let secrets = Secrets::default();
        secrets.add_header(header);
        let hidden = secrets.hide(answer);
        assert!(
            !hidden.contains("hunter2") && !hidden.contains("dXNl"),
            "{hidden}"
        );
        let words = "what bears a login";
        assert_eq!(secrets.hide(words), words);
    }
}

#[test]
fn every_form_of_a_value_is_hidden() {
    for value in VALUES {
        let secrets = secrets(value);
        let wrapped = value.replace(' ', "\n    ");
        let of_both = format!("user:{value}");
        let forms = [
            value.to_owned(),
            value.to_uppercase().to_lowercase(),
            value.to_ascii_uppercase(),
            json!(value).to_string(),
            json!(json!({"a": value}).to_string()).to_string(),
            format!("{value:?}"),
            value.replace('\'', "''"),
            wrapped,
            BASE64_STANDARD.encode(value),
            BASE64_STANDARD.encode(&of_both),
            BASE64_STANDARD.encode(format!("ab{value}cd")),
            hex::encode_upper(value),
            escaped_url(value, "+"),
            base32(format!("abc{value}").as_bytes()),
            value
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('"', "&#34;"),
        ];
        for form in forms {
            let said = format!("error at <{form}>: {form}");
            let kept = secrets.hide(&said);
            let inner = kept.trim_start_matches("error at <");
            assert!(kept.starts_with("error at <"), "{kept}");
            assert!(inner.contains(HIDDEN), "{form:?} of {value:?}: {kept}");
            for part in value.split_whitespace().filter(|part| part.len() > 3) {
                assert!(!kept.contains(part), "{form:?} of {value:?}: {kept}");
            }
            let rest = kept.replace(HIDDEN, "").replace("error at", "");
            assert!(rest.len() < said.len() / 2 + 24, "{form:?}: {kept}");
        }
    }
}

#[test]
fn a_value_whose_end_was_cut_off_is_hidden() {
    let secrets = secrets("hunter2-very-long");
    for (said, kept) in [
        ("!!str `hunter2...` into int", "!!str `***...` into int"),
        ("it is hunter2-ver…", "it is ***…"),
        ("ends with hunter", "ends with ***"),
        ("a hunter in the woods", "a hunter in the woods"),
    ] {
        assert_eq!(secrets.hide(said), kept);
    }
}

#[test]
fn ordinary_words_and_short_values_stay() {
    let secrets = Secrets::default();
    for value in ["abc", "a", "", "true"] {
        secrets.add(value);
    }
    assert_eq!(secrets.hide("abc is a value"), "abc is a value");
    let none = Secrets::default();
    none.add_all(&json!({"enabled": true, "nothing": null, "port": 80}));
    assert!(none.is_empty());
    assert_eq!(none.hide("é true 80"), "é true 80");
}

#[test]
fn what_base64_holds_and_what_settings_hold_is_secret() {
    let secrets = Secrets::default();
    secrets.add("aHVudGVyMg==");
    secrets.add_lines("PASSWORD=\"swordfish\"\nbroken: [opensesame\n");
    let said = "hunter2 and aHVudGVyMg==, swordfish, \"opensesame\"";
    let kept = secrets.hide(said);
    for value in ["hunter2", "aHVud", "swordfish", "opensesame"] {
        assert!(!kept.contains(value), "{kept}");
    }
}

#[test]
fn overlapping_values_are_cut_once() {
    let secrets = Secrets::default();
    secrets.add("hunter2");
    secrets.add("ter2hood");
    assert_eq!(secrets.hide("é hunter2hood é"), "é *** é");
}

/// A Secret of 1 MiB may hold a hundred thousand lines.
#[test]
fn many_values_take_neither_long_nor_much_and_show_nothing() {
    let lines = |count: usize| {
        (0..count).fold(String::new(), |text, line| format!("{text}s3cret-{line}\n"))
    };
    let some = Secrets::default();
    some.add(&lines(1_000));
    let began = std::time::Instant::now();
    let said = "no such key: s3cret-999";
    assert_eq!(some.hide(said), "no such key: ***");
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());

    let values = (0..20_000).map(|number| format!("s3cret-{number}"));
    let many = Secrets::default();
    values.for_each(|value| many.add(&value));
    assert!(!many.is_empty());
    assert_eq!(many.values().all.len(), 0);
    assert_eq!(many.hide(said), LEFT_OUT);
    assert_eq!(many.fork().hide(said), LEFT_OUT);
    let large = Secrets::default();
    large.add(&"x".repeat(MOST_BYTES + 1));
    assert_eq!(large.hide(said), LEFT_OUT);
}

#[test]
fn clones_share_and_forks_do_not() {
    let one = Secrets::default();
    let (clone, fork) = (one.clone(), one.fork());
    clone.add("hunter2");
    assert_eq!(one.hide("hunter2"), HIDDEN);
    assert_eq!(fork.hide("hunter2"), "hunter2");
}
