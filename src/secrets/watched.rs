//! A value that is parsed from a Secret or a ConfigMap, and read again when that object changes.

use super::{Data, Keeper, Keeping, ReadError, SecretName};
use crate::fleet::Subscription;

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub enum ValueError<E: std::error::Error + 'static> {
    /// The Secret cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The Secret cannot be parsed.
    #[error("{kind} {secret}: {source}")]
    Content {
        /// The kind of the object.
        kind: &'static str,
        /// The name of the object.
        secret: SecretName,
        /// What is wrong with the object.
        source: E,
    },
}

impl<E: std::error::Error + 'static> ValueError<E> {
    /// Whether the API server is at fault, not the Secret.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Read(ReadError::Unavailable(..)))
    }
}

/// A value from one Secret. It is read once. It is read again after the Secret changed, after an error,
/// and while the watch of Secrets is interrupted.
pub struct Watched<T>(Option<Read<T>>);

struct Read<T> {
    /// A Secret that does not exist has a subscription too, because its creation is a change.
    secret: Subscription<SecretName, ()>,
    /// The purpose for which the value was parsed.
    purpose: String,
    /// None if the Secret cannot be used.
    value: Option<T>,
}

impl<T: Clone> Watched<T> {
    /// Returns the value of a Secret. `purpose` is the second input of the value, such as a URL. A
    /// value for another purpose is parsed again.
    ///
    /// # Errors
    ///
    /// [`ValueError`]: why the Secret cannot be used.
    pub async fn get<K: Keeping, E: std::error::Error + 'static>(
        &mut self,
        secrets: &Keeper<K>,
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
        // Subscribes before the read, so that a change in between is not missed.
        let secret = secrets.subscribe(name);
        let value = match secrets.read(name).await {
            Ok(data) => parse(&data).map_err(|source| ValueError::Content {
                kind: K::KIND,
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

    /// Whether there is a current value.
    pub fn has_value(&self) -> bool {
        self.0.as_ref().is_some_and(|read| read.value.is_some())
    }

    /// Forgets the value, which is read again when it is next asked for.
    pub fn forget(&mut self) {
        if let Some(read) = &mut self.0 {
            read.value = None;
        }
    }

    /// Forgets the value and stops listening to its Secret.
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Waits until the Secret changes, then forgets the value. Without a Secret it never returns.
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
