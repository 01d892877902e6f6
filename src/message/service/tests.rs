//! The requests as the services document them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::destination::tests::{intent, secret};
use super::*;
use crate::api::Reason;
use crate::intent::ProviderIntent;
use crate::message::compose::tests::message;
use crate::message::testing::notice;
use crate::message::{Context, NoticeState, OpenNotice, Subject, reminder};

fn to(service: Service, address: &str, pairs: &[(&str, &str)]) -> Destination {
    let intent = ProviderIntent {
        channel: Some("ops".to_owned()),
        username: Some("towline".to_owned()),
        ..intent(service, Some(address))
    };
    Destination::new(&intent, Some(&secret(pairs))).unwrap()
}

fn body(request: &Request) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn header<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let mut headers = request.headers.iter();
    let (_, value) = headers.find(|(key, _)| key == name)?;
    Some(value)
}

fn one(requests: Vec<Request>) -> Request {
    assert_eq!(requests.len(), 1);
    requests.into_iter().next().unwrap()
}

#[test]
fn an_email_is_in_the_thread_of_each_problem_that_it_is_about() {
    let spec = ProviderIntent {
        channel: Some("ops@example.com, Ops Team <team@example.com>".to_owned()),
        username: Some("towline <towline@example.com>".to_owned()),
        ..intent(Service::Email, Some("smtp://mail.example.com"))
    };
    let to = Destination::new(&spec, None).unwrap();
    let mail = |message: &Message| {
        let sent = one(requests(message, &to));
        let text = String::from_utf8(sent.body).unwrap();
        // Long headers are folded (RFC 5322, section 2.2.3).
        text.replace("\r\n\t", " ").replace("\r\n ", " ")
    };
    let threads = |text: &str| -> Vec<String> {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("References: "));
        let ids = line.unwrap_or_default().split(' ');
        ids.filter(|id| !id.is_empty()).map(str::to_owned).collect()
    };
    let begins = |reason| message(&["shop"], reason, NoticeState::Begins);
    let (failed, diff) = (begins(Reason::ApplyFailed), begins(Reason::Diff));
    let mut ends = message(&["shop"], Reason::Converged, NoticeState::Ends);
    ends.problems = [&failed, &diff]
        .map(|message| message.problems[0].clone())
        .to_vec();
    let of = |message: &Message| threads(&mail(message));
    assert_eq!(of(&ends), [of(&failed), of(&diff)].concat());
    assert_eq!(of(&ends).len(), 2);
    let mut many = ends.clone();
    many.problems = vec![failed.problems[0].clone(); 500];
    assert_eq!(of(&many).len(), 20);
    let mut news = ends;
    news.problems.clear();
    assert_eq!(of(&news), [""; 0]);
    // An address without a name has no empty one.
    let text = mail(&failed);
    assert!(
        text.contains("<ops@example.com>") && !text.contains("\"\""),
        "{text}"
    );
}

