//! A message on its way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::message::{Deploying, Item, Message, Outcome, Request, requests};
use crate::outbox::Endpoint;

type Answer = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// What is sent at a time.
#[derive(Clone)]
pub(super) enum Job {
    Request(Request),
    /// Some requests, each of which follows from the answer to the one before. They begin again after a failure.
    Deployment(Box<Deploying>),
}

/// The requests of a message. Each is sent after the one before it was taken.
pub(super) struct Sending {
    items: Vec<Item>,
    /// What is said. None for a reminder.
    message: Option<Message>,
    jobs: Vec<Job>,
    next: usize,
    /// When its item was first due.
    began: Timestamp,
    since: Instant,
    /// The request that is under way. It is kept between rounds, so that no event makes it be sent twice.
    under_way: Option<Answer>,
}

impl Sending {
    /// The message about `items`, for the service behind `endpoint`.
    pub(super) fn new(items: Vec<Item>, message: Message, endpoint: &Endpoint) -> Self {
        Self {
            jobs: jobs(&message, endpoint),
            message: Some(message),
            ..Self::of(items)
        }
    }

    /// Sets the statuses of commits that an item is about, or their deployments.
    pub(super) fn statuses(item: Item, since: Timestamp, jobs: Vec<Job>) -> Self {
        Self {
            began: since,
            jobs,
            ..Self::of(vec![item])
        }
    }

    fn of(items: Vec<Item>) -> Self {
        Self {
            items,
            message: None,
            jobs: Vec::new(),
            next: 0,
            began: Timestamp::now(),
            since: Instant::now(),
            under_way: None,
        }
    }

    /// A request that says again what was said already.
    pub(super) fn reminder(request: Request) -> Self {
        Self {
            jobs: vec![Job::Request(request)],
            ..Self::of(Vec::new())
        }
    }

    /// Sends the message to another service, or to another address of the same one, from its beginning. A reminder
    /// is given up.
    pub(super) fn readdress(&mut self, endpoint: &Endpoint) {
        self.under_way = None;
        self.next = 0;
        self.jobs = match &self.message {
            Some(message) => jobs(message, endpoint),
            None => Vec::new(),
        };
    }

    /// Begins the next request, unless one is under way.
    pub(super) fn go_on(&mut self, endpoint: &Arc<Endpoint>) {
        if self.under_way.is_some() {
            return;
        }
        if let Some(job) = self.jobs.get(self.next).cloned() {
            let endpoint = Arc::clone(endpoint);
            self.under_way = Some(Box::pin(async move {
                match job {
                    Job::Request(request) => endpoint.send(request).await,
                    Job::Deployment(deploying) => endpoint.deploy(*deploying).await,
                }
            }));
        }
    }

    /// Waits for the answer to the request that is under way.
    pub(super) async fn outcome(&mut self) -> Outcome {
        match &mut self.under_way {
            Some(under_way) => under_way.await,
            None => std::future::pending().await,
        }
    }

    /// The request was taken, or never will be.
    pub(super) fn next(&mut self) {
        self.next += 1;
        self.under_way = None;
    }

    /// The request is sent again: it failed, or the service is reached in another way now.
    pub(super) fn try_again(&mut self) {
        self.under_way = None;
    }

    /// No request is sent any more.
    pub(super) fn give_up(&mut self) {
        self.next = self.jobs.len();
        self.under_way = None;
    }

    pub(super) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether this tells nothing new.
    pub(super) fn is_reminder(&self) -> bool {
        self.items.is_empty()
    }

    pub(super) fn is_done(&self) -> bool {
        self.next >= self.jobs.len()
    }

    /// Whether no request was taken yet.
    pub(super) fn is_at_its_first(&self) -> bool {
        self.next == 0
    }

    /// The items, and when the first of them was due.
    pub(super) fn into_items(self) -> (Vec<Item>, Timestamp) {
        (self.items, self.began)
    }

    /// When its item was first due.
    pub(super) fn began(&self) -> Timestamp {
        self.began
    }

    pub(super) fn items(&self) -> &[Item] {
        &self.items
    }
}

/// What tells a message to the service behind `endpoint`.
fn jobs(message: &Message, endpoint: &Endpoint) -> Vec<Job> {
    let requests = requests(message, &endpoint.destination);
    requests.into_iter().map(Job::Request).collect()
}
