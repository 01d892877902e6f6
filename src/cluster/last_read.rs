//! The live object as it was read last, so that it is read once for all that looks at it; and messages without its values.

use serde_json::Value;

use super::ServedKind;
use super::refused::WriteError;
use super::write::{Answer, Wanted, Writer};
use crate::manifest::{ObjectKey, redact};

impl Writer<'_> {
    /// The answer to an apply. A refusal has no values of the live object, and after a success that is to be read again.
    pub(super) async fn without_live_of(
        &self,
        wanted: &Wanted<'_>,
        answer: Result<Answer, WriteError>,
    ) -> Result<Answer, WriteError> {
        match &answer {
            Ok(_) => drop(wanted.live.take()),
            Err(error) if self.repeats(wanted.key, error) => {
                let live = self.live(wanted).await;
                if let Ok(Some(live)) = &live {
                    wanted.live.keep(live.clone());
                }
                return answer.map_err(|error| cut_live(wanted.key, error, live));
            }
            Err(_) => (),
        }
        answer
    }

    /// The live object with all of its fields, which may have been read before; none where there is none.
    pub(super) async fn live(&self, wanted: &Wanted<'_>) -> Result<Option<Value>, WriteError> {
        match wanted.live.take() {
            Some(live) => Ok(Some(live)),
            None => self.whole(wanted.served, wanted.key).await,
        }
    }

    /// Whether the message of a refusal may repeat values that the live object has: a policy, a webhook or a rule of a
    /// definition compares a change with what was before.
    fn repeats(&self, key: &ObjectKey, error: &WriteError) -> bool {
        let WriteError::Refused { code, message, .. } = error else {
            return false;
        };
        let may_repeat =
            redact::is_denial(message) || redact::is_of_rule(*code, &key.kind, message);
        may_repeat && !self.requests.show_values
    }

    /// A refusal without the values that the live object has: rules of admission may repeat what an object was before.
    pub(super) async fn without_live<T>(
        &self,
        served: &ServedKind,
        key: &ObjectKey,
        answer: Result<T, WriteError>,
    ) -> Result<T, WriteError> {
        match &answer {
            Err(error) if self.repeats(key, error) => {
                let live = self.whole(served, key).await;
                answer.map_err(|error| cut_live(key, error, live))
            }
            _ => answer,
        }
    }
}

/// A refusal without the values of the live object, as far as that could be read.
fn cut_live(
    key: &ObjectKey,
    error: WriteError,
    live: Result<Option<Value>, WriteError>,
) -> WriteError {
    match error {
        WriteError::Refused {
            code,
            message,
            causes,
        } => WriteError::Refused {
            code,
            message: match live {
                Ok(Some(live)) => redact::without_live(&key.kind, &message, live),
                Ok(None) => message,
                Err(_) => redact::without_reason(&message),
            },
            causes,
        },
        error => error,
    }
}