/// Where a service's request goes, and what its body has, as JSON pointers with their values.
type Shape<'a> = (Service, &'a str, Vec<(&'a str, Value)>);

#[test]
fn each_service_gets_what_it_documents() {
    let message = message(&["shop"], Reason::ApplyFailed, NoticeState::Begins);
    let link = message.commit_url.clone().unwrap();
    let title = "ApplyFailed: Sync prod/shop (eu-1)";
    let shapes: Vec<Shape<'_>> = vec![
        (
            Service::Generic,
            "https://host/hook",
            vec![
                ("/involvedObject/kind", json!("Sync")),
                ("/involvedObject/namespace", json!("prod")),
                ("/severity", json!("error")),
                ("/reason", json!("ApplyFailed")),
                ("/reportingController", json!("towline")),
                ("/metadata/cluster", json!("eu-1")),
                ("/metadata/revision", json!(message.revision)),
                ("/state", json!("begins")),
                ("/id", json!(message.id)),
                ("/notices/0/name", json!("shop")),
            ],
        ),
        (
            Service::CloudEvents,
            "https://host/hook",
            vec![
                ("/specversion", json!("1.0")),
                ("/id", json!(message.id)),
                ("/source", json!("/towline/alerts/prod/chat")),
                ("/type", json!("dev.towline.applyfailed")),
                ("/subject", json!("Sync/prod/shop")),
                ("/data/reason", json!("ApplyFailed")),
            ],
        ),
        (
            Service::Slack,
            "https://host/hook",
            vec![
                ("/channel", json!("ops")),
                ("/username", json!("towline")),
                ("/text", json!(title)),
                ("/attachments/0/color", json!("#d7263d")),
                ("/attachments/0/blocks/0/type", json!("header")),
                ("/attachments/0/blocks/0/text/type", json!("plain_text")),
                ("/attachments/0/blocks/1/type", json!("rich_text")),
            ],
        ),
        (
            Service::Mattermost,
            "https://host/hook",
            vec![
                ("/channel", json!("ops")),
                ("/attachments/0/title", json!(title)),
                ("/attachments/0/title_link", json!(link)),
            ],
        ),
        (
            Service::Rocket,
            "https://host/hook",
            vec![
                ("/text", json!(title)),
                ("/attachments/0/title", json!(title)),
            ],
        ),
        (
            Service::Teams,
            "https://host/hook",
            vec![
                ("/type", json!("message")),
                (
                    "/attachments/0/contentType",
                    json!("application/vnd.microsoft.card.adaptive"),
                ),
                ("/attachments/0/content/type", json!("AdaptiveCard")),
                ("/attachments/0/content/actions/0/url", json!(link)),
                ("/attachments/0/content/body/0/style", json!("attention")),
            ],
        ),
        (
            Service::Discord,
            "https://host/hook",
            vec![
                ("/embeds/0/title", json!(title)),
                ("/embeds/0/url", json!(link)),
                ("/embeds/0/color", json!(0x00D7_263D)),
                ("/allowed_mentions/parse", json!([])),
                ("/username", json!("towline")),
            ],
        ),
        (
            Service::GoogleChat,
            "https://host/hook",
            vec![
                ("/cardsV2/0/cardId", json!(message.id)),
                ("/cardsV2/0/card/header/title", json!(title)),
            ],
        ),
        (
            Service::Grafana,
            "https://host/api/annotations",
            vec![
                ("/time", json!(1_700_000_000_000_i64)),
                ("/tags/0", json!("towline")),
            ],
        ),
        (
            Service::Alertmanager,
            "https://host/api/v2/alerts",
            vec![
                ("/0/labels/alertname", json!("TowlineApplyFailed")),
                ("/0/labels/cluster", json!("eu-1")),
                ("/0/labels/namespace", json!("prod")),
                ("/0/startsAt", json!("2023-11-14T22:13:20Z")),
                ("/0/endsAt", json!("2023-11-14T22:18:20Z")),
            ],
        ),
    ];
    for (service, url, fields) in shapes {
        let address = match service {
            Service::Grafana | Service::Alertmanager => "https://host/",
            _ => url,
        };
        let request = one(requests(
            &message,
            &to(service, address, &[("token", "t0ken")]),
        ));
        assert_eq!(request.url, url, "{service:?}");
        assert_eq!(
            header(&request, "authorization"),
            Some("Bearer t0ken"),
            "{service:?}"
        );
        let body = body(&request);
        for (pointer, value) in fields {
            assert_eq!(
                body.pointer(pointer),
                Some(&value),
                "{service:?} {pointer} in {body}"
            );
        }
        assert!(
            body.to_string().contains("shop says"),
            "{service:?}: {body}"
        );
    }
}

#[test]
fn the_words_of_a_commit_are_no_markup() {
    let message = message(&["shop"], Reason::ApplyFailed, NoticeState::Begins);
    for (service, escaped) in [
        (Service::Slack, "shop says <b>&"),
        (Service::GoogleChat, "shop says &lt;b&gt;&amp;"),
        (Service::Grafana, "shop says &lt;b&gt;&amp;"),
        (Service::Teams, r"shop says \\<b\\>&"),
        (Service::Discord, r"shop says \\<b\\>&"),
        (Service::Mattermost, r"shop says \\<b\\>&"),
        (Service::Rocket, r"shop says \\<b\\>&"),
    ] {
        let request = one(requests(&message, &to(service, "https://host/hook", &[])));
        let text = String::from_utf8(request.body).unwrap();
        assert!(text.contains(escaped), "{service:?}: {text}");
    }
}

