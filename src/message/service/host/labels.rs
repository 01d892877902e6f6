//! Who set a label on a pull request, and whether that person may push to the repository. Pure.
//!
//! GitHub lets people with the role *triage* set labels, and GitLab those with *Planner* or *Reporter*; neither may push. A
//! workflow may set them as well, also for requests of strangers. Gitea and Forgejo tell only owners what others may do;
//! there, a label needs the right to write.

use serde_json::Value;

use super::pulls::PullRequests;
use crate::intent::Service;
use crate::message::Request;

/// What happened to requests, on one page: each says a good deal about people.
const PAGE: usize = 100;

/// GitLab's access level of a developer, who may push to branches that are not protected.
const DEVELOPER: u64 = 30;

/// Somebody who set a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labeller {
    /// The name, for people.
    pub name: String,
    /// What the host's API calls that person.
    key: String,
}

impl PullRequests<'_> {
    /// Asks for a page of what happened to a request, the oldest first. None if only people who may push can set labels.
    pub fn labelling(&self, number: u64, page: usize) -> Option<Request> {
        let path = match self.service() {
            Service::GitHub => format!("issues/{number}/events"),
            Service::GitLab => format!("merge_requests/{number}/resource_label_events"),
            _ => return None,
        };
        let (page, size) = (page.to_string(), PAGE.to_string());
        Some(self.get(&path, &[("per_page", &size), ("page", &page)]))
    }

    /// Takes a page of what happened into account: who set `label` last is in `last`, unless it was taken off since. Returns
    /// whether there may be more pages. None if the answer is no list.
    pub fn read_labelling(
        &self,
        body: &str,
        label: &str,
        last: &mut Option<Labeller>,
    ) -> Option<bool> {
        let events: Vec<Value> = serde_json::from_str(body).ok()?;
        let (what, who, set, taken_off) = match self.service() {
            Service::GitLab => ("action", "user", "add", "remove"),
            _ => ("event", "actor", "labeled", "unlabeled"),
        };
        for event in &events {
            if event["label"]["name"] != label {
                continue;
            }
            let happened = event[what].as_str().unwrap_or_default();
            if happened == set {
                *last = self.labeller(&event[who]);
            } else if happened == taken_off {
                *last = None;
            }
        }
        Some(events.len() >= PAGE)
    }

    fn labeller(&self, person: &Value) -> Option<Labeller> {
        let (name, key) = match self.service() {
            Service::GitLab => (&person["username"], person["id"].as_u64()?.to_string()),
            _ => (&person["login"], person["login"].as_str()?.to_owned()),
        };
        Some(Labeller {
            name: name.as_str().unwrap_or(&key).to_owned(),
            key,
        })
    }

    /// Asks what somebody may do in the repository.
    pub fn rights_of(&self, person: &Labeller) -> Request {
        let key: String = form_urlencoded::byte_serialize(person.key.as_bytes()).collect();
        let path = match self.service() {
            Service::GitLab => format!("members/all/{key}"),
            _ => format!("collaborators/{key}/permission"),
        };
        self.get(&path, &[])
    }

    /// Whether that includes to push. None if the answer does not say it.
    pub fn read_may_push(&self, body: &str) -> Option<bool> {
        let rights: Value = serde_json::from_str(body).ok()?;
        match self.service() {
            Service::GitLab => Some(rights["access_level"].as_u64()? >= DEVELOPER),
            _ => Some(matches!(rights["permission"].as_str()?, "admin" | "write")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::destination::tests::{intent, secret};
    use super::super::Repository;
    use super::*;
    use crate::message::Destination;

    fn check(service: Service, test: impl Fn(&PullRequests<'_>)) {
        let address = (service == Service::Gitea).then_some("https://git.corp");
        let secret = secret(&[("token", "t")]);
        let to = Destination::new(&intent(service, address), Some(&secret)).unwrap();
        let host = match service {
            Service::GitHub => "github.com",
            Service::GitLab => "gitlab.com",
            _ => "git.corp",
        };
        let repository = Repository {
            host: host.to_owned(),
            path: "/a/b.git".to_owned(),
        };
        test(&PullRequests::of(Some(&repository), &to).unwrap().unwrap());
    }

    fn event(service: Service, what: &str, label: &str, who: &Value) -> Value {
        match service {
            Service::GitLab => json!({
                "action": what, "label": {"id": 1, "name": label}, "user": who, "resource_type": "MergeRequest",
            }),
            _ => json!({"event": what, "label": {"name": label, "color": "0"}, "actor": who}),
        }
    }

    #[test]
    fn requests_are_those_of_the_documentation() {
        for (service, key, urls) in [
            (
                Service::GitHub,
                "dependabot[bot]",
                [
                    "https://api.github.com/repos/a/b/issues/7/events?per_page=100&page=2",
                    "https://api.github.com/repos/a/b/collaborators/dependabot%5Bbot%5D/permission",
                ],
            ),
            (
                Service::GitLab,
                "42",
                [
                    "https://gitlab.com/api/v4/projects/a%2Fb/merge_requests/7/resource_label_events?per_page=100&page=2",
                    "https://gitlab.com/api/v4/projects/a%2Fb/members/all/42",
                ],
            ),
        ] {
            check(service, |api| {
                let person = Labeller {
                    name: "ann".to_owned(),
                    key: key.to_owned(),
                };
                let asked = [api.labelling(7, 2).unwrap().url, api.rights_of(&person).url];
                assert_eq!(asked, urls);
            });
        }
        check(Service::Gitea, |api| assert!(api.labelling(7, 1).is_none()));
    }

    #[test]
    fn the_last_one_who_set_a_label_that_is_still_there_is_found() {
        for (service, set, off) in [
            (Service::GitHub, "labeled", "unlabeled"),
            (Service::GitLab, "add", "remove"),
        ] {
            let by = |name: &str| json!({"login": name, "username": name, "id": 42});
            let of = |what: &str, label: &str, who: Value| event(service, what, label, &who);
            for (events, found) in [
                (vec![], None),
                (vec![of(set, "plan", by("ann"))], Some("ann")),
                (vec![of(set, "Plan", by("ann"))], None),
                (
                    vec![of(set, "plan", by("ann")), of(off, "plan", by("bob"))],
                    None,
                ),
                (
                    vec![
                        of(set, "plan", by("ann")),
                        of(off, "plan", by("ann")),
                        of(set, "plan", by("bob")),
                        of(set, "other", by("eve")),
                        of("renamed", "plan", by("eve")),
                    ],
                    Some("bob"),
                ),
                // The account is gone.
                (vec![of(set, "plan", Value::Null)], None),
                (
                    vec![json!(null), json!({}), json!(7), of(set, "plan", by("ann"))],
                    Some("ann"),
                ),
            ] {
                check(service, |api| {
                    let mut last = None;
                    let body = json!(events).to_string();
                    assert_eq!(api.read_labelling(&body, "plan", &mut last), Some(false));
                    assert_eq!(last.map(|last| last.name).as_deref(), found, "{body}");
                });
            }
            check(service, |api| {
                let mut last = None;
                let page = json!(vec![of(set, "plan", by("ann")); PAGE]).to_string();
                assert_eq!(api.read_labelling(&page, "plan", &mut last), Some(true));
                let next = json!([of(off, "plan", by("ann"))]).to_string();
                assert_eq!(api.read_labelling(&next, "plan", &mut last), Some(false));
                assert_eq!(last, None, "pages follow one another");
                assert_eq!(api.read_labelling("{}", "plan", &mut last), None);
            });
        }
    }

    #[test]
    fn who_may_push_is_what_the_host_says() {
        for (service, body, may) in [
            (Service::GitHub, json!({"permission": "admin"}), Some(true)),
            (
                Service::GitHub,
                json!({"permission": "write", "role_name": "maintain"}),
                Some(true),
            ),
            (
                Service::GitHub,
                json!({"permission": "read", "role_name": "triage"}),
                Some(false),
            ),
            (Service::GitHub, json!({"permission": "none"}), Some(false)),
            (Service::GitHub, json!({"message": "x"}), None),
            (Service::GitLab, json!({"access_level": 40}), Some(true)),
            (Service::GitLab, json!({"access_level": 30}), Some(true)),
            (Service::GitLab, json!({"access_level": 20}), Some(false)),
            (Service::GitLab, json!([]), None),
        ] {
            check(service, |api| {
                assert_eq!(api.read_may_push(&body.to_string()), may, "{body}");
            });
        }
    }
}
