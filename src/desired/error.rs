//! Why the desired state of a revision cannot be read, and the reason of the condition.

use crate::api::Reason;
use crate::content::{ReadError, ReadFault};
use crate::desired::BodyError;
use crate::manifest::ObjectKey;
use crate::render::wasm::{Failed, LookupError, RenderFailure};
use crate::render::{RenderError, WantedBase};
use crate::text::Secrets;

/// Why the desired state cannot be read from a tree.
#[derive(Debug, thiserror::Error)]
pub enum DesiredError {
    /// The path cannot be read from the tree.
    #[error(transparent)]
    Tree(#[from] ReadError),
    /// Files of the path cannot be read as manifests.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A renderer refuses the files, or exceeds a limit.
    #[error(transparent)]
    Renderer(#[from] RenderFailure),
    /// The source of the chart is not given.
    #[error("spec.helm.chartRef: GitRepository {0} has no revision")]
    NoChart(String),
    /// There is nothing at the path of the chart.
    #[error("spec.helm.chartRef: in GitRepository {source_name}: {why}")]
    ChartPath {
        /// The chart's source.
        source_name: String,
        /// Why.
        why: ReadError,
    },
    /// A hook of a chart for an event that neither Helm nor towline knows.
    #[error(
        "{template}: {object} is a Helm hook for {event:?}, which is no event of Helm: correct the annotation helm.sh/hook, \
         or take it away"
    )]
    Hook {
        /// The template.
        template: String,
        /// The object, or words for it.
        object: String,
        /// The event.
        event: String,
    },
    /// The hooks of a chart take too much memory.
    #[error(
        "{template}: the objects of the chart's hooks take more than {limit_mib} MiB, compressed: make what is large an \
         object of the chart, which a hook can name"
    )]
    HooksTooLarge {
        /// The template at which the limit was exceeded.
        template: String,
        /// The limit.
        limit_mib: usize,
    },
    /// Part of the path is in another repository.
    #[error(
        "{0} is a submodule, which is not fetched: set spec.recurseSubmodules of the GitRepository \
         (and have .gitmodules name it), or keep manifests in the repository itself"
    )]
    Submodule(String),
    /// The same object in two places.
    #[error("{object} is written twice: {first}, and {second}")]
    Duplicate {
        /// The object.
        object: ObjectKey,
        /// File and document of the first.
        first: String,
        /// File and document of the second.
        second: String,
    },
    /// No object at all. Then nothing is pruned, because the path is probably wrong.
    #[error(
        "no manifest found under {}, or .towlineignore leaves all out, or spec.ignore does; nothing is pruned",
        shown(path)
    )]
    Empty {
        /// The path.
        path: String,
    },
    /// A kustomization without an object. Then nothing is pruned.
    #[error(
        "the kustomization in {} renders no object; nothing is pruned: correct it, or delete the Sync to remove its objects",
        shown(path)
    )]
    EmptyKustomization {
        /// The path.
        path: String,
    },
    /// A chart without an object and without a hook: all of it may be switched off by values. Helm would delete what it
    /// installed. Then nothing is pruned, because values that are misspelt or missing do the same.
    #[error(
        "the chart in {} renders no object{}; nothing is pruned: if this is not intended, correct the values or the chart; \
         otherwise delete the Sync, which removes its objects",
        shown(folder),
        with(values)
    )]
    EmptyChart {
        /// The chart's folder.
        folder: String,
        /// Where its values are; may be empty.
        values: String,
    },
    /// A renderer of the team's own that gave back no object. Then nothing is pruned.
    #[error(
        "the renderer {name} gives no object for {}; nothing is pruned: correct the files, or delete the Sync to remove its \
         objects",
        shown(path)
    )]
    EmptyOwn {
        /// The path.
        path: String,
        /// The renderer.
        name: String,
    },
    /// An error whose text contained a secret value. Holds the text without the value.
    #[error("{text}")]
    Hidden {
        /// What it says, with its causes.
        text: String,
        /// The condition's reason.
        reason: Reason,
        /// Whether only a person can help.
        lasting: bool,
    },
}

impl DesiredError {
    /// The same error, with a text that shows none of the values.
    pub(super) fn without(self, secrets: &Secrets) -> Self {
        if self.wanted_bases().is_some() {
            return self;
        }
        let text = crate::chain(&self);
        let hidden = secrets.hide(&text);
        if hidden == text {
            return self;
        }
        Self::Hidden {
            text: hidden,
            reason: self.reason(),
            lasting: self.is_lasting(),
        }
    }

