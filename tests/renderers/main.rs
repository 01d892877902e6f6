//! Tests of the renderers: upstream's programs in the sandbox, compared with expected results and with
//! upstream's own programs. The first use builds both (`renderers/build`).

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod folder;
mod golden;
mod helm;
mod inflate;
mod known;
mod kustomize;
mod leaks;
mod modules;
mod values;
