//! What an answer of a service means. Pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use serde_json::Value;

use crate::intent::Service;

/// The longest pause that a service may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// The pause for a Git host that takes no more requests and does not say until when. GitHub asks for at least so long.
const UNSAID_PAUSE: Duration = Duration::from_secs(60);

/// How GitHub and others say in a body that a refusal is about the number of requests, and how much of it is looked at.
const LIMITS: [&str; 2] = ["rate limit", "abuse detection"];
const LOOKED_AT: usize = 4096;

/// The answer to a request, as far as it matters. Of a mail server: its code, and as the body what it was about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// When more requests may be sent, in seconds since 1970, if no more may be sent now. Empty if the host does not say
    /// when.
    pub rate_reset: Option<String>,
    /// The start of the body.
    pub body: String,
}

/// What an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The service has the message.
    Delivered,
    /// The service will never take this message, for this reason.
    Refused(String),
    /// The service may take it later, for this reason, and not before this pause is over.
    Later(String, Option<Duration>),
    /// The service does not take this one now, for this reason, but may take others.
    NotThis(String),
}

/// Judges an answer. The texts hold no word of the body that could be secret.
pub fn judge(service: Service, answer: &Answer, now: Timestamp) -> Outcome {
    let status = answer.status;
    let pause = limit(service, answer, now);
    if service == Service::Email {
        return of_mail_server(answer);
    }
    if service.keeps_statuses()
        && let Some(outcome) = of_host(service, answer, pause)
    {
        return outcome;
    }
    match status {
        200..=299 => in_body(service, answer),
        401 | 403 => Outcome::Later(
            format!("it refuses the credentials (HTTP status {status}): correct the Secret"),
            None,
        ),
        404 | 405 | 410 => Outcome::Later(
            format!(
                "it takes no messages at this address (HTTP status {status}): correct the address"
            ),
            None,
        ),
        407 => Outcome::Later(
            "the proxy refuses the login (HTTP status 407)".to_owned(),
            None,
        ),
        300..=399 => Outcome::Later(
            format!(
                "it redirects (HTTP status {status}), and redirects are not followed: use the address that it redirects to"
            ),
            None,
        ),
        408 | 425 | 429 => Outcome::Later(
            format!("it takes no more messages now (HTTP status {status})"),
            pause,
        ),
        400..=499 => refused(format!("it refuses the message (HTTP status {status})")),
        _ => Outcome::Later(
            format!("it has a problem of its own (HTTP status {status})"),
            pause,
        ),
    }
}

/// Judges the answer of a Git host to a request about pull requests. `doing` says what the token must be able to do.
///
/// # Errors
///
/// What an answer means that is no success.
pub fn judge_planning(
    service: Service,
    answer: &Answer,
    doing: &str,
    now: Timestamp,
) -> Result<(), Outcome> {
    let status = answer.status;
    let not_this = |why: String| Err(Outcome::NotThis(format!("{why} (HTTP status {status})")));
    let is_limited = limit(service, answer, now).is_some();
    match status {
        200 | 201 => Ok(()),
        403 if !is_limited => not_this(format!(
            "it does not let the token {doing}: give the token the right to do that"
        )),
        404 => not_this(
            "it does not know the repository or the pull request, or does not show it to the token: see whether \
             spec.url names a repository of this host, and give the token rights to it"
                .to_owned(),
        ),
        400 | 409 | 410 | 422 => not_this(format!("it refuses to {doing}")),
        _ => match judge(service, answer, now) {
            Outcome::Delivered => not_this("its answer means nothing here".to_owned()),
            outcome => Err(outcome),
        },
    }
}

