//! What a driver is told to do, whichever API says so.
//!
//! Plain values without a wire format. `api` makes them from towline's own custom resources; a second API
//! for the same job is another adapter, and no driver notices. Names a Secret by its name alone: it is in
//! the namespace of what names it.

mod alert;
mod field_pattern;
mod inputs;
mod kustomize;
mod render;
mod source;
mod sync;

pub use alert::{AlertIntent, NoticeSource, ProviderIntent, Service};
pub use field_pattern::{FieldPattern, PatternError, PatternStep};
pub use inputs::{InputsIntent, Keeper, Reference, SubstituteIntent, ValuesFrom};
pub use kustomize::{Image, Overrides, Patch, Replica, Selector};
pub use render::{ChartIntent, HelmIntent, RenderIntent, RendererIntent};
pub use source::{
    GitIntent, GitReference, MAX_TIMEOUT, PullRequestsIntent, SignedPart, SourceIntent,
    VerifyIntent,
};
pub use sync::{FieldRule, Mode, OnDeletion, PinIntent, PruneLimit, SyncIntent};
