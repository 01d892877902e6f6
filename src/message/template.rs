//! The words of messages, as templates in the syntax of Jinja. Pure.
//!
//! A template may be written by anybody who may write an Alert, so what it costs is bounded: every step and every byte
//! takes from a fuel, and the result is cut.

use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, escape_formatter};
use serde::Serialize;

use crate::text::shorten;

/// What one render may cost. The default body with all of its lines takes about 10,000.
const FUEL: u64 = 200_000;

/// The longest title and body, in bytes.
const LONGEST_TITLE: usize = 250;
const LONGEST_BODY: usize = 16 << 10;

/// The longest text of an error of a template, in bytes.
const LONGEST_ERROR: usize = 500;

/// The default title.
const TITLE: &str = "\
{%- set first = notices[0] -%}
{%- if state == 'ends' %}Over: {% for reason in ended -%}
{%- if loop.first %}{% elif loop.last %} and {% else %}, {% endif %}{{ reason }}{% endfor %} of {% else %}{{ reason }}: {% endif -%}
{%- if resources == 1 %}{{ first.kind }} {{ first.namespace }}/{{ first.name }}
{%- elif first.kind == 'GitRepository' %}{{ resources }} GitRepositories
{%- else %}{{ resources }} {{ first.kind }}s{% endif -%}
{%- if metadata.cluster %} ({{ metadata.cluster }}){% endif -%}";

/// The default body.
const BODY: &str = "\
{%- for notice in notices -%}
{%- if resources > 1 %}{{ notice.kind }} {{ notice.namespace }}/{{ notice.name }}: {% endif -%}
{{ notice.message }}
{% endfor -%}
{%- if more %}and {{ more }} more
{% endif -%}
{%- if shortCommit %}Commit {{ shortCommit }}{% if author %} by {{ author }}{% endif %}{% if subject %}: {{ subject }}{% endif %}
{% endif -%}
{%- if commitUrl %}{{ commitUrl }}
{% endif -%}
{%- if state == 'begins' %}Since {{ since }}{% if ended %}, in the place of {{ ended|join(' and ') }}{% endif %}
{% elif state == 'ends' %}From {{ since }} to {{ at }}
{% endif -%}
{%- if state == 'begins' %}Way out: {{ wayOut }}
{% if reasonPage is startingwith('http') %}About it: {{ reasonPage }}
{% endif -%}
{% if resources == 1 %}kubectl -n {{ notices[0].namespace }} describe {{ notices[0].kind|lower }} {{ notices[0].name }}
{% endif %}{% endif -%}";

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("template.{field}: {problem}")]
pub struct TemplateError {
    field: &'static str,
    problem: String,
}

/// The words of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// One line.
    pub title: String,
    /// The rest.
    pub body: String,
    /// Why a template failed for this message, and gave way to the default.
    pub error: Option<TemplateError>,
}

/// The templates of an alert.
#[derive(Clone, Debug)]
pub struct Templates {
    environment: Environment<'static>,
}

impl Default for Templates {
    fn default() -> Self {
        let mut environment = environment();
        // A test renders them, so they parse.
        let _ = environment.add_template("title", TITLE);
        let _ = environment.add_template("body", BODY);
        Self { environment }
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    // What a message does not have is no text.
    environment.set_formatter(|out, state, value| match value.is_none() {
        true => Ok(()),
        false => escape_formatter(out, state, value),
    });
    environment
}

impl Templates {
    /// The templates of a spec. None takes the default.
    ///
    /// # Errors
    ///
    /// [`TemplateError`]: a template does not parse, or it fails for an example.
    pub fn new(
        title: Option<&str>,
        body: Option<&str>,
        example: &impl Serialize,
    ) -> Result<Self, TemplateError> {
        let mut templates = Self::default();
        for (field, text) in [("title", title), ("body", body)] {
            let Some(text) = text else { continue };
            let wrong = |error: minijinja::Error| TemplateError {
                field,
                problem: in_words(&error),
            };
            templates
                .environment
                .add_template_owned(field, text.to_owned())
                .map_err(wrong)?;
            templates.render(field, example).map_err(wrong)?;
        }
        Ok(templates)
    }

