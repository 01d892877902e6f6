//! A service that is open for messages: one request at a time, at the service's pace, with pauses after failures.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::Name;
use super::post::{Client, Recipient, Transport};
use crate::backoff::Backoff;
use crate::intent::Service;
use crate::message::{
    Answer, Deploying, Destination, InstallationToken, Outcome, Pace, Request, Rights, judge,
    judge_deployment, judge_planning, pace, token_of, token_request,
};

/// The pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// A pause that is longer is named in the condition.
const LONG_PAUSE: Duration = Duration::from_secs(60);

/// What is known of a service from the last request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Whether a message was delivered.
    pub delivered: bool,
    /// Why the last request failed.
    pub failure: Option<String>,
    /// Whether the request that failed is sent again.
    pub sends_again: bool,
}

impl Health {
    /// Whether the service took the last message.
    fn is_well(&self) -> bool {
        self.delivered && self.failure.is_none()
    }
}

/// A service that is open for messages.
pub struct Endpoint {
    /// Where it is.
    pub destination: Destination,
    provider: Name,
    transport: Transport,
    timeout: Duration,
    client: Client,
    turn: Mutex<Turn>,
    health: watch::Sender<Health>,
}

/// When the next request may be sent.
struct Turn {
    /// The requests that may be sent at once.
    left: f64,
    /// When `left` was counted.
    counted: Instant,
    /// No request before this.
    not_before: Instant,
    backoff: Backoff,
    /// The tokens of the App.
    tokens: BTreeMap<Rights, InstallationToken>,
    /// Whether the last failure is one of a question, so that the answer to a question ends it.
    is_unanswered: bool,
}

impl Turn {
    /// When the next request may be sent. Counts it.
    fn next(&mut self, pace: Pace, now: Instant) -> Instant {
        let passed = now.saturating_duration_since(self.counted).as_secs_f64();
        let each = pace.each.as_secs_f64();
        self.left = (self.left + passed / each).min(f64::from(pace.burst)) - 1.0;
        self.counted = now;
        let missing = Duration::from_secs_f64((-self.left).max(0.0) * each);
        (now + missing).max(self.not_before)
    }

    /// After a failure that passes, the next request waits. The outcome says until when, where that is long.
    fn waits(&mut self, outcome: Outcome) -> Outcome {
        let Outcome::Later(why, asked) = outcome else {
            return outcome;
        };
        let pause = self.backoff.pause().max(asked.unwrap_or_default());
        self.not_before = Instant::now() + pause;
        let why = match pause > LONG_PAUSE {
            true => format!("{why}; the next try is at {}", moment(pause)),
            false => why,
        };
        Outcome::Later(why, asked)
    }
}