/// Judges the answer of a Git host to a request about a deployment.
///
/// # Errors
///
/// What an answer means that is no success.
pub fn judge_deployment(service: Service, answer: &Answer, now: Timestamp) -> Result<(), Outcome> {
    let status = answer.status;
    let not_this = |why: &str| Err(Outcome::NotThis(format!("{why} (HTTP status {status})")));
    let is_limited = limit(service, answer, now).is_some();
    match status {
        200 | 201 => Ok(()),
        403 if !is_limited => not_this(
            "it does not let the token write deployments of this repository or environment: give the token the right to \
             write them",
        ),
        404 => not_this(
            "it does not know the repository, or does not show its deployments to the token: see whether spec.url names \
             a repository of this host, and give the token the right to write deployments",
        ),
        400 | 409 | 410 | 422 => {
            not_this("it does not know the commit, or refuses the deployment or its environment")
        }
        _ => match judge(service, answer, now) {
            Outcome::Delivered => not_this("its answer means nothing here"),
            outcome => Err(outcome),
        },
    }
}

/// What a mail server means (RFC 5321, section 4.2, and RFC 4954, section 6).
fn of_mail_server(answer: &Answer) -> Outcome {
    let Answer {
        status, body: what, ..
    } = answer;
    match status {
        200..=299 => Outcome::Delivered,
        530 | 534 | 535 | 538 => Outcome::Later(
            format!(
                "it refuses {what} (SMTP code {status}): correct username and password of the Secret"
            ),
            None,
        ),
        500..=599 => refused(format!("it refuses {what} (SMTP code {status})")),
        _ => Outcome::Later(
            format!("it does not take {what} now (SMTP code {status})"),
            None,
        ),
    }
}

/// What only Git hosts mean. The right to set statuses is one for each repository, so that others may go on.
fn of_host(service: Service, answer: &Answer, pause: Option<Duration>) -> Option<Outcome> {
    let status = answer.status;
    let not_this = |why: &str| Some(Outcome::NotThis(format!("{why} (HTTP status {status})")));
    match status {
        // Azure DevOps shows its page for the login to a token that is wrong.
        203 | 302 if service == Service::AzureDevOps => Some(Outcome::Later(
            format!("it refuses the credentials (HTTP status {status}): correct the Secret"),
            None,
        )),
        // GitHub answers so to too many requests as well.
        403 if pause.is_some() => Some(Outcome::Later(
            format!("it takes no more requests now (HTTP status {status})"),
            pause,
        )),
        403 => not_this(
            "it does not let the token set statuses in this repository: give the token the right to write them",
        ),
        404 => not_this(
            "it does not know the repository or the commit, or does not show it to the token: see whether spec.url \
             names a repository of this host, and give the token rights to it",
        ),
        300..=399 => not_this(
            "it redirects, as for a repository that was renamed: use the new name in spec.url of the GitRepository",
        ),
        // GitLab takes no state that the commit has already.
        400 if service == Service::GitLab && answer.body.contains("Cannot transition status") => {
            Some(Outcome::Delivered)
        }
        400 | 409 | 410 | 422 => not_this("it does not know the commit, or refuses the status"),
        _ => None,
    }
}

/// The pause until the service takes more requests, if it says that it takes no more now: by `Retry-After`; by headers of
/// its own, as GitHub and GitLab; or only in the body, as GitHub for its secondary limits.
fn limit(service: Service, answer: &Answer, now: Timestamp) -> Option<Duration> {
    let asked = answer.retry_after.as_deref();
    if let Some(pause) = asked.and_then(|text| pause(text, now)) {
        return Some(pause);
    }
    if let Some(reset) = answer.rate_reset.as_deref() {
        return Some(until(reset, now).unwrap_or(UNSAID_PAUSE));
    }
    let is_refusal = service.keeps_statuses() && matches!(answer.status, 403 | 429);
    (is_refusal && says_limit(&answer.body)).then_some(UNSAID_PAUSE)
}

