//! A renderer: a module that is compiled, checked and ready to be started.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{
    fs::{self, File},
    io::{self, Read as _, Seek as _},
};

use sha2::{Digest as _, Sha256};
use thiserror::Error;
use wasmtime::{InstancePre, Linker};

use super::engine::Engine;
use super::host::Host;
use super::{imports, map, wasi};

/// Why a module is not used.
#[derive(Debug, Error)]
pub enum ModuleError {
    /// It is not there.
    #[error("the renderer {path} cannot be read")]
    Read {
        /// Where it should be.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not the module that was built.
    #[error("the renderer {path} has the digest {found}, and not {wanted}")]
    Digest {
        /// Where it is.
        path: PathBuf,
        /// In hexadecimal.
        wanted: String,
        /// In hexadecimal.
        found: String,
    },
    /// Another wasmtime made it, or other settings, or it asks for what the host does not have.
    #[error("the renderer {path} does not fit this build of towline: {reason}")]
    Unfit {
        /// Where it is.
        path: PathBuf,
        /// In wasmtime's words.
        reason: String,
    },
}

/// A renderer that can be started. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    digest: [u8; 32],
    start: InstancePre<Host>,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Module").field(&self.inner.name).finish()
    }
}

impl Module {
    /// Maps the module at `path`. Its digest, in hexadecimal, stands in the file beside it that ends in
    /// `.sha256`. `name` is for messages.
    ///
    /// # Errors
    /// Where the file is not what was built, or was built for another wasmtime.
    pub fn open(engine: &Engine, name: &str, path: &Path) -> Result<Self, ModuleError> {
        let read = |source| ModuleError::Read {
            path: path.to_owned(),
            source,
        };
        let mut beside = path.to_owned().into_os_string();
        beside.push(".sha256");
        let wanted = fs::read_to_string(beside).map_err(read)?.trim().to_owned();
        let mut file = File::open(path).map_err(read)?;
        let digest = digest(&mut file).map_err(read)?;
        let found = hex::encode(digest);
        if found != wanted {
            return Err(ModuleError::Digest {
                path: path.to_owned(),
                wanted,
                found,
            });
        }
        let unfit = |error: wasmtime::Error| ModuleError::Unfit {
            path: path.to_owned(),
            reason: format!("{error:#}"),
        };
        let module = map::module(engine.wasmtime(), file).map_err(unfit)?;
        let mut linker = Linker::new(engine.wasmtime());
        imports::define(&mut linker).map_err(unfit)?;
        wasi::define(&mut linker, &module).map_err(unfit)?;
        let start = linker.instantiate_pre(&module).map_err(unfit)?;
        let name = name.to_owned();
        Ok(Self {
            inner: Arc::new(Inner {
                name,
                digest,
                start,
            }),
        })
    }

    /// Its name, for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The digest of its code, which is a part of the key of every render.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        self.inner.digest
    }

    pub(super) fn start(&self) -> &InstancePre<Host> {
        &self.inner.start
    }
}

/// The SHA-256 of a file, which is then at its beginning again.
fn digest(file: &mut File) -> io::Result<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            size => hash.update(&piece[..size]),
        }
    }
    file.rewind()?;
    Ok(hash.finalize().into())
}