/// Who writes a commit's message makes no links under other names, and wakes nobody.
#[test]
fn the_words_of_a_commit_link_to_nothing_else_and_mention_nobody() {
    let mut message = message(&["shop"], Reason::ApplyFailed, NoticeState::Begins);
    message.title = "@all [a](https://evil)".to_owned();
    message.text =
        "[a](https://evil) https://good/[x](https://evil) https://a_b/@here @channel <!here>"
            .to_owned();
    for service in [
        Service::Mattermost,
        Service::Rocket,
        Service::Teams,
        Service::Discord,
    ] {
        let request = one(requests(&message, &to(service, "https://host/hook", &[])));
        let body = String::from_utf8(request.body).unwrap();
        assert!(!body.contains("x](https://evil"), "{service:?}: {body}");
        assert!(body.contains("https://a_b/"), "{service:?}: {body}");
        if matches!(service, Service::Mattermost | Service::Rocket) {
            let is_mention = |word: &str| body.contains(word);
            assert!(
                !["@all", "@here", "@channel"].into_iter().any(is_mention),
                "{body}"
            );
        }
    }
}

/// All texts of a body.
fn texts(value: &Value, all: &mut Vec<String>) {
    match value {
        Value::String(text) => all.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| texts(value, all)),
        Value::Object(fields) => fields.values().for_each(|value| texts(value, all)),
        _ => (),
    }
}

/// A commit's subject, its author and the text of a notice may be anybody's words. `live` is what a service would read as
/// markup or as a mention, if it stood in a text of its message.
#[test]
fn hostile_words_are_words_in_every_chat() {
    let hostile = "*now* `x` _x_ ~x~ @everyone @here <!channel> <b>x</b> [a](https://evil) # x \u{202e}cod\u{1b}[31m";
    let mut item = notice("shop", Reason::ApplyFailed, 1_700_000_000);
    item.change = Some(std::sync::Arc::new(crate::notify::Change {
        author: hostile.to_owned(),
        subject: hostile.to_owned(),
    }));
    item.message = hostile.to_owned();
    let item = crate::message::Item {
        id: crate::message::Id::of(&item),
        subject: Subject::of(&item),
        state: NoticeState::Begins,
        ended: Vec::new(),
        notice: std::sync::Arc::new(item),
    };
    let group = crate::message::Group {
        items: vec![item],
        due: jiff::Timestamp::UNIX_EPOCH,
        since: jiff::Timestamp::UNIX_EPOCH,
        number: 1,
    };
    let title = "{{ subject }}";
    let templates = crate::message::Templates::new(
        Some(title),
        None,
        &message(&["a"], Reason::Diff, NoticeState::Begins),
    );
    let context = Context {
        alert: ("prod", "chat"),
        metadata: &BTreeMap::new(),
        installation: "0123456789abcdef",
        docs: None,
        repository: &|_| Some("https://github.com/a/b.git".to_owned()),
    };
    let message = crate::message::compose(&group, &templates.unwrap(), context).unwrap();
    let markdown = [
        " *now",
        " `x",
        " _x",
        " ~x",
        " <b>",
        " [a]",
        "<!channel>",
        " # x",
    ];
    let html = ["<b>", "<!channel>"];
    for (service, live) in [
        (Service::Slack, &[][..]),
        (
            Service::Mattermost,
            &[&markdown[..], &["@everyone", "@here"]].concat(),
        ),
        (
            Service::Rocket,
            &[&markdown[..], &["@everyone", "@here"]].concat(),
        ),
        // Discord and Teams mention only whom another field names.
        (Service::Discord, &markdown[..]),
        (Service::Teams, &markdown[..]),
        (Service::GoogleChat, &html[..]),
        // It is plain text without a mode.
        (Service::Telegram, &[][..]),
    ] {
        let to = to(service, "https://host/hook", &[("token", "k")]);
        let body = body(&one(requests(&message, &to)));
        let mut all = Vec::new();
        texts(&body, &mut all);
        for text in &all {
            // Titles that a service shows as they are.
            let shows_plain = [
                Service::GoogleChat,
                Service::Slack,
                Service::Mattermost,
                Service::Rocket,
            ];
            let is_title = text.replace('\u{200b}', "") == message.title;
            let is_plain = is_title && shows_plain.contains(&service);
            for live in live {
                let is_plain = is_plain && !live.starts_with('@');
                assert!(
                    is_plain || !text.contains(live),
                    "{service:?} {live}: {text}"
                );
            }
            assert!(
                !text.contains(['\u{202e}', '\u{1b}']),
                "{service:?}: {text}"
            );
        }
        match service {
            Service::Slack => {
                assert_eq!(body["mrkdwn"], false);
                assert!(!body["text"].as_str().unwrap().contains("<!channel>"));
                let blocks = &body["attachments"][0]["blocks"];
                assert_eq!(blocks[0]["text"]["type"], "plain_text");
                let section = &blocks[1]["elements"][0];
                assert_eq!(section["type"], "rich_text_section");
                let elements = section["elements"].as_array().unwrap();
                let link = json!({"type": "link", "url": message.commit_url});
                assert!(elements.contains(&link), "{elements:?}");
                let is_known =
                    |element: &Value| matches!(element["type"].as_str(), Some("text" | "link"));
                assert!(elements.iter().all(is_known), "{elements:?}");
            }
            Service::Discord => assert_eq!(body["allowed_mentions"]["parse"], json!([])),
            Service::Telegram => assert_eq!(body.get("parse_mode"), None),
            _ => (),
        }
    }
}

