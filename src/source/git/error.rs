//! What errors of libgit2 and answers of servers mean.

use crate::source::error::{Error, Reported};
use crate::text::redact_url;

impl Error {
    /// What a libgit2 error while reading the object database means.
    pub(super) fn from_database(error: &git2::Error) -> Self {
        Self::from_cache("use the object database", error, |source| Self::Corrupt {
            source,
        })
    }

    /// What a libgit2 error while talking to `url` means.
    pub(super) fn from_remote(url: &str, error: &git2::Error) -> Self {
        let url = redact_url(url);
        Self::from_cache("store what was fetched", error, |source| {
            if is_local(error) {
                Self::Corrupt { source }
            } else {
                Self::Unreachable { url, source }
            }
        })
    }

    /// The same error, with what the server said to people before it.
    pub(super) fn with_remarks(mut self, remarks: &str) -> Self {
        if let Self::Unreachable { source, .. }
        | Self::Authentication { source, .. }
        | Self::RepositoryNotFound { source, .. }
        | Self::Corrupt { source } = &mut self
            && !remarks.is_empty()
        {
            *source = Reported::new(&format!("{source}; the server says: {remarks}"));
        }
        self
    }

    /// What an HTTP answer other than 200 means.
    pub(super) fn from_status(url: String, status: u16) -> Self {
        let source = Reported::new(&format!("the server answers with HTTP status {status}"));
        match status {
            401 | 403 | 407 => Self::Authentication { url, source },
            404 | 410 => Self::RepositoryNotFound { url, source },
            _ => Self::Unreachable { url, source },
        }
    }

    /// What such an answer means to a request that was redirected to another server.
    pub(super) fn from_status_elsewhere(url: String, status: u16) -> Self {
        let source = Reported::new(&format!(
            "the other server that it redirects to, which is not shown the credentials, answers \
             with HTTP status {status}"
        ));
        match status {
            401 | 403 | 407 => Self::Authentication { url, source },
            _ => Self::Unreachable { url, source },
        }
    }

    /// A full or read-only disk, else what `otherwise` makes of the cause.
    fn from_cache(
        action: &'static str,
        error: &git2::Error,
        otherwise: impl FnOnce(Reported) -> Self,
    ) -> Self {
        let source = Reported::from_git(error);
        let text = error.message();
        let disk = [
            "No space left",
            "Read-only file system",
            "Permission denied",
            "quota",
        ]
        .iter()
        .any(|sign| text.contains(sign));
        if disk {
            Self::Cache { action, source }
        } else {
            otherwise(source)
        }
    }
}

/// Whether an error during a fetch may come from what is on disk already: a lock file left behind, a
/// damaged object, a base that a delta needs. A broken transfer can look the same.
fn is_local(error: &git2::Error) -> bool {
    use git2::ErrorClass as Class;
    error.code() == git2::ErrorCode::Locked
        || matches!(
            error.class(),
            Class::Odb
                | Class::Object
                | Class::Tree
                | Class::Reference
                | Class::Repository
                | Class::Zlib
                | Class::Indexer
                | Class::Filesystem
        )
}

impl Reported {
    pub(super) fn from_git(error: &git2::Error) -> Self {
        Self::new(error.message())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use git2::{ErrorClass, ErrorCode};

    #[test]
    fn errors_of_libgit2_are_told_apart_and_redacted() {
        for (class, message, text) in [
            (
                ErrorClass::Net,
                "failed to connect to http://a:b@h/r",
                "cannot fetch http://h/r; failed to connect to http://h/r",
            ),
            (
                ErrorClass::Os,
                "could not write pack: No space left on device",
                "cannot store what was fetched in the cache; could not write pack: No space left on device",
            ),
            (
                ErrorClass::Odb,
                "object not found",
                "the cached copy is damaged; it is fetched anew; object not found",
            ),
        ] {
            let error = git2::Error::new(ErrorCode::GenericError, class, message);
            let error = Error::from_remote("http://user:pass@h/r?token=t", &error);
            let cause = std::error::Error::source(&error).unwrap();
            assert_eq!(format!("{error}; {cause}"), text);
        }
    }
}
