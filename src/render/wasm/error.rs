//! Why a render failed.

use thiserror::Error;

use super::LookupError;
use crate::content::ReadError;
use crate::render::WantedBase;

/// Why a render failed. Each error names the renderer and, where it is not obvious, what to do.
#[derive(Clone, Debug, Error)]
pub enum RenderFailure {
    /// This installation has no renderers, or not those that it was built with.
    #[error(
        "renderers are not available: {0}. The image of towline has them; elsewhere, build them with renderers/build and name \
         their folder with --renderers-dir"
    )]
    Missing(String),
    /// The administrator mounted no such renderer, or it cannot be used.
    #[error(
        "the renderer {name} cannot be used: {reason}; who runs towline mounts renderers (docs/guides/own-renderer.md)"
    )]
    NotMounted {
        /// The renderer.
        name: String,
        /// Why, with the file.
        reason: String,
    },
    /// The renderer itself says what is wrong with the files.
    #[error("{renderer}: {message}")]
    Refused {
        /// Which renderer.
        renderer: String,
        /// Upstream's words, without credentials.
        message: String,
    },
    /// Files that are larger than a renderer reads.
    #[error("{renderer}: {message}")]
    TooLarge {
        /// Which renderer.
        renderer: String,
        /// The file, the limit, and what to do.
        message: String,
    },
    /// Remote bases that are not fetched. Never empty.
    #[error("{}", unfetched(.0))]
    Bases(Vec<WantedBase>),
    /// The files cannot be read.
    #[error("{renderer}: {path} cannot be read")]
    Read {
        /// Which renderer.
        renderer: String,
        /// What it asked for.
        path: String,
        /// Why.
        source: ReadError,
    },
    /// What a template looks up in the cluster cannot be read.
    #[error("{renderer}: {place}")]
    Lookup {
        /// Which renderer.
        renderer: String,
        /// The templates, and what is looked up.
        place: String,
        /// Why.
        source: LookupError,
    },
    /// It needs more memory than its limit.
    #[error(
        "{renderer} needs more than {limit_mib} MiB of memory{place}: split the path into several Syncs"
    )]
    OutOfMemory {
        /// Which renderer.
        renderer: String,
        /// Where it was, as part of the sentence.
        place: String,
        /// What it may have.
        limit_mib: usize,
    },
    /// It takes longer than its limit.
    #[error(
        "{renderer} did not end within {seconds} seconds of processor time, or {most} seconds in all{place}: {}split the path into several Syncs",
        of_templates(renderer, "look for a template that loops, or ")
    )]
    OutOfTime {
        /// Which renderer.
        renderer: String,
        /// Where it was, as part of the sentence.
        place: String,
        /// The processor time that it may take.
        seconds: u64,
        /// How long it may last.
        most: u64,
    },
    /// It calls itself too deeply.
    #[error(
        "{renderer} ran out of stack{place}: look for what nests deeply{}",
        of_templates(renderer, ", such as a template that includes itself")
    )]
    OutOfStack {
        /// Which renderer.
        renderer: String,
        /// Where it was, as part of the sentence.
        place: String,
    },
    /// It writes or reads more than a limit.
    #[error("{renderer} {what} more than {limit}{place}: split the path into several Syncs")]
    TooMuch {
        /// Which renderer.
        renderer: String,
        /// Where it was, as part of the sentence.
        place: String,
        /// What it does: "writes", "reads".
        what: &'static str,
        /// The limit with its unit.
        limit: String,
    },
    /// What the tenant's Syncs keep rendered takes too much memory together.
    #[error(
        "{renderer}: what is rendered for the Syncs of namespace {namespace} would take more than {limit_mib} MiB of \
         memory together, or that of all namespaces more than they may share: leave out what is large, or delete Syncs"
    )]
    Full {
        /// Which renderer.
        renderer: String,
        /// The namespace.
        namespace: String,
        /// What one namespace may keep.
        limit_mib: usize,
    },
    /// A template draws what cannot be kept from the live object, so that each render would make other objects.
    #[error(
        "{renderer}: {template} draws {what} at random or from the time: give it by the chart's values"
    )]
    Random {
        /// Which renderer.
        renderer: String,
        /// The template.
        template: String,
        /// What it draws.
        what: String,
    },
    /// It ended unexpectedly, because of a bug in the renderer.
    #[error("{renderer} crashed: {reason}")]
    Crashed {
        /// Which renderer.
        renderer: String,
        /// The first lines of what it wrote, or wasmtime's words.
        reason: String,
    },
}

impl RenderFailure {
    /// Adds where to look.
    pub(super) fn add(&mut self, words: &str) {
        match self {
            Self::OutOfMemory { place, .. }
            | Self::OutOfTime { place, .. }
            | Self::OutOfStack { place, .. }
            | Self::TooMuch { place, .. } => place.push_str(words),
            Self::Refused { message, .. } => message.push_str(words),
            _ => (),
        }
    }

    /// Says where it was, in place of what is known so far.
    pub(super) fn blame(&mut self, words: String) {
        match self {
            Self::OutOfMemory { place, .. }
            | Self::OutOfTime { place, .. }
            | Self::OutOfStack { place, .. }
            | Self::TooMuch { place, .. } => *place = words,
            _ => (),
        }
    }

    /// Whether it exceeds a limit while it works.
    pub(super) fn is_excess(&self) -> bool {
        matches!(
            self,
            Self::OutOfMemory { .. }
                | Self::OutOfTime { .. }
                | Self::OutOfStack { .. }
                | Self::TooMuch { .. }
        )
    }
}

/// What is said of Helm only: other renderers have no templates.
fn of_templates<'w>(renderer: &str, words: &'w str) -> &'w str {
    match renderer.starts_with("helm") {
        true => words,
        false => "",
    }
}

fn unfetched(bases: &[WantedBase]) -> String {
    let named: Vec<_> = bases.iter().map(ToString::to_string).collect();
    format!("kustomize: {}, which is not fetched", named.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_helm_is_said_to_have_templates() {
        for (renderer, has_templates) in [("helm", true), ("kustomize", false), ("cue", false)] {
            let renderer = renderer.to_owned();
            let slow = RenderFailure::OutOfTime {
                renderer: renderer.clone(),
                place: String::new(),
                seconds: 30,
                most: 120,
            };
            let deep = RenderFailure::OutOfStack {
                renderer,
                place: String::new(),
            };
            for told in [slow.to_string(), deep.to_string()] {
                assert_eq!(told.contains("template"), has_templates, "{told}");
            }
        }
    }
}