    /// The words of a message. A template that fails for this message gives way to the default.
    pub fn words(&self, message: &impl Serialize) -> Words {
        let mut failed = None;
        let mut of = |field: &'static str| match self.render(field, message) {
            Ok(text) => text,
            Err(error) => {
                failed.get_or_insert(TemplateError {
                    field,
                    problem: in_words(&error),
                });
                let default = Self::default().render(field, message);
                default.unwrap_or_default()
            }
        };
        let (title, body) = (of("title"), of("body"));
        let one_line = |title: &str| {
            let words: Vec<&str> = title.split_whitespace().collect();
            shorten(&words.join(" "), LONGEST_TITLE)
        };
        let mut title = one_line(&title);
        if title.is_empty() {
            // Services take no message without one.
            let default = Self::default().render("title", message);
            title = one_line(&default.unwrap_or_default());
        }
        Words {
            title,
            body: shorten(body.trim(), LONGEST_BODY),
            error: failed,
        }
    }

    fn render(&self, field: &str, message: &impl Serialize) -> Result<String, minijinja::Error> {
        let template = self.environment.get_template(field)?;
        template.render(Value::from(Serde(message)))
    }
}

/// An error for people, without the lines of the template around it.
fn in_words(error: &minijinja::Error) -> String {
    let what = match error.kind() {
        ErrorKind::OutOfFuel => "it takes too many steps or makes too much text".to_owned(),
        kind => match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    };
    let line = error.line().map(|line| format!("line {line}: "));
    shorten(
        &format!("{}{what}", line.unwrap_or_default()),
        LONGEST_ERROR,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Reason;
    use crate::message::compose::tests::message;
    use crate::message::{Message, NoticeState};

    fn example() -> Message {
        message(&["shop"], Reason::Diff, NoticeState::Begins)
    }

    #[test]
    fn a_template_has_the_fields_of_the_message() {
        let title = "{{ reason }} at\n{{ shortCommit }} in {{ metadata.cluster }}{{ absent }}";
        let body = "{% for n in notices %}{{ n.name }}: {{ n.objects|join(',') }}{% endfor %}";
        let templates = Templates::new(Some(title), Some(body), &example()).unwrap();
        let Words { title, body, error } = templates.words(&example());
        assert_eq!((&*title, error), ("Diff at 0123456789ab in eu-1", None));
        assert_eq!(body, "shop: ConfigMap prod/a");
    }

    #[test]
    fn a_template_that_does_not_parse_or_costs_too_much_is_an_error() {
        let long =
            "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}";
        let deep = "{% set x = 'a' * 90000000 %}{{ x }}";
        for (text, said) in [
            ("{{ reason", "syntax error"),
            ("one\n{% if %}", "line 2"),
            ("{{ reason|shout }}", "unknown filter"),
            ("{% include 'other' %}", ""),
            (long, "too many steps"),
            (deep, ""),
        ] {
            let error = Templates::new(None, Some(text), &example()).unwrap_err();
            let error = error.to_string();
            assert!(
                error.starts_with("template.body: ") && error.contains(said),
                "{error}"
            );
        }
    }

    #[test]
    fn a_template_that_fails_for_one_message_gives_way_to_the_default() {
        let body = "{% if total > 1 %}{{ 1 / 0 }}{% endif %}one";
        let templates = Templates::new(None, Some(body), &example()).unwrap();
        assert_eq!(templates.words(&example()).body, "one");
        let many = message(&["a", "b"], Reason::Diff, NoticeState::Begins);
        let words = templates.words(&many);
        assert!(words.body.contains("Sync prod/a: "));
        let error = words.error.unwrap().to_string();
        assert!(error.starts_with("template.body: line 1: "), "{error}");
    }

    #[test]
    fn what_a_message_does_not_have_is_no_text_and_a_title_is_never_empty() {
        let mut bare = example();
        (bare.author, bare.commit_url) = (None, None);
        let (title, body) = ("{{ author }} ", "[{{ commitUrl }}]{{ alert }}");
        let templates = Templates::new(Some(title), Some(body), &bare).unwrap();
        let words = templates.words(&bare);
        assert_eq!(
            (&*words.title, &*words.body),
            ("Diff: Sync prod/shop (eu-1)", "[]prod/chat")
        );
        let mut many = message(&["a", "b"], Reason::FetchFailed, NoticeState::Begins);
        many.notices[0].kind = "GitRepository".to_owned();
        let title = Templates::default().words(&many).title;
        assert_eq!(title, "FetchFailed: 2 GitRepositories (eu-1)");
    }

    #[test]
    fn words_are_bounded() {
        let text = "{% for a in range(9000) %}wort {% endfor %}";
        let templates = Templates::new(Some(text), Some(text), &example()).unwrap();
        let Words { title, body, .. } = templates.words(&example());
        assert!(title.len() <= LONGEST_TITLE && body.len() <= LONGEST_BODY);
    }
}