/// Two Syncs with long names are two problems.
#[test]
fn problems_with_long_names_have_keys_of_their_own() {
    let names = ["a", "b"].map(|end| format!("{}{end}", "n".repeat(252)));
    let message = message(&[&names[0], &names[1]], Reason::Diff, NoticeState::Begins);
    let mut message = message;
    message.alert = format!("{}/{}", "m".repeat(63), "o".repeat(253));
    for (service, name, longest) in [
        (Service::PagerDuty, "/dedup_key", 255),
        (Service::Opsgenie, "/alias", 512),
    ] {
        let sent = requests(&message, &to(service, "https://host", &[("token", "k")]));
        let key = |of: &Request| body(of).pointer(name).unwrap().as_str().unwrap().to_owned();
        let (one, other) = (key(&sent[0]), key(&sent[1]));
        assert!(one != other && one.len() <= longest, "{one}");
    }
}

/// The guide has one table of fields, for templates and for the body.
#[test]
fn the_body_of_a_webhook_has_every_field_of_the_guide() {
    let guide = include_str!("../../../docs/guides/alerts.md");
    let (_, table) = guide
        .split_once("\n| Field | Meaning |\n|---|---|\n")
        .unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let message = message(&["shop"], Reason::ApplyFailed, NoticeState::Begins);
    let to = to(Service::Generic, "https://host/hook", &[]);
    let body = body(&one(requests(&message, &to)));
    let words = serde_json::to_value(&message).unwrap();
    let mut fields = 0;
    for row in rows {
        let names = row.split('|').nth(1).unwrap();
        for name in names.split(',').map(|name| name.trim().trim_matches('`')) {
            fields += 1;
            assert!(words.get(name).is_some(), "{name} in {words}");
            assert!(body.get(name).is_some(), "{name} in {body}");
            // Flux has a field of the same name, with the revision beside it.
            if name != "metadata" {
                assert_eq!(body[name], words[name], "{name}");
            }
        }
    }
    assert!(fields >= 20, "{fields}");
}

#[test]
fn a_signature_is_that_of_the_body() {
    let message = message(&["shop"], Reason::Diff, NoticeState::Begins);
    let to = to(
        Service::GenericHmac,
        "https://host/hook",
        &[("token", "k3y")],
    );
    let request = one(requests(&message, &to));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"k3y");
    let tag = ring::hmac::sign(&key, &request.body);
    let expected = format!("sha256={}", hex::encode(tag.as_ref()));
    assert_eq!(header(&request, "x-signature"), Some(&*expected));
    assert_eq!(header(&request, "authorization"), None);
}

