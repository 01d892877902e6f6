//! Generates the tables of the reference pages from the program's declarations: fields of the
//! definitions, flags of the command line, metrics of the registry. The tests in `generated` compare the
//! pages with them.

use std::fmt::Write as _;

use clap::CommandFactory as _;
use serde_json::Value;
use towline::fleet::{Fleet, Series};
use towline::leader::Leadership;
use towline::metrics::{Metrics, Renders};
use towline::render::wasm::Renderers;

/// Text for a table cell: on one line, and with vertical bars escaped.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

/// The text with a full stop at its end.
fn sentence(text: &str) -> String {
    let text = cell(text);
    match text.ends_with(['.', '?', '!']) || text.is_empty() {
        true => text,
        false => format!("{text}."),
    }
}

fn code(text: &str) -> String {
    format!("`{}`", cell(text))
}

fn codes(values: &[Value]) -> String {
    let values = values.iter().map(|value| code(&plain(value)));
    values.collect::<Vec<_>>().join(", ")
}

/// A value in YAML.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The pattern of every duration.
const DURATION: &str = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$";

/// The fields of a kind in two sections. Fields that equal those of `shared` are described on its page.
pub fn fields(crd: &Value, shared: Option<&Shared<'_>>) -> String {
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let mut text = String::new();
    for part in ["spec", "status"] {
        let part_schema = &schema["properties"][part];
        let _ = writeln!(text, "## {part}\n");
        // Users do not write a status, so its fields need no defaults.
        let has_defaults = part == "spec";
        let heading = match has_defaults {
            true => "| Field | Type | Default | Meaning |\n|---|---|---|---|",
            false => "| Field | Type | Meaning |\n|---|---|---|",
        };
        let _ = writeln!(text, "{heading}");
        let fields = Fields {
            shared,
            has_defaults,
            rows: Vec::new(),
        };
        for row in fields.of(part_schema, "") {
            let _ = writeln!(text, "{row}");
        }
        text.push('\n');
        let rules = rules(part_schema);
        if !rules.is_empty() {
            let _ = writeln!(
                text,
                "The API server also refuses what breaks one of these rules:\n"
            );
            for rule in rules {
                let _ = writeln!(text, "- {}", sentence(&rule));
            }
            text.push('\n');
        }
    }
    let rules = rules(schema);
    if !rules.is_empty() {
        let _ = writeln!(text, "## Rules\n");
        for rule in rules {
            let _ = writeln!(text, "- {}", sentence(&rule));
        }
        text.push('\n');
    }
    text
}

/// Fields that another page describes.
pub struct Shared<'a> {
    /// The schema that has these fields as properties.
    pub schema: &'a Value,
    /// A sentence with a link to that page.
    pub link: &'static str,
}

/// The messages of the rules that a schema has in addition to its types.
fn rules(schema: &Value) -> Vec<String> {
    let rules = schema["x-kubernetes-validations"].as_array();
    let rules = rules.into_iter().flatten();
    rules
        .map(|rule| {
            rule["message"]
                .as_str()
                .expect("every rule has a message")
                .to_owned()
        })
        .collect()
}

struct Fields<'a> {
    shared: Option<&'a Shared<'a>>,
    has_defaults: bool,
    rows: Vec<String>,
}

impl Fields<'_> {
    fn of(mut self, schema: &Value, prefix: &str) -> Vec<String> {
        self.add(schema, prefix);
        self.rows
    }

    fn add(&mut self, schema: &Value, prefix: &str) {
        let required = schema["required"].as_array();
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let is_required =
                required.is_some_and(|required| required.iter().any(|field| field == name));
            let path = format!("{prefix}{name}");
            let inner = match field["type"] == "array" {
                true => &field["items"],
                false => field,
            };
            let mut meaning = meaning(field);
            let is_condition = name == "conditions";
            let elsewhere = self.elsewhere(inner);
            if is_condition {
                let names = inner["properties"].as_object().unwrap().keys();
                let names: Vec<String> = names.map(|name| code(name)).collect();
                let _ = write!(
                    meaning,
                    " Each has the fields of a Kubernetes condition: {}. See \
                     [Conditions](status.md#conditions).",
                    names.join(", ")
                );
            } else if let Some(link) = elsewhere {
                let _ = write!(meaning, " {link}");
            }
            let default = match self.has_defaults {
                true => format!(" {} |", default(field, is_required)),
                false => String::new(),
            };
            let (path_cell, kind) = (code(&path), kind(field));
            self.rows
                .push(format!("| {path_cell} | {kind} |{default} {meaning} |"));
            if !is_condition && elsewhere.is_none() {
                let step = match field["type"] == "array" {
                    true => "[].",
                    false => ".",
                };
                self.add(inner, &format!("{path}{step}"));
            }
        }
    }

    /// The link to the page that describes an object's fields, if the page has each field with the same
    /// text.
    fn elsewhere(&self, object: &Value) -> Option<&'static str> {
        let shared = self.shared?;
        let fields = object["properties"].as_object()?;
        let is_same =
            |(name, field): (&String, &Value)| shared.schema["properties"][name] == *field;
        (fields.len() > 5 && fields.iter().all(is_same)).then_some(shared.link)
    }
}

