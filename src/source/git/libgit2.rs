//! Sets libgit2's process-wide options before its first use.

use std::sync::OnceLock;

use git2::{ConfigLevel, ObjectType, opts};

use super::transport;
use crate::source::error::{Error, Reported};

/// The size of the cache for parsed objects of all repositories, in bytes.
const OBJECT_CACHE: isize = 8 << 20;
/// The largest folder that this cache keeps, in bytes; about 40 an entry. All paths of a monorepo go through the same few
/// folders. With libgit2's own limit of 4 KiB, each path of 250 overlays had the folder of all overlays inflated and checked; with
/// 64 KiB, it was so for the folder of 3,000 Syncs, and a third of the processor time of each commit.
const CACHED_TREE: usize = 1 << 20;
/// The bytes of a pack that are mapped at a time, and the limit for all packs together.
const MAP_WINDOW: usize = 4 << 20;
const MAP_TOTAL: usize = 32 << 20;

static PREPARED: OnceLock<Result<(), Reported>> = OnceLock::new();

/// Sets the options once for the process. Every later call returns the result of the first.
pub(super) fn prepare() -> Result<(), Error> {
    PREPARED
        .get_or_init(|| set_options().map_err(|source| Reported::from_git(&source)))
        .clone()
        .map_err(|source| Error::Cache {
            action: "set up libgit2",
            source,
        })
}

// SAFETY: each call changes a global of libgit2 without a lock. `prepare` runs this function inside
// a `OnceLock`. `Cache::open` calls `prepare` before it makes the first repository, connection or
// thread of this module, and only this module uses git2. So nothing reads the globals meanwhile.
#[allow(unsafe_code)]
fn set_options() -> Result<(), git2::Error> {
    opts::strict_hash_verification(true);
    unsafe {
        opts::set_cache_max_size(OBJECT_CACHE)?;
        opts::set_cache_object_limit(ObjectType::Tree, CACHED_TREE)?;
        opts::set_mwindow_size(MAP_WINDOW)?;
        opts::set_mwindow_mapped_limit(MAP_TOTAL)?;
        // The volume may belong to another uid than the container's user.
        opts::set_verify_owner_validation(false)?;
        // Ignores the machine's Git configuration (proxies, rewritten URLs, hooks).
        for level in [
            ConfigLevel::ProgramData,
            ConfigLevel::System,
            ConfigLevel::XDG,
            ConfigLevel::Global,
        ] {
            opts::set_search_path(level, "")?;
        }
        transport::register()?;
    }
    Ok(())
}
