//! The real Prometheus, from Debian's packages, which scrapes an operator.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::operator::Operator;
use super::ports;
use super::process::{Lifetime, Process, tail};
use super::scratch::Scratch;
use super::wait::{PATIENCE, eventually};

/// A running Prometheus. It ends on drop.
#[derive(Debug)]
pub struct Prometheus {
    address: String,
    process: Process,
    _scratch: Scratch,
}

impl Prometheus {
    /// Starts Prometheus with `rules`, the text of a rules file. Every second it scrapes `operator` and
    /// itself (in place of the other targets of a real Prometheus) and evaluates the rules. Panics with
    /// the end of its log if it does not start.
    pub async fn start(operator: SocketAddr, rules: &str) -> Self {
        let scratch = Scratch::new().expect("a folder for Prometheus");
        let folder = scratch.path();
        std::fs::write(folder.join("rules.yaml"), rules).expect("write the rules");
        let address = format!("127.0.0.1:{}", ports::free());
        let job = |name: &str, target: &str| {
            format!("- job_name: {name}\n  static_configs: [{{targets: ['{target}']}}]\n")
        };
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yaml]\nscrape_configs:\n{}{}",
            job("towline", &operator.to_string()),
            job("prometheus", &address)
        );
        std::fs::write(folder.join("prometheus.yaml"), config).expect("write the configuration");
        let path = |name: &str| folder.join(name).display().to_string();
        let args = [
            format!("--config.file={}", path("prometheus.yaml")),
            format!("--storage.tsdb.path={}", path("data")),
            format!("--web.listen-address={address}"),
        ];
        let program = Path::new("prometheus");
        let log = folder.join("prometheus.log");
        let process = Process::spawn("prometheus", program, args, &[], &log, Lifetime::Ours)
            .expect("start Prometheus");
        let prometheus = Self {
            address,
            process,
            _scratch: scratch,
        };
        eventually("Prometheus scrapes both", PATIENCE, async || {
            let up = prometheus.query("sum(up)").await;
            match &up {
                Ok(rows) if rows.first().is_some_and(|sum| sum["value"][1] == "2") => Ok(()),
                _ => Err(format!("{up:?}\n{}", prometheus.process.log_tail())),
            }
        })
        .await;
        prometheus
    }

    /// The field `data` of the answer of `/api/v1/<path>`, or the error that the API returned.
    pub async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let query: Vec<(String, String)> = query
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let answer = tokio::task::spawn_blocking(move || {
            let agent = ureq::Agent::config_builder().http_status_as_error(false);
            let agent = ureq::Agent::new_with_config(agent.build());
            let mut answer = agent.get(url).query_pairs(query).call()?;
            answer.body_mut().read_to_string()
        });
        let answer = answer.await.map_err(|error| error.to_string())?;
        let text = answer.map_err(|error| error.to_string())?;
        let mut value: Value = serde_json::from_str(&text).map_err(|_| text.clone())?;
        match value["status"] == "success" {
            true => Ok(value["data"].take()),
            false => Err(text),
        }
    }

    /// The current result of a query.
    pub async fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let data = self.get("query", &[("query", query)]).await?;
        let result = data["result"].as_array();
        Ok(result.cloned().unwrap_or_default())
    }

    /// The pending and firing alerts with this name whose `label` is `value`.
    pub async fn alerts(&self, name: &str, (label, value): (&str, &str)) -> Vec<Value> {
        let data = self.get("alerts", &[]).await.expect("Prometheus' alerts");
        let all = data["alerts"].as_array().cloned().unwrap_or_default();
        let wanted = all.into_iter().filter(|alert| {
            alert["labels"]["alertname"] == name && alert["labels"][label] == value
        });
        wanted.collect()
    }

    /// The warnings and errors in its log.
    pub fn complaints(&self) -> Vec<String> {
        let log = tail(self.process.log(), usize::MAX);
        let lines = log.lines();
        lines
            .filter(|line| line.contains("level=warn") || line.contains("level=error"))
            .map(str::to_owned)
            .collect()
    }
}

/// Runs promtool with `input` on standard input. Panics with promtool's output if it reports a problem.
pub fn promtool(args: &[&str], input: &str) -> String {
    let mut child = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start promtool");
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = std::thread::scope(|scope| {
        // A thread writes the input while we read the output, so that neither side blocks on a full pipe.
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        child.wait_with_output().expect("wait for promtool")
    });
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    let _ = write!(said, "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {args:?}: {said}");
    said
}

/// The operator's answer to a scrape, in the format that promtool reads.
pub async fn scraped(operator: &Operator) -> String {
    let page = operator.page_as("/metrics", "text/plain").await;
    let page = page.expect("scrape the operator");
    let (head, text) = page.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    text.to_owned()
}
