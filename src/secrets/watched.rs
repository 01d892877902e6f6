//! A value that is read from a Secret, and read again when the Secret changes.

use super::{Data, ReadError, SecretName, Secrets};
use crate::fleet::Subscription;

/// Why a Secret gives no value.
#[derive(Debug, thiserror::Error)]
pub enum ValueError<E: std::error::Error + 'static> {
    /// The Secret cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The Secret holds something else than what is needed.
    #[error("Secret {secret}: {source}")]
    Content {
        /// The Secret.
        secret: SecretName,
        /// What is wrong with it.
        source: E,
    },
}

impl<E: std::error::Error + 'static> ValueError<E> {
    /// Whether the API server is at fault, not the Secret.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Read(ReadError::Unavailable(..)))
    }
}

/// A value of one Secret. It is read once, and again after the Secret changed, after it could not be used,
/// and while the watch of Secrets is interrupted.
pub struct Watched<T>(Option<Read<T>>);

struct Read<T> {
    /// Also of a Secret that does not exist: its creation is a change.
    secret: Subscription<SecretName, ()>,
    /// What the value was parsed for.
    purpose: String,
    /// None where the Secret cannot be used.
    value: Option<T>,
}

impl<T: Clone> Watched<T> {
    /// The value of a Secret. `purpose` is what the value depends on beside the Secret, such as a URL: a
    /// value for another purpose is parsed anew.
    ///
    /// # Errors
    /// [`ValueError`]: why the Secret cannot be used.
    pub async fn get<E: std::error::Error + 'static>(
        &mut self,
        secrets: &Secrets,
        name: &SecretName,
        purpose: &str,
        parse: impl FnOnce(&Data) -> Result<T, E>,
    ) -> Result<T, ValueError<E>> {
        if let Some(read) = &self.0
            && (read.secret.key(), read.purpose.as_str()) == (name, purpose)
            && let Some(value) = &read.value
            && secrets.is_in_step()
        {
            return Ok(value.clone());
        }
        // Before the Secret is read, so that a change in between is not missed.
        let secret = secrets.subscribe(name);
        let value = match secrets.read(name).await {
            Ok(data) => parse(&data).map_err(|source| ValueError::Content {
                secret: name.clone(),
                source,
            }),
            Err(error) => Err(error.into()),
        };
        self.0 = Some(Read {
            secret,
            purpose: purpose.to_owned(),
            value: value.as_ref().ok().cloned(),
        });
        value
    }

    /// Whether there is a value that still holds.
    pub fn has_value(&self) -> bool {
        self.0.as_ref().is_some_and(|read| read.value.is_some())
    }

    /// Forgets the value and stops listening to its Secret.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Waits until the Secret has changed, and forgets the value. Without a Secret it waits without end.
    pub async fn changed(&mut self) {
        match &mut self.0 {
            Some(read) => read.secret.changed().await,
            None => std::future::pending().await,
        }
        self.0 = None;
    }
}

impl<T> Default for Watched<T> {
    fn default() -> Self {
        Self(None)
    }
}
