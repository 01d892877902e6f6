//! `kustomize build --enable-helm` with charts that are in the repository: kustomize and Helm take turns.

use serde::Serialize;
use serde_json::{Map, Value};

use super::inflated::{Inflated, MAX_CHARTS, Made, Wanted};
use super::{
    About, Asked, Chart, Document, Failed, Limits, Release, RenderFailure, Rendered, Values,
};
use crate::content::{ReadFault, Tree};
use crate::manifest;
use crate::render::inflate::{Inflation, ValuesMerge, merged};

/// How often kustomize runs for one build: each run may find charts below kustomizations that failed without others.
const MAX_RUNS: usize = 30;

/// What charts see of the cluster.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cluster<'a> {
    /// Its version; empty for what Helm assumes.
    pub kube_version: &'a str,
    /// Its API versions; empty for what Helm assumes.
    pub api_versions: &'a [String],
    /// The namespace of a release for which no kustomization gives one. None: `default`, as for Helm.
    pub namespace: Option<&'a str>,
}

/// Builds. `kustomize` runs kustomize once, `helm` renders a chart.
pub(super) fn build(
    inflated: &Inflated,
    cluster: Cluster<'_>,
    kustomize: impl Fn() -> Result<Rendered, Box<Failed>>,
    helm: impl Fn(&Chart) -> Result<Rendered, Box<Failed>>,
) -> Result<Rendered, Box<Failed>> {
    let mut charts = Charts {
        inflated,
        cluster,
        helm,
        count: 0,
        bytes: 0,
        drew: false,
        warnings: Vec::new(),
        lookups: Vec::new(),
    };
    for _ in 0..MAX_RUNS {
        let built = kustomize();
        let wanted = inflated.wanted();
        let wanted = wanted.map_err(|failure| charts.failed(failure))?;
        if wanted.is_empty() {
            let mut built = built?;
            built.reads = inflated.reads();
            built.bases = inflated.bases();
            built.drew = charts.drew;
            built.warnings.extend(charts.warnings);
            built.lookups = charts.lookups;
            return Ok(built);
        }
        for wanted in wanted {
            let made = charts.inflate(&wanted);
            let made = made.map_err(|failed| charts.failed(failed.failure))?;
            inflated.fill(wanted.site, made);
        }
    }
    Err(charts.failed(RenderFailure::TooMuch {
        renderer: "kustomize".to_owned(),
        place: String::new(),
        what: "has",
        limit: format!("{MAX_RUNS} levels of helmCharts"),
    }))
}

/// The charts of one build.
struct Charts<'a, H> {
    inflated: &'a Inflated,
    cluster: Cluster<'a>,
    helm: H,
    count: usize,
    bytes: usize,
    /// Whether one of them may have drawn random numbers.
    drew: bool,
    warnings: Vec<String>,
    lookups: Vec<Asked>,
}

