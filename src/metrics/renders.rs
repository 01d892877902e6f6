//! How often something was rendered, and how often that was not needed.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::MetricType;

use super::computed;
use crate::render::wasm::{RenderCounts, Renderers};

/// The counts of these renderers.
#[derive(Debug)]
pub struct Renders(pub Renderers);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct From {
    from: &'static str,
}

impl Collector for Renders {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let RenderCounts {
            rendered,
            memory,
            disk,
        } = self.0.counts();
        let counts = [("renderer", rendered), ("memory", memory), ("disk", disk)];
        computed(
            &mut encoder,
            "renders",
            "Folders and charts that were to be rendered, by what gave the output: a renderer, or one that is kept in memory or on disk",
            None,
            MetricType::Counter,
            counts.map(|(from, count)| (From { from }, count as f64)),
        )
    }
}
