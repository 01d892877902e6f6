//! The renderers: upstream's programs in the sandbox, held against what they should do and against
//! upstream's own programs. Builds both at the first use (`renderers/build`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod folder;
mod golden;
mod helm;
mod kustomize;
mod modules;
