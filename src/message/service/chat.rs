//! Chats. Each has its own limits and its own characters to escape.

use serde_json::{Value, json};

use super::{Destination, Message, Request, json};
use crate::message::NoticeState;
use crate::text::shorten;

/// The colour of a message, as a number of red, green and blue.
fn colour(message: &Message) -> u32 {
    match (message.severity, message.state) {
        ("error", _) => 0x00D7_263D,
        (_, state) if state == NoticeState::Ends.as_str() => 0x002E_A043,
        _ => 0x0036_7BF5,
    }
}

fn hex_colour(message: &Message) -> String {
    format!("#{:06x}", colour(message))
}

/// A body with `channel` and `username`, where the Provider names them.
fn addressed(mut body: Value, to: &Destination) -> Value {
    if let Some(fields) = body.as_object_mut() {
        for (key, value) in [("channel", &to.channel), ("username", &to.username)] {
            if let Some(value) = value {
                fields.insert(key.to_owned(), json!(value));
            }
        }
    }
    body
}

/// The characters that HTML reads as markup, and that Slack ("Formatting text for app surfaces") and Google Chat do.
pub(super) fn unmarked(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// The most links of a text in Slack.
const LINKS: usize = 50;

/// Slack: an incoming webhook, or `chat.postMessage` with a bot's token. A header has at most 150 characters. The body is
/// rich text: Slack reads no markup in its elements, and a link is an element of its own.
pub(super) fn slack(message: &Message, to: &Destination) -> Request {
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": shorten(&message.title, 150), "emoji": false},
    })];
    if !message.text.is_empty() {
        let section = json!({
            "type": "rich_text_section",
            "elements": rich_text(&shorten(&message.text, 2900)),
        });
        blocks.push(json!({"type": "rich_text", "elements": [section]}));
    }
    let body = json!({
        "text": unmarked(&message.title),
        // The text above is no markup either.
        "mrkdwn": false,
        "attachments": [{"color": hex_colour(message), "blocks": blocks}],
        "unfurl_links": false,
    });
    json(to.address.url(), to, &addressed(body, to))
}

/// The elements of a text: words that are URLs are links, and all else is text.
fn rich_text(text: &str) -> Vec<Value> {
    let plain = |text: &str| json!({"type": "text", "text": text});
    let (mut elements, mut before, mut links) = (Vec::new(), String::new(), 0);
    for word in text.split_inclusive(char::is_whitespace) {
        let url = word.trim_end();
        let is_url = url.starts_with("https://") || url.starts_with("http://");
        if !is_url || links >= LINKS {
            before.push_str(word);
            continue;
        }
        links += 1;
        if !before.is_empty() {
            elements.push(plain(&std::mem::take(&mut before)));
        }
        elements.push(json!({"type": "link", "url": url}));
        before.push_str(&word[url.len()..]);
    }
    if !before.is_empty() {
        elements.push(plain(&before));
    }
    elements
}

/// What Mattermost and Rocket.Chat took over of Slack's older format.
fn attachment(message: &Message) -> Value {
    json!({
        "fallback": unmentioned(&message.title),
        "color": hex_colour(message),
        "title": unmentioned(&message.title),
        "title_link": message.commit_url,
        "text": shorten(&unmentioned(&markdown(&message.text)), 7000),
    })
}

/// Mattermost: an incoming webhook.
pub(super) fn mattermost(message: &Message, to: &Destination) -> Request {
    let body = json!({"attachments": [attachment(message)]});
    json(to.address.url(), to, &addressed(body, to))
}

/// Rocket.Chat: an incoming webhook.
pub(super) fn rocket(message: &Message, to: &Destination) -> Request {
    let title = unmentioned(&markdown(&message.title));
    let body = json!({"text": title, "attachments": [attachment(message)]});
    json(to.address.url(), to, &addressed(body, to))
}