/// The pause until a second since 1970.
fn until(reset: &str, now: Timestamp) -> Option<Duration> {
    let at: i64 = reset.trim().parse().ok()?;
    let seconds = u64::try_from(at.saturating_sub(now.as_second())).unwrap_or_default();
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

fn says_limit(body: &str) -> bool {
    let start = &body[..body.floor_char_boundary(LOOKED_AT)];
    let start = start.to_ascii_lowercase();
    LIMITS.iter().any(|words| start.contains(words))
}

/// The outcome of a message that the service will never take.
fn refused(why: String) -> Outcome {
    Outcome::Refused(
        why + ": this message is given up; check the type, the channel and the templates",
    )
}

/// The API of Slack answers with status 200 to what it refuses, and so do webhooks of Telegram and others with `ok`.
fn in_body(service: Service, answer: &Answer) -> Outcome {
    if !matches!(service, Service::Slack | Service::Telegram) {
        return Outcome::Delivered;
    }
    let Ok(body) = serde_json::from_str::<Value>(&answer.body) else {
        return Outcome::Delivered;
    };
    if body["ok"] != false {
        return Outcome::Delivered;
    }
    // An error of Slack is one word of its own documentation.
    let is_word = |text: &&str| {
        text.len() <= 40
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let word = body["error"].as_str().filter(is_word).unwrap_or("an error");
    let why = format!("it answers with {word}");
    match word {
        "ratelimited" | "rate_limited" | "service_unavailable" | "internal_error" => {
            Outcome::Later(why, None)
        }
        "invalid_auth" | "not_authed" | "token_revoked" | "token_expired" | "account_inactive"
        | "channel_not_found" | "not_in_channel" | "is_archived" | "missing_scope" => {
            Outcome::Later(format!("{why}: correct the token or spec.channel"), None)
        }
        _ => refused(why),
    }
}

/// The pause that a header `Retry-After` asks for: seconds, or a date (RFC 9110, section 10.2.3). None for what is neither,
/// such as a negative number.
pub fn pause(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let pause = match text.parse::<f64>() {
        // Discord sends fractions of a second.
        Ok(seconds) if seconds >= 0.0 => {
            Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_PAUSE)
        }
        Ok(_) => return None,
        Err(_) => {
            let at = DateTimeParser::new().parse_timestamp(text).ok()?;
            at.duration_since(now).try_into().unwrap_or_default()
        }
    };
    Some(pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api.
    const SECONDARY: &str = "{\"documentation_url\":\"https://docs.github.com/en/free-pro-team@latest/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits\",\"message\":\"You have exceeded a secondary rate limit. Please wait a few minutes before you try again.\"}";

    fn answer(status: u16, retry_after: Option<&str>, body: &str) -> Answer {
        Answer {
            status,
            retry_after: retry_after.map(str::to_owned),
            rate_reset: None,
            body: body.to_owned(),
        }
    }

    #[test]
    fn an_answer_is_delivered_refused_or_later() {
        let now = Timestamp::from_second(784_111_777).unwrap(); // Sun, 06 Nov 1994 08:49:37 GMT
        let later = |seconds: Option<u64>| ("later", seconds.map(Duration::from_secs));
        for (status, retry_after, meant) in [
            (200, None, ("delivered", None)),
            (202, None, ("delivered", None)),
            (204, None, ("delivered", None)),
            (302, None, later(None)),
            (400, None, ("refused", None)),
            (413, None, ("refused", None)),
            (401, None, later(None)),
            (404, None, later(None)),
            (429, Some("7"), later(Some(7))),
            (429, Some("Sun, 06 Nov 1994 08:49:47 GMT"), later(Some(10))),
            (429, Some("Sun, 06 Nov 1994 08:49:00 GMT"), later(Some(0))),
            (429, Some("99999999999999"), later(Some(3600))),
            (429, Some("-1"), later(None)),
            (429, Some("-5.5"), later(None)),
            (429, Some("nan"), later(None)),
            (429, Some("-inf"), later(None)),
            (429, Some("0"), later(Some(0))),
            (429, Some("soon"), later(None)),
            (503, Some("1"), later(Some(1))),
            (500, None, later(None)),
        ] {
            let outcome = judge(
                Service::Generic,
                &answer(status, retry_after, "secret"),
                now,
            );
            let found = match &outcome {
                Outcome::Delivered => ("delivered", None),
                Outcome::Refused(why) => {
                    assert!(!why.contains("secret"));
                    ("refused", None)
                }
                Outcome::NotThis(why) => panic!("{why}"),
                Outcome::Later(why, pause) => {
                    assert!(why.contains(&status.to_string()) && !why.contains("secret"));
                    ("later", *pause)
                }
            };
            assert_eq!(found, meant, "{status} {retry_after:?}");
        }
    }

    #[test]
    fn a_git_host_refuses_one_repository_and_takes_others() {
        let now = Timestamp::from_second(1000).unwrap();
        let judge = |service, answer| judge(service, &answer, now);
        let github =
            |status, retry_after| judge(Service::GitHub, answer(status, retry_after, "s3cret"));
        assert_eq!(github(201, None), Outcome::Delivered);
        for status in [301, 307, 400, 403, 404, 422] {
            match github(status, None) {
                Outcome::NotThis(why) => {
                    assert!(
                        why.contains(&status.to_string()) && !why.contains("s3cret"),
                        "{why}"
                    );
                }
                other => panic!("{status}: {other:?}"),
            }
        }
        for (status, retry_after) in [(401, None), (403, Some("7")), (429, Some("7")), (502, None)]
        {
            let outcome = github(status, retry_after);
            let pause = retry_after.map(|_| Duration::from_secs(7));
            assert!(
                matches!(outcome, Outcome::Later(_, found) if found == pause),
                "{outcome:?}"
            );
        }
        for status in [203, 302] {
            let outcome = judge(Service::AzureDevOps, answer(status, None, ""));
            assert!(matches!(outcome, Outcome::Later(why, None) if why.contains("credentials")));
        }
        let limited = Answer {
            rate_reset: Some("1030".to_owned()),
            ..answer(403, None, "")
        };
        let pause = Some(Duration::from_secs(30));
        assert!(
            matches!(judge(Service::GitHub, limited), Outcome::Later(_, found) if found == pause)
        );
        let unsaid = Some(UNSAID_PAUSE);
        for (status, reset, body) in [
            (403, Some(""), ""),
            (403, None, SECONDARY),
            (429, None, SECONDARY),
            (
                403,
                None,
                "{\"message\":\"You have triggered an abuse detection mechanism.\"}",
            ),
        ] {
            let answer = Answer {
                rate_reset: reset.map(str::to_owned),
                ..answer(status, None, body)
            };
            let is_limit = |outcome: &Outcome| matches!(outcome, Outcome::Later(why, found) if *found == unsaid && why.contains("it takes no more"));
            let planning = judge_planning(Service::GitHub, &answer, "comment", now);
            let deployment = judge_deployment(Service::GitHub, &answer, now);
            for outcome in [
                judge(Service::GitHub, answer),
                planning.unwrap_err(),
                deployment.unwrap_err(),
            ] {
                assert!(is_limit(&outcome), "{status} {body}: {outcome:?}");
            }
        }
        let right = "{\"message\":\"Resource not accessible by integration\"}";
        let refused = judge(Service::GitHub, answer(403, None, right));
        assert!(matches!(refused, Outcome::NotThis(_)), "{refused:?}");
        let same = "{\"message\":\"Cannot transition status via :enqueue from :pending\"}";
        assert_eq!(
            judge(Service::GitLab, answer(400, None, same)),
            Outcome::Delivered
        );
    }

    #[test]
    fn slack_refuses_in_its_body() {
        let now = Timestamp::UNIX_EPOCH;
        let judge = |body| judge(Service::Slack, &answer(200, None, body), now);
        assert_eq!(judge("ok"), Outcome::Delivered);
        assert_eq!(judge(r#"{"ok":true}"#), Outcome::Delivered);
        for (body, said, is_later) in [
            (
                r#"{"ok":false,"error":"invalid_auth"}"#,
                "invalid_auth",
                true,
            ),
            (
                r#"{"ok":false,"error":"msg_too_long"}"#,
                "msg_too_long",
                false,
            ),
            (
                r#"{"ok":false,"error":"Bearer s3cret!"}"#,
                "an error",
                false,
            ),
        ] {
            match judge(body) {
                Outcome::Later(why, None) if is_later => assert!(why.contains(said), "{why}"),
                Outcome::Refused(why) if !is_later => assert!(why.contains(said), "{why}"),
                other => panic!("{body}: {other:?}"),
            }
        }
    }
}
