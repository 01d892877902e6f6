//! Translates errors of libgit2 and answers of servers.

use crate::source::error::{Error, Reported};
use crate::text::redact_url;

impl Error {
    /// Translates a libgit2 error that came while reading the object database.
    pub(super) fn from_database(error: &git2::Error) -> Self {
        Self::from_cache("use the object database", error, |source| Self::Corrupt {
            source,
        })
    }

    /// Translates a libgit2 error that came while talking to `url`.
    pub(super) fn from_remote(url: &str, error: &git2::Error) -> Self {
        let url = redact_url(url);
        Self::from_cache("store the fetched data", error, |source| {
            if is_local(error) {
                Self::Corrupt { source }
            } else {
                Self::Unreachable { url, source }
            }
        })
    }

    /// Adds the messages that the server sent before the error.
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

    /// Translates an HTTP status other than 200.
    pub(super) fn from_status(url: String, status: u16) -> Self {
        let source = Reported::new(&format!("the server answers with HTTP status {status}"));
        match status {
            401 | 403 | 407 => Self::Authentication { url, source },
            404 | 410 => Self::RepositoryNotFound { url, source },
            _ => Self::Unreachable { url, source },
        }
    }

    /// Translates an HTTP status of another server to which the request was redirected.
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

    /// An error for a full or read-only disk. For every other cause, the result of `otherwise`.
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

/// Whether the error may come from the files on disk: a lock file that a process left behind, a
/// damaged object, or a missing base of a delta. A broken transfer can look the same.
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
                "cannot store the fetched data in the cache; could not write pack: No space left on device",
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