fn kind(field: &Value) -> String {
    let name = match field["type"].as_str().expect("every field has a type") {
        "array" => {
            let of = match field["items"]["type"].as_str() {
                Some("object") => "objects",
                Some("string") => "strings",
                other => panic!("no name is known for a list of {other:?}"),
            };
            format!("list of {of}")
        }
        "string" if field["pattern"] == DURATION => "duration".to_owned(),
        "string" if field["format"] == "date-time" => "time".to_owned(),
        other => other.to_owned(),
    };
    name.replace('|', "\\|")
}

fn default(field: &Value, is_required: bool) -> String {
    match &field["default"] {
        Value::Null if is_required => "required".to_owned(),
        // An absent boolean is false.
        Value::Null if field["type"] == "boolean" => code("false"),
        Value::Array(list) if list.is_empty() => String::new(),
        Value::Null => String::new(),
        value => code(&plain(value)),
    }
}

/// The description, followed by the allowed values.
fn meaning(field: &Value) -> String {
    let mut sentences = vec![sentence(field["description"].as_str().unwrap_or_default())];
    if let Some(values) = field["enum"].as_array() {
        sentences.push(format!("One of {}.", codes(values)));
    }
    let number = |name: &str| field[name].as_u64();
    match (number("minLength"), number("maxLength")) {
        (Some(least), Some(most)) => sentences.push(format!("{least} to {most} characters.")),
        (Some(least), None) => sentences.push(format!("{least} characters or more.")),
        (None, Some(most)) if field["pattern"] != DURATION => {
            sentences.push(format!("At most {most} characters."));
        }
        _ => {}
    }
    if let Some(most) = number("maxItems") {
        sentences.push(format!("At most {most} of them."));
    }
    if let Some(pattern) = field["pattern"].as_str().filter(|is| *is != DURATION) {
        sentences.push(format!("Must match {}.", code(pattern)));
    }
    sentences.extend(
        rules(field)
            .iter()
            .map(|rule| format!("Rule: {}", sentence(rule))),
    );
    sentences.retain(|sentence| !sentence.is_empty());
    sentences.join(" ")
}

/// The subcommands and their flags.
pub fn flags() -> String {
    let mut text = String::new();
    let mut command = towline::config::Cli::command();
    command.build();
    for sub in subcommands(&command) {
        add_flags(&mut text, "towline", sub);
    }
    text
}

fn subcommands(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    let all = command.get_subcommands();
    all.filter(|sub| sub.get_name() != "help")
}

/// The sections of a command and of its subcommands.
fn add_flags(text: &mut String, above: &str, command: &clap::Command) {
    let name = format!("{above} {}", command.get_name());
    let about = command.get_about();
    let about = about.expect("every subcommand says what it does");
    let _ = writeln!(text, "## {name}\n");
    let _ = writeln!(text, "{}\n", sentence(&about.to_string()));
    if let Some(example) = command.get_after_help() {
        let example = example.to_string();
        let (_, lines) = example.split_once('\n').expect("`Example:`, and lines");
        let lines: Vec<&str> = lines.lines().map(str::trim).collect();
        let _ = writeln!(text, "```sh\n{}\n```\n", lines.join("\n"));
    }
    let flags: Vec<_> = command
        .get_arguments()
        .filter(|arg| !["help", "version"].contains(&arg.get_id().as_str()))
        .collect();
    if !flags.is_empty() {
        let _ = writeln!(text, "| Flag | Environment | Default | Meaning |");
        let _ = writeln!(text, "|---|---|---|---|");
        for flag in flags {
            let _ = writeln!(text, "{}", flag_row(flag));
        }
        text.push('\n');
    }
    for sub in subcommands(command) {
        add_flags(text, &name, sub);
    }
}

