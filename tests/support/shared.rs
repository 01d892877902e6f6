//! One control plane for all tests of a binary, because a start takes seconds.

use tokio::sync::OnceCell;

use super::control_plane::{ControlPlane, Options};

static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();

/// The control plane that tests share, with controllers, one node and an audit log. Each test uses its
/// own [`ControlPlane::namespace`]. A test that kills a program starts its own control plane.
///
/// It is never dropped: its programs end with this process, and the next run removes its folder.
pub async fn shared() -> &'static ControlPlane {
    let options = Options {
        controllers: true,
        nodes: 1,
        audit: true,
        ..Options::default()
    };
    // Stores a failure, too. Otherwise every test would try the start again and wait for the same
    // failure.
    SHARED
        .get_or_init(|| ControlPlane::try_start(options))
        .await
        .as_ref()
        .unwrap_or_else(|error| panic!("{error}"))
}