#[test]
fn telegram_has_the_token_in_the_url_and_nowhere_else() {
    let message = message(&["shop"], Reason::Diff, NoticeState::Begins);
    let to = to(
        Service::Telegram,
        "https://api.telegram.org",
        &[("token", "1:abc")],
    );
    let request = one(requests(&message, &to));
    assert_eq!(request.url, "https://api.telegram.org/bot1:abc/sendMessage");
    assert_eq!(body(&request)["chat_id"], "ops");
    assert!(!format!("{request:?} {to:?} {}", body(&request)).contains("1:abc"));
    assert_eq!(header(&request, "authorization"), None);
}

/// Services that keep problems get each one by a name that is the same when it ends, and no news.
#[test]
fn problems_begin_and_end_under_one_name() {
    let names = ["shop", "cart"];
    let begins = message(&names, Reason::Diff, NoticeState::Begins);
    let ends = message(&names, Reason::Converged, NoticeState::Ends);
    let news = message(&names, Reason::Converged, NoticeState::News);
    let token = [("token", "k")];
    for (service, name) in [
        (Service::PagerDuty, "/dedup_key"),
        (Service::Opsgenie, "/alias"),
        (Service::Alertmanager, "/0/labels"),
    ] {
        let to = to(service, "https://host", &token);
        assert!(requests(&news, &to).is_empty());
        let begin = requests(&begins, &to);
        let end = requests(&ends, &to);
        assert_eq!(begin.len(), end.len());
        let (first, last) = (body(&begin[0]), body(&end[0]));
        let known = first.pointer(name).unwrap();
        match service {
            Service::Opsgenie => {
                assert_eq!(begin[0].url, "https://host/v2/alerts");
                let key = "towline%2Feu%2D1%2Fprod%2Fchat%2FSync%2Fprod%2Fshop%2FDiff";
                let close = format!("https://host/v2/alerts/{key}/close?identifierType=alias");
                assert_eq!(end[0].url, close);
                assert_eq!(known, "towline/eu-1/prod/chat/Sync/prod/shop/Diff");
                assert_eq!(header(&begin[0], "authorization"), Some("GenieKey k"));
            }
            _ => assert_eq!(Some(known), last.pointer(name)),
        }
        if service == Service::PagerDuty {
            assert_eq!(first["routing_key"], "k");
            assert_eq!(
                (&first["event_action"], &last["event_action"]),
                (&json!("trigger"), &json!("resolve"))
            );
            assert_eq!(first["payload"]["severity"], "error");
            assert_eq!(begin[0].url, "https://host/v2/enqueue");
        }
        if service == Service::Alertmanager {
            assert_eq!(first.as_array().unwrap().len(), 2, "all in one request");
            assert_eq!(last[0]["endsAt"], "2023-11-14T22:13:20Z");
        }
    }
}

/// Alertmanager keeps the newest annotations of a problem, so the repeat has all that the first one had.
#[test]
fn a_repeat_says_the_same_as_the_first_time() {
    let begins = message(&["shop"], Reason::ApplyFailed, NoticeState::Begins);
    let notice = notice("shop", Reason::ApplyFailed, 1_700_000_000);
    let subject = Subject::of(&notice);
    let standing = |notice| OpenNotice {
        subject: &subject,
        reason: Reason::ApplyFailed,
        since: begins.problems[0].since,
        revision: begins.revision.as_ref(),
        notice,
    };
    let context = Context {
        alert: ("prod", "chat"),
        metadata: &begins.metadata,
        installation: "0123456789abcdef",
        docs: None,
        repository: &|_| Some("https://github.com/a/b.git".to_owned()),
    };
    let to = to(Service::Alertmanager, "https://host", &[]);
    let sent = |message: &Message| body(&refresh(message, &to).unwrap())[0].clone();
    let again = |notice| {
        sent(&reminder(
            [standing(notice)].into_iter(),
            context,
            begins.at,
        ))
    };
    let first = sent(&begins);
    assert_eq!(again(Some(&notice)), first);
    assert_eq!(first["annotations"]["author"], "Anna");
    let runbook = "docs/operate/reasons.md#applyfailed";
    assert_eq!(first["annotations"]["runbook"], runbook);
    // What is known although its notice was lost.
    let bare = again(None);
    assert_eq!(bare["annotations"]["runbook"], runbook);
    assert_eq!(
        bare["annotations"]["revision"],
        first["annotations"]["revision"]
    );
    assert_eq!(bare["generatorURL"], first["generatorURL"]);
}