    /// The remote bases that have to be fetched first, if that is what is missing.
    #[must_use]
    pub fn wanted_bases(&self) -> Option<&[WantedBase]> {
        match self {
            Self::Renderer(RenderFailure::Bases(wanted)) => Some(wanted),
            _ => None,
        }
    }

    /// The reason of the condition that reports the error.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Tree(error)
            | Self::ChartPath { why: error, .. }
            | Self::Render(RenderError::Read { source: error, .. })
            | Self::Renderer(RenderFailure::Read { source: error, .. }) => reason_of(error),
            Self::Renderer(RenderFailure::Lookup {
                source: LookupError::Unavailable(_),
                ..
            }) => Reason::ApiUnavailable,
            Self::Renderer(RenderFailure::Lookup {
                source: LookupError::Forbidden(_),
                ..
            }) => Reason::RenderFailed,
            Self::NoChart(_) | Self::Renderer(RenderFailure::Bases(_)) => Reason::SourceNotReady,
            Self::Renderer(
                RenderFailure::Refused { .. }
                | RenderFailure::Random { .. }
                | RenderFailure::Crashed { .. }
                | RenderFailure::Missing(_)
                | RenderFailure::NotMounted { .. },
            )
            | Self::Hook { .. } => Reason::RenderFailed,
            Self::Hidden { reason, .. } => *reason,
            Self::Render(RenderError::Pattern(_)) => Reason::InvalidSpec,
            Self::Renderer(_)
            | Self::HooksTooLarge { .. }
            | Self::Render(
                RenderError::TooManyObjects { .. }
                | RenderError::TooMuchIgnored { .. }
                | RenderError::Patterns { .. },
            ) => Reason::TooLarge,
            Self::Empty { .. }
            | Self::EmptyKustomization { .. }
            | Self::EmptyChart { .. }
            | Self::EmptyOwn { .. } => Reason::EmptyRender,
            Self::Render(RenderError::Broken { .. })
            | Self::Submodule(_)
            | Self::Duplicate { .. } => Reason::InvalidManifest,
        }
    }

    /// Whether there may be room for it later.
    #[must_use]
    pub fn is_for_want_of_room(&self) -> bool {
        matches!(self, Self::Renderer(RenderFailure::Full { .. }))
    }

    /// Whether something in the cluster cannot be looked up, which another try may find otherwise: the API server is the
    /// cause, or a right, of which no event tells.
    #[must_use]
    pub fn is_for_want_of_an_answer(&self) -> bool {
        matches!(
            self,
            Self::Renderer(RenderFailure::Lookup {
                source: LookupError::Forbidden(_) | LookupError::Unavailable(_),
                ..
            })
        )
    }

    /// Whether only a person can help. Otherwise, fetching the revision again may help.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Tree(error)
            | Self::ChartPath { why: error, .. }
            | Self::Render(RenderError::Read { source: error, .. })
            | Self::Renderer(RenderFailure::Read { source: error, .. }) => {
                error.fault() != ReadFault::Damaged
            }
            Self::Hidden { lasting, .. } => *lasting,
            Self::Renderer(RenderFailure::Lookup { source, .. }) => {
                !matches!(source, LookupError::Unavailable(_))
            }
            _ => true,
        }
    }
}

impl From<Box<Failed>> for DesiredError {
    fn from(failed: Box<Failed>) -> Self {
        failed.failure.into()
    }
}

impl BodyError {
    /// The reason of the condition that reports the error.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Read(error) => reason_of(error),
            Self::Text(_) | Self::NoSuchObject => Reason::InvalidManifest,
        }
    }
}

fn reason_of(error: &ReadError) -> Reason {
    match error.fault() {
        ReadFault::PathNotFound => Reason::PathNotFound,
        ReadFault::TooLarge => Reason::TooLarge,
        ReadFault::Encrypted => Reason::DecryptionFailed,
        ReadFault::InvalidPath => Reason::InvalidSpec,
        ReadFault::Unusable => Reason::InvalidManifest,
        ReadFault::Damaged | ReadFault::Unavailable => Reason::FetchFailed,
    }
}

fn with(values: &str) -> String {
    match values {
        "" => String::new(),
        values => format!(" with values of {values}"),
    }
}

fn shown(path: &str) -> &str {
    match path {
        "" => "the repository's root",
        path => path,
    }
}