/// The time of day after a pause, in whole seconds.
fn moment(pause: Duration) -> String {
    let at = Timestamp::now().saturating_add(pause).unwrap_or_default();
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Endpoint {
    /// Opens a service.
    pub fn new(
        destination: Destination,
        provider: &Name,
        transport: Transport,
        timeout: Duration,
        client: Client,
    ) -> Self {
        let now = Instant::now();
        Self {
            turn: Mutex::new(Turn {
                left: f64::from(pace(destination.service).burst),
                counted: now,
                not_before: now,
                backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
                tokens: BTreeMap::new(),
                is_unanswered: false,
            }),
            destination,
            provider: provider.clone(),
            transport,
            timeout,
            client,
            health: watch::Sender::default(),
        }
    }

    /// What is known of the service.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// The request with the token of the App, where the Provider has one. A token that has ended is replaced first.
    async fn authorized(
        &self,
        turn: &mut Turn,
        rights: Rights,
        mut request: Request,
    ) -> Result<Request, Outcome> {
        let Some(app) = self.destination.app() else {
            return Ok(request);
        };
        let now = Timestamp::now();
        let is_valid = |token: &InstallationToken| token.until > now;
        let token = match turn.tokens.remove(&rights).filter(is_valid) {
            Some(token) => token,
            None => {
                let asked = token_request(app, &self.destination, rights, now);
                let asked = asked.ok_or_else(|| {
                    Outcome::Later("the key of the App does not sign".to_owned(), None)
                })?;
                let answer = self.exchange(turn, asked).await?;
                token_of(&answer, rights, Timestamp::now())?
            }
        };
        let value = format!("Bearer {}", token.token);
        request.headers.push(("authorization".to_owned(), value));
        turn.tokens.insert(rights, token);
        Ok(request)
    }

    /// Sends a request at the pace of the service, and returns its answer.
    async fn exchange(&self, turn: &mut Turn, request: Request) -> Result<Answer, Outcome> {
        let at = turn.next(pace(self.destination.service), Instant::now());
        tokio::time::sleep_until(at).await;
        let (transport, timeout) = (self.transport.clone(), self.timeout);
        let to = Recipient {
            namespace: &self.provider.0,
            name: &self.provider.1,
            is_proven: self.health.borrow().is_well(),
        };
        let sent = self.client.send(to, transport, request, timeout).await;
        sent.map_err(|error| Outcome::Later(self.destination.hide(&crate::chain(&error)), None))
    }

    /// Sends a request when it is its turn. After a failure, the next request of this service waits.
    pub async fn send(&self, request: Request) -> Outcome {
        let mut turn = self.turn.lock().await;
        let outcome = match self.answer(&mut turn, Rights::Statuses, request).await {
            Ok(answer) => judge(self.destination.service, &answer, Timestamp::now()),
            Err(outcome) => outcome,
        };
        self.settle(&mut turn, outcome)
    }

    /// Tells a Git host of a deployment when it is its turn: some requests, between which no other one is sent. So two
    /// alerts about one Sync make one deployment.
    pub async fn deploy(&self, mut deploying: Deploying) -> Outcome {
        let mut turn = self.turn.lock().await;
        let to = &self.destination;
        let outcome = loop {
            let Some(request) = deploying.request(to) else {
                break Outcome::Delivered;
            };
            let answer = self.answer(&mut turn, Rights::Deployments, request).await;
            let judged = answer.and_then(|answer| {
                judge_deployment(to.service, &answer, Timestamp::now()).map(|()| answer)
            });
            match judged {
                Ok(answer) if deploying.take(&answer.body, to) => (),
                Ok(_) => break Outcome::NotThis("its answer has no deployment".to_owned()),
                Err(outcome) => break outcome,
            }
        };
        self.settle(&mut turn, outcome)
    }

    /// Records what became of a message. Returns it with the time of the next try, where that is far away.
    fn settle(&self, turn: &mut Turn, outcome: Outcome) -> Outcome {
        turn.is_unanswered = false;
        let outcome = turn.waits(outcome);
        let health = match &outcome {
            Outcome::Delivered => {
                turn.backoff.reset();
                Health {
                    delivered: true,
                    failure: None,
                    sends_again: false,
                }
            }
            Outcome::NotThis(why) => Health {
                failure: Some(why.clone()),
                sends_again: true,
                ..self.health.borrow().clone()
            },
            Outcome::Refused(why) => Health {
                failure: Some(why.clone()),
                sends_again: false,
                ..self.health.borrow().clone()
            },
            Outcome::Later(why, _) => Health {
                failure: Some(why.clone()),
                sends_again: true,
                ..self.health.borrow().clone()
            },
        };
        self.publish(health);
        outcome
    }

    /// Asks a Git host about pull requests, or changes something of one, when it is its turn. `doing` says what the token
    /// must be able to do. Messages wait after a failure of the host as such; a right that is missing concerns nobody else.
    ///
    /// # Errors
    ///
    /// What an answer means that is no success.
    pub async fn ask(&self, request: Request, doing: &str) -> Result<Answer, Outcome> {
        let judge =
            |service, answer: &Answer| judge_planning(service, answer, doing, Timestamp::now());
        self.asked(request, judge).await
    }

    /// The same about something that may not be there: none if it is not.
    ///
    /// # Errors
    ///
    /// What an answer means that is no success.
    pub async fn find(&self, request: Request, doing: &str) -> Result<Option<Answer>, Outcome> {
        let is_absent = |answer: &Answer| answer.status == 404;
        let judge = |service, answer: &Answer| match is_absent(answer) {
            true => Ok(()),
            false => judge_planning(service, answer, doing, Timestamp::now()),
        };
        let answer = self.asked(request, judge).await?;
        Ok(Some(answer).filter(|answer| !is_absent(answer)))
    }

    async fn asked(
        &self,
        request: Request,
        judge: impl Fn(Service, &Answer) -> Result<(), Outcome>,
    ) -> Result<Answer, Outcome> {
        let mut turn = self.turn.lock().await;
        let service = self.destination.service;
        let answer = self.answer(&mut turn, Rights::PullRequests, request).await;
        let answer = answer.and_then(|answer| judge(service, &answer).map(|()| answer));
        let answer = answer.map_err(|outcome| turn.waits(outcome));
        let known = self.health.borrow().clone();
        match &answer {
            Ok(_) if turn.is_unanswered => {
                (turn.is_unanswered, turn.not_before) = (false, Instant::now());
                turn.backoff.reset();
                self.publish(Health {
                    failure: None,
                    sends_again: false,
                    ..known
                });
            }
            Err(Outcome::Later(why, _)) => {
                turn.is_unanswered = true;
                self.publish(Health {
                    failure: Some(why.clone()),
                    sends_again: true,
                    ..known
                });
            }
            Ok(_) | Err(_) => (),
        }
        answer
    }

    /// The answer to a request with these rights.
    async fn answer(
        &self,
        turn: &mut Turn,
        rights: Rights,
        request: Request,
    ) -> Result<Answer, Outcome> {
        let request = self.authorized(turn, rights, request).await?;
        let answer = self.exchange(turn, request).await?;
        if answer.status == 401 {
            turn.tokens.remove(&rights);
        }
        Ok(answer)
    }

    fn publish(&self, health: Health) {
        self.health.send_if_modified(|known| {
            let is_new = *known != health;
            *known = health;
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(left: f64) -> Turn {
        let now = Instant::now();
        Turn {
            left,
            counted: now,
            not_before: now,
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            tokens: BTreeMap::new(),
            is_unanswered: false,
        }
    }

    #[test]
    fn a_long_pause_says_when_the_next_try_is() {
        for (asked, is_said) in [
            (None, false),
            (Some(60), false),
            (Some(61), true),
            (Some(3600), true),
        ] {
            let asked = asked.map(Duration::from_secs);
            let later = Outcome::Later("it is full".to_owned(), asked);
            let before = Instant::now();
            let mut turn = turn(1.0);
            let Outcome::Later(why, pause) = turn.waits(later) else {
                panic!("it is later");
            };
            assert_eq!(
                (pause, why.contains("; the next try is at 2")),
                (asked, is_said),
                "{why}"
            );
            assert!(turn.not_before >= before + asked.unwrap_or_default());
        }
        assert_eq!(turn(1.0).waits(Outcome::Delivered), Outcome::Delivered);
    }

    #[test]
    fn requests_follow_each_other_at_the_pace_of_the_service() {
        let now = Instant::now();
        let pace = Pace {
            burst: 3,
            each: Duration::from_secs(2),
        };
        let mut turn = Turn {
            counted: now,
            not_before: now,
            ..turn(3.0)
        };
        let waits: Vec<u64> = (0..5)
            .map(|_| (turn.next(pace, now) - now).as_secs())
            .collect();
        assert_eq!(waits, [0, 0, 0, 2, 4]);
        let later = now + Duration::from_secs(60);
        assert_eq!(turn.next(pace, later), later);
        turn.not_before = later + Duration::from_secs(9);
        assert_eq!(turn.next(pace, later), turn.not_before);
    }
}