/// Microsoft Teams: the workflow "Post to a channel when a webhook request is received" takes an adaptive card.
pub(super) fn teams(message: &Message, to: &Destination) -> Request {
    let style = match message.severity {
        "error" => "attention",
        _ if message.state == NoticeState::Ends.as_str() => "good",
        _ => "emphasis",
    };
    let actions: Vec<Value> = message
        .commit_url
        .iter()
        .map(|url| json!({"type": "Action.OpenUrl", "title": "Commit", "url": url}))
        .collect();
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "body": [
            {"type": "Container", "style": style, "items": [
                {"type": "TextBlock", "text": markdown(&message.title), "weight": "Bolder", "size": "Medium", "wrap": true},
            ]},
            // Two breaks are one in the markdown of a card.
            {"type": "TextBlock", "text": markdown(&shorten(&message.text, 12_000)).replace('\n', "\n\n"), "wrap": true},
        ],
        "actions": actions,
    });
    let body = json!({
        "type": "message",
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": card,
        }],
    });
    json(to.address.url(), to, &body)
}

/// The text with the characters escaped that begin markup in markdown. URLs stay, so that they become links, but for
/// those with a character that no URL has: it may begin a link to somewhere else. A sign at the start of a line begins a
/// list or a quote, and `#` a heading or a link to a channel.
fn markdown(text: &str) -> String {
    let ends_url = |c: char| matches!(c, '*' | '`' | '[' | ']' | '<' | '>' | '|' | '\\');
    let begins_markup = |c: char| ends_url(c) || matches!(c, '_' | '~' | '#');
    let mut out = String::with_capacity(text.len());
    let mut is_first = true;
    for word in text.split_inclusive(char::is_whitespace) {
        let is_url = word.starts_with("https://") || word.starts_with("http://");
        let begins_line = std::mem::replace(&mut is_first, word.ends_with('\n'));
        if is_url && !word.contains(ends_url) {
            out.push_str(word);
            continue;
        }
        if begins_line && word.starts_with(['-', '+', '=']) {
            out.push('\\');
        }
        for character in word.chars() {
            if begins_markup(character) {
                out.push('\\');
            }
            out.push(character);
        }
    }
    out
}

/// The text without mentions, of which `@all` would wake everybody: a space of no width follows each `@`.
fn unmentioned(text: &str) -> String {
    text.replace('@', "@\u{200b}")
}

/// Discord: a webhook. Titles have at most 256 characters and descriptions 4,096. Nobody is mentioned.
pub(super) fn discord(message: &Message, to: &Destination) -> Request {
    let mut body = json!({
        "embeds": [{
            "title": shorten(&markdown(&message.title), 250),
            "description": shorten(&markdown(&message.text), 4000),
            "url": message.commit_url,
            "color": colour(message),
            "timestamp": message.at.to_string(),
        }],
        "allowed_mentions": {"parse": []},
    });
    if let (Some(fields), Some(name)) = (body.as_object_mut(), &to.username) {
        fields.insert("username".to_owned(), json!(shorten(name, 80)));
    }
    json(to.address.url(), to, &body)
}

/// Google Chat: a webhook of a space. A text paragraph of a card takes some HTML.
pub(super) fn google(message: &Message, to: &Destination) -> Request {
    let mut widgets = vec![json!({
        "textParagraph": {"text": unmarked(&shorten(&message.text, 12_000))},
    })];
    if let Some(url) = &message.commit_url {
        let button = json!({"text": "Commit", "onClick": {"openLink": {"url": url}}});
        widgets.push(json!({"buttonList": {"buttons": [button]}}));
    }
    let card = json!({
        "header": {"title": message.title},
        "sections": [{"widgets": widgets}],
    });
    let body = json!({
        "text": "",
        "cardsV2": [{"cardId": message.id, "card": card}],
    });
    json(to.address.url(), to, &body)
}

/// Telegram: `sendMessage` of the Bot API, as plain text of at most 4,096 characters.
pub(super) fn telegram(message: &Message, to: &Destination) -> Request {
    let text = format!("{}\n\n{}", message.title, message.text);
    let body = json!({
        "chat_id": to.channel,
        "text": shorten(&text, 4000),
        "link_preview_options": {"is_disabled": true},
    });
    let path = format!("/bot{}/sendMessage", to.token());
    json(to.address.below(&path), to, &body)
}