impl<H: Fn(&Chart) -> Result<Rendered, Box<Failed>>> Charts<'_, H> {
    fn failed(&self, failure: RenderFailure) -> Box<Failed> {
        Box::new(Failed {
            failure,
            reads: self.inflated.reads(),
            last: None,
        })
    }

    fn refused(&self, message: String) -> Box<Failed> {
        self.failed(RenderFailure::Refused {
            renderer: "kustomize".to_owned(),
            message,
        })
    }

    /// What Helm makes of all charts of a kustomization, in the order in which `helm template` prints it.
    fn inflate(&mut self, wanted: &Wanted) -> Result<Vec<Made>, Box<Failed>> {
        let mut all = Vec::new();
        for chart in &wanted.charts {
            self.count += 1;
            let request = self.request(wanted, chart)?;
            let rendered = (self.helm)(&request).map_err(|failed| match failed.failure {
                RenderFailure::Refused { renderer, message } => {
                    self.failed(RenderFailure::Refused {
                        renderer,
                        message: format!("helmCharts of {}: {message}", wanted.file),
                    })
                }
                failure => self.failed(failure),
            })?;
            self.inflated.add(&rendered.reads);
            self.drew |= rendered.drew;
            self.warnings.extend(rendered.warnings);
            self.lookups.extend(rendered.lookups);
            self.warnings
                .extend(rendered.documents.iter().filter_map(left_out));
            let documents = rendered.documents.into_iter();
            for document in documents.filter(|document| is_part(document, chart)) {
                self.bytes += document.body.len();
                all.push((document.about.file, document.body));
            }
            let limits = Limits::default();
            if self.inflated.bytes_of_reads() > limits.look_bytes {
                return Err(self.failed(RenderFailure::TooMuch {
                    renderer: "helm".to_owned(),
                    place: format!(" ({})", wanted.file),
                    what: "reads, for one kustomization, paths of",
                    limit: format!("{} MiB", limits.look_bytes >> 20),
                }));
            }
            if self.bytes > limits.output || self.count > MAX_CHARTS {
                return Err(self.failed(RenderFailure::TooMuch {
                    renderer: "helm".to_owned(),
                    place: format!(" ({})", wanted.file),
                    what: "makes, for one kustomization,",
                    limit: format!("{MAX_CHARTS} charts or {} MiB", limits.output >> 20),
                }));
            }
        }
        Ok(all)
    }

    fn request(&self, wanted: &Wanted, chart: &Inflation) -> Result<Chart, Box<Failed>> {
        let place = self.inflated.look(&chart.folder);
        if !place.is_ok_and(|place| place.file.is_none()) {
            return Err(self.refused(format!(
                "{}: helmCharts: there is no chart at {}, and a renderer has no network: {}, or give the chart a Sync \
                 of its own",
                wanted.file, chart.folder, chart.way_in
            )));
        }
        let cluster = self.cluster;
        let namespace = wanted.namespace(chart);
        let namespace = namespace.as_deref().or(cluster.namespace);
        let api_versions = cluster.api_versions.iter().chain(&chart.api_versions);
        let more = chart.more_files.iter().map(|file| Values {
            file: file.clone(),
            ..Values::default()
        });
        let first = self.values(wanted, chart)?;
        Ok(Chart {
            path: chart.folder.clone(),
            release: Release {
                name: chart.release_name.clone(),
                namespace: namespace.unwrap_or("default").to_owned(),
                revision: 1,
                is_upgrade: false,
            },
            values: first.into_iter().chain(more).collect(),
            kube_version: match &chart.kube_version {
                Some(version) => version.clone(),
                None => cluster.kube_version.to_owned(),
            },
            api_versions: api_versions.cloned().collect(),
            ..Chart::default()
        })
    }

    /// The values file, together with the values in place.
    fn values(&self, wanted: &Wanted, chart: &Inflation) -> Result<Option<Values>, Box<Failed>> {
        if chart.inline.is_empty() {
            // The chart's own values are there without a file.
            return Ok(chart.values_file.clone().map(|file| Values {
                file,
                ..Values::default()
            }));
        }
        let of_file = match (chart.merge, &chart.values_file) {
            (ValuesMerge::Replace, _) => Map::new(),
            (_, Some(file)) => self
                .values_of(file)?
                .ok_or_else(|| self.refused(format!("{}: {file} is absent", wanted.file)))?,
            (_, None) => {
                let own = format!("{}/values.yaml", chart.folder);
                self.values_of(&own)?.unwrap_or_default()
            }
        };
        Ok(Some(Values {
            name: format!("valuesInline in {}", wanted.file),
            text: merged(chart.merge, chart.inline.clone(), of_file).to_string(),
            ..Values::default()
        }))
    }

    /// The values in a file; none where there is no file.
    fn values_of(&self, file: &str) -> Result<Option<Map<String, Value>>, Box<Failed>> {
        let unreadable = |source| {
            self.failed(RenderFailure::Read {
                renderer: "kustomize".to_owned(),
                path: file.to_owned(),
                source,
            })
        };
        let blob = match self.inflated.look(file) {
            Ok(place) => place.file,
            Err(error) if error.fault() == ReadFault::PathNotFound => None,
            Err(error) => return Err(unreadable(error)),
        };
        let Some(blob) = blob else { return Ok(None) };
        let text = self.inflated.read(blob).map_err(unreadable)?;
        let documents = manifest::documents(&text);
        let documents = documents.map_err(|error| self.refused(format!("{file}: {error}")))?;
        match documents.into_iter().next().map(|document| document.value) {
            None => Ok(Some(Map::new())),
            Some(Value::Object(values)) => Ok(Some(values)),
            Some(_) => Err(self.refused(format!("{file}: values must be a map"))),
        }
    }
}

/// What to say of a hook that Helm leaves out. Of a chart with a Sync of its own it is an error; kustomize takes what
/// `helm template` prints.
fn left_out(document: &Document) -> Option<String> {
    let About {
        kind, file, hook, ..
    } = &document.about;
    let events = &hook.as_ref().filter(|_| kind == "unknownHook")?.events;
    Some(format!(
        "{file}: an object is a Helm hook for {}, which Helm does not know, so that it leaves the object out",
        events.join(" and ")
    ))
}

/// Whether a document is a part of what `helm template` prints.
fn is_part(document: &Document, chart: &Inflation) -> bool {
    let about = &document.about;
    let is_test = |event: &String| event == "test" || event == "test-success";
    match (about.kind.as_str(), &about.hook) {
        ("manifest", _) => true,
        ("crd", _) => chart.crds,
        ("hook", Some(hook)) => chart.hooks && (chart.tests || !hook.events.iter().any(is_test)),
        _ => false,
    }
}
