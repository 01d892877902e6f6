//! One control plane for all tests of a binary: a start takes seconds.

use tokio::sync::OnceCell;

use super::control_plane::{ControlPlane, Options};

static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();

/// The control plane that tests share, with controllers, one node and an audit log. A test keeps to a
/// [`ControlPlane::namespace`] of its own, and one that kills something starts its own control plane.
///
/// Nothing drops it: its programs end with this process, and the next run removes its folder.
pub async fn shared() -> &'static ControlPlane {
    let options = Options {
        controllers: true,
        nodes: 1,
        audit: true,
        ..Options::default()
    };
    // A failure is remembered too: every test would wait for it again.
    SHARED
        .get_or_init(|| ControlPlane::try_start(options))
        .await
        .as_ref()
        .unwrap_or_else(|error| panic!("{error}"))
}