#[test]
fn the_key_of_pagerduty_may_be_the_channel_as_in_flux() {
    let intent = ProviderIntent {
        channel: Some("k3y".to_owned()),
        ..intent(Service::PagerDuty, None)
    };
    let to = Destination::new(&intent, None).unwrap();
    let message = message(&["shop"], Reason::Diff, NoticeState::Begins);
    let request = one(requests(&message, &to));
    assert_eq!(request.url, "https://events.pagerduty.com/v2/enqueue");
    assert_eq!(body(&request)["routing_key"], "k3y");
}

#[test]
fn labels_have_names_that_alertmanager_takes() {
    let mut message = message(&["shop"], Reason::Diff, NoticeState::Begins);
    message.metadata = BTreeMap::from([
        ("a.b/c-d".to_owned(), "x".to_owned()),
        ("1".to_owned(), "y".to_owned()),
    ]);
    let request = one(requests(
        &message,
        &to(Service::Alertmanager, "https://host/", &[]),
    ));
    let labels = &body(&request)[0]["labels"];
    assert_eq!(
        (&labels["a_b_c_d"], &labels["_1"]),
        (&json!("x"), &json!("y"))
    );
}

/// Routes of an Alertmanager go by labels, and an alert is known by them: none of ours may be another's.
#[test]
fn labels_of_the_alert_win_over_its_metadata() {
    for name in [
        "alertname",
        "reason",
        "severity",
        "kind",
        "namespace",
        "name",
    ] {
        let labels = |metadata: &[(&str, &str)]| {
            let mut message = message(&["shop"], Reason::Diff, NoticeState::Begins);
            let pairs = metadata.iter();
            message.metadata = pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            let to = to(Service::Alertmanager, "https://host/", &[]);
            body(&one(requests(&message, &to)))[0]["labels"].clone()
        };
        let plain = labels(&[]);
        let clash = labels(&[(name, "theirs"), ("team", "a")]);
        assert_eq!(clash[name], plain[name], "{name}");
        assert!(plain[name].is_string(), "{name}");
        assert_eq!(clash[format!("exported_{name}")], "theirs", "{name}");
        assert_eq!(clash["team"], "a");
    }
}

/// The longest words stay within the limits of the services.
#[test]
fn long_words_are_cut() {
    let mut message = message(&["shop"], Reason::Diff, NoticeState::Begins);
    message.title = "<".repeat(250);
    message.text = "<é".repeat(5000);
    message.problems[0].message = "é".repeat(20_000);
    let length = |value: &Value| value.as_str().unwrap().chars().count();
    let of = |service, pointer: &str| {
        let request =
            requests(&message, &to(service, "https://host/x", &[("token", "k")])).remove(0);
        length(body(&request).pointer(pointer).unwrap())
    };
    assert!(of(Service::Slack, "/attachments/0/blocks/0/text/text") <= 150);
    assert!(
        of(
            Service::Slack,
            "/attachments/0/blocks/1/elements/0/elements/0/text"
        ) <= 3000
    );
    assert!(of(Service::Discord, "/embeds/0/title") <= 256);
    assert!(of(Service::Discord, "/embeds/0/description") <= 4096);
    assert!(of(Service::Telegram, "/text") <= 4096);
    assert!(of(Service::PagerDuty, "/payload/summary") <= 1024);
    assert!(of(Service::Opsgenie, "/message") <= 130);
    assert!(of(Service::Opsgenie, "/description") <= 15_000);
}