/// Every command for people has an example.
#[test]
fn every_command_has_an_example() {
    fn check(command: &clap::Command) {
        let name = command.get_name();
        let is_plain = ["run", "crds", "version"].contains(&name);
        let is_group = command.get_subcommands().next().is_some();
        let example = command.get_after_help().map(ToString::to_string);
        assert!(
            is_plain
                || is_group
                || example.is_some_and(|text| text.starts_with("Example:\n  towline ")),
            "{name} has no example"
        );
        subcommands(command).for_each(check);
    }
    let mut command = towline::config::Cli::command();
    command.build();
    subcommands(&command).for_each(check);
}

fn flag_row(flag: &clap::Arg) -> String {
    let takes_value = flag.get_action().takes_values();
    let name = match flag.get_long() {
        Some(long) => {
            let short = flag
                .get_short()
                .map(|short| code(&format!("-{short}")) + ", ");
            short.unwrap_or_default() + &code(&format!("--{long}"))
        }
        None => code(&flag.get_id().to_string().to_uppercase()),
    };
    let variable = flag.get_env().map(|name| code(&name.to_string_lossy()));
    let default = match flag.get_default_values().first() {
        Some(value) => code(&value.to_string_lossy()),
        None if takes_value => String::new(),
        None => code("false"),
    };
    let help = flag.get_long_help().or(flag.get_help());
    let mut meaning = sentence(&help.expect("every flag has a help").to_string());
    let values: Vec<String> = flag
        .get_possible_values()
        .iter()
        .filter(|_| takes_value)
        .map(|value| code(value.get_name()))
        .collect();
    if !values.is_empty() {
        let _ = write!(meaning, " One of {}.", values.join(", "));
    }
    format!(
        "| {name} | {} | {default} | {meaning} |",
        variable.unwrap_or_default()
    )
}

/// The labels of a metric. A test in `prometheus` compares them with those that Prometheus scrapes.
fn labels(metric: &str) -> &'static [&'static str] {
    const SYNC: &[&str] = &["sync_namespace", "sync"];
    const REPOSITORY: &[&str] = &["repository_namespace", "repository"];
    match metric {
        "towline_objects" => &["state"],
        "towline_changes_total" => &["sync_namespace", "converged"],
        "towline_failed_changes_total" => &["sync_namespace", "cause"],
        "towline_time_to_restore_seconds" => &["sync_namespace"],
        "towline_sync_ready" => &["sync_namespace", "sync", "reason"],
        "towline_sync_objects" => &["sync_namespace", "sync", "state"],
        "towline_repository_ready" => &["repository_namespace", "repository", "reason"],
        "towline_syncs"
        | "towline_repositories"
        | "towline_reconciles_total"
        | "towline_prune_brakes_total"
        | "towline_fetches_total" => &["reason"],
        "towline_series_dropped"
        | "towline_queue_depth"
        | "towline_queue_age_seconds"
        | "towline_resources" => &["kind"],
        "towline_messages_total" | "towline_trace_spans_total" => &["outcome"],
        "towline_renders_total" => &["from"],
        "towline_webhooks_total" => &["provider", "outcome"],
        "towline_api_requests_total" => &["on", "verb", "code"],
        "towline_build_info" => &["version"],
        name if name.starts_with("towline_sync_") => SYNC,
        name if name.starts_with("towline_repository_") => REPOSITORY,
        _ => &[],
    }
}

/// All metrics, by their names in the Prometheus format.
pub fn metrics() -> String {
    let metrics = Metrics::default();
    metrics.register(Series::new(Fleet::default(), Leadership::alone()));
    metrics.register(Renders(Renderers::at("/nonexistent".into())));
    // A metric without a series is not in the output.
    metrics.webhook("github", "woken");
    metrics.message("delivered");
    metrics.spans("delivered", 1);
    metrics.driven("Sync", 1);
    let exposed = metrics.encode();
    let types = exposed.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name, kind, help_of(&exposed, name)))
    });
    let mut rows: Vec<_> = types.collect();
    assert!(rows.len() > 30, "{exposed}");
    rows.sort();
    let mut text = String::from("| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n");
    for (name, kind, help) in rows {
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let name = format!("{name}{suffix}");
        let labels: Vec<String> = labels(&name).iter().map(|label| code(label)).collect();
        let _ = writeln!(
            text,
            "| {} | {kind} | {} | {} |",
            code(&name),
            labels.join(", "),
            sentence(&help)
        );
    }
    text.push('\n');
    text
}

fn help_of(exposed: &str, name: &str) -> String {
    let start = format!("# HELP {name} ");
    let help = exposed.lines().find_map(|line| line.strip_prefix(&start));
    help.unwrap_or_else(|| panic!("{name} has no HELP"))
        .to_owned()
}
