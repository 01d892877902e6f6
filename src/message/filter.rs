//! Which notices an alert selects. Pure.

use std::collections::{BTreeMap, BTreeSet};

use regex::{RegexSet, RegexSetBuilder};

use super::Subject;
use crate::api::Reason;
use crate::intent::{AlertIntent, NoticeSource};
use crate::notify::{Level, Notice};

/// The most memory of the compiled patterns of one list, in bytes.
const PATTERNS_SIZE: usize = 1 << 20;

/// Why notices cannot be selected.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// A regular expression is malformed or too large.
    #[error("{field}: {source}")]
    Pattern {
        /// The field of the spec.
        field: &'static str,
        /// What is wrong with it.
        source: Box<regex::Error>,
    },
    /// Another namespace is named.
    #[error(
        "eventSources names another namespace than {own}, and the operator runs with --no-cross-namespace: leave the \
         namespace out"
    )]
    CrossNamespace {
        /// The namespace of the alert.
        own: String,
    },
}

/// What an alert selects.
#[derive(Clone, Debug)]
pub struct Filter {
    sources: Vec<NoticeSource>,
    warnings_only: bool,
    /// Empty means all.
    reasons: BTreeSet<Reason>,
    include: Option<RegexSet>,
    exclude: Option<RegexSet>,
}

impl Filter {
    /// The filter of an alert in the namespace `own`.
    ///
    /// # Errors
    ///
    /// [`FilterError`].
    pub fn new(intent: &AlertIntent, own: &str, only_own: bool) -> Result<Self, FilterError> {
        let is_own = |source: &NoticeSource| source.namespace.as_deref() == Some(own);
        if only_own && !intent.sources.iter().all(is_own) {
            return Err(FilterError::CrossNamespace {
                own: own.to_owned(),
            });
        }
        Ok(Self {
            sources: intent.sources.clone(),
            warnings_only: intent.warnings_only,
            reasons: intent
                .reasons
                .iter()
                .filter_map(|name| Reason::named(name))
                .collect(),
            include: patterns("inclusionList", &intent.include)?,
            exclude: patterns("exclusionList", &intent.exclude)?,
        })
    }

    /// Whether the alert is about this resource. `labels` reads the labels of the resource.
    pub fn is_about(
        &self,
        subject: &Subject,
        labels: impl Fn() -> BTreeMap<String, String>,
    ) -> bool {
        self.sources.iter().any(|source| {
            let NoticeSource {
                kind,
                name,
                namespace,
                labels: wanted,
            } = source;
            let is = |wanted: &Option<String>, is: &str| {
                wanted.as_deref().is_none_or(|wanted| wanted == is)
            };
            *kind == *subject.kind
                && is(name, &subject.name)
                && is(namespace, &subject.namespace)
                && (wanted.is_empty() || {
                    let has = labels();
                    wanted
                        .iter()
                        .all(|(key, value)| has.get(key) == Some(value))
                })
        })
    }

    /// Whether the alert tells a notice about a resource that it is about.
    pub fn selects(&self, notice: &Notice) -> bool {
        let is_urgent = !self.warnings_only || notice.level == Level::Warning;
        let is_wanted = self.reasons.is_empty() || self.reasons.contains(&notice.reason);
        let matches = |patterns: &RegexSet| patterns.is_match(&notice.message);
        is_urgent
            && is_wanted
            && self.include.as_ref().is_none_or(matches)
            && !self.exclude.as_ref().is_some_and(matches)
    }
}

fn patterns(field: &'static str, list: &[String]) -> Result<Option<RegexSet>, FilterError> {
    if list.is_empty() {
        return Ok(None);
    }
    let mut builder = RegexSetBuilder::new(list);
    let set = builder
        .size_limit(PATTERNS_SIZE)
        .dfa_size_limit(PATTERNS_SIZE)
        .build();
    set.map(Some).map_err(|source| FilterError::Pattern {
        field,
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::message::testing::notice;

    fn intent() -> AlertIntent {
        AlertIntent {
            generation: None,
            provider: "slack".to_owned(),
            warnings_only: false,
            reasons: Vec::new(),
            sources: Vec::new(),
            include: Vec::new(),
            exclude: Vec::new(),
            metadata: BTreeMap::new(),
            group_wait: Duration::ZERO,
            title: None,
            body: None,
            deployments: false,
            suspend: false,
        }
    }

    fn source(name: Option<&str>, namespace: Option<&str>, label: Option<&str>) -> NoticeSource {
        NoticeSource {
            kind: "Sync".to_owned(),
            name: name.map(str::to_owned),
            namespace: namespace.map(str::to_owned),
            labels: label
                .map(|value| ("team".to_owned(), value.to_owned()))
                .into_iter()
                .collect(),
        }
    }

    #[test]
    fn a_resource_is_selected_by_kind_name_namespace_and_labels() {
        let labels = || BTreeMap::from([("team".to_owned(), "a".to_owned())]);
        let shop = Subject::new("Sync", "prod", "shop");
        for (sources, selected) in [
            (vec![source(None, Some("prod"), None)], true),
            (vec![source(None, None, None)], true),
            (vec![source(Some("shop"), Some("prod"), None)], true),
            (vec![source(Some("sho"), Some("prod"), None)], false),
            (vec![source(None, Some("dev"), None)], false),
            (vec![source(None, Some("prod"), Some("a"))], true),
            (vec![source(None, Some("prod"), Some("b"))], false),
            (
                vec![source(None, Some("dev"), None), source(None, None, None)],
                true,
            ),
            (vec![], false),
        ] {
            let intent = AlertIntent {
                sources: sources.clone(),
                ..intent()
            };
            let filter = Filter::new(&intent, "prod", false).unwrap();
            assert_eq!(filter.is_about(&shop, labels), selected, "{sources:?}");
            let repository = Subject::new("GitRepository", "prod", "shop");
            assert!(!filter.is_about(&repository, labels));
        }
    }

    #[test]
    fn a_notice_is_selected_by_urgency_reason_and_message() {
        let failed = notice("shop", Reason::ApplyFailed, 1);
        let converged = notice("shop", Reason::Converged, 1);
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        for (intent, tells) in [
            (intent(), [true, true]),
            (
                AlertIntent {
                    warnings_only: true,
                    ..intent()
                },
                [true, false],
            ),
            (
                AlertIntent {
                    reasons: texts(&["Converged"]),
                    ..intent()
                },
                [false, true],
            ),
            (
                AlertIntent {
                    include: texts(&["nothing", "^shop says"]),
                    exclude: texts(&["never"]),
                    ..intent()
                },
                [true, true],
            ),
            (
                AlertIntent {
                    exclude: texts(&["says"]),
                    ..intent()
                },
                [false, false],
            ),
        ] {
            let filter = Filter::new(&intent, "prod", false).unwrap();
            let told = [&failed, &converged].map(|notice| filter.selects(notice));
            assert_eq!(told, tells, "{intent:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let malformed = AlertIntent {
            exclude: vec!["(".to_owned()],
            ..intent()
        };
        let error = Filter::new(&malformed, "prod", false).unwrap_err();
        assert!(error.to_string().starts_with("exclusionList: "), "{error}");
        let huge = AlertIntent {
            include: vec!["(a{500}){500}".to_owned()],
            ..intent()
        };
        assert!(Filter::new(&huge, "prod", false).is_err());
        for namespace in [None, Some("dev")] {
            let other = AlertIntent {
                sources: vec![source(None, namespace, None)],
                ..intent()
            };
            assert!(Filter::new(&other, "prod", false).is_ok());
            assert!(Filter::new(&other, "prod", true).is_err());
        }
    }
}
