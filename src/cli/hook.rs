//! `towline hook test`: a signed delivery, as a Git server would send it.

use serde_json::json;

use super::access::Access;
use super::terminal::Terminal;
use super::{CliError, Exit};
use crate::api::GitRepository;
use crate::config::HookTestArgs;
use crate::intent::SourceIntent;
use crate::secrets::{SecretName, Secrets};
use crate::source::{Credentials, HttpClients, Route};
use crate::text::redact_url;
use crate::webhook::{self, signature};

/// Sends a delivery and tells what became of it.
pub(super) async fn test(args: &HookTestArgs) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let name = &*args.name;
    let repository: GitRepository = access.get(name).await?;
    let intent = SourceIntent::from(&repository);
    let Some(secret) = intent.webhook.clone() else {
        Terminal::say(&format!(
            "repo/{name} has no webhook: set spec.webhook.secretRef\n"
        ))?;
        return Ok(Exit::Differs);
    };
    let secrets = Secrets::new(access.client.clone());
    let field = "spec.webhook.secretRef";
    let data = secrets
        .read(&SecretName::new(&access.namespace, &secret))
        .await;
    let data = data.map_err(|error| CliError::Input(field, error))?;
    let token = data.get("token").map(Vec::as_slice).unwrap_or_default();
    let Ok(secret) = webhook::Secret::new(token) else {
        Terminal::say(&format!(
            "Secret {}/{secret} has no token\n",
            access.namespace
        ))?;
        return Ok(Exit::Differs);
    };
    // Without a ref, any may have moved: the repository is polled whatever it follows.
    let body = json!({"url": repository.spec.url}).to_string();
    let (address, signed) = (args.address.clone(), signature(&secret, body.as_bytes()));
    let sent = tokio::task::spawn_blocking(move || {
        let agent = HttpClients::default().of(&Route::new(&Credentials::default(), None));
        let request = agent
            .post(&address)
            .header("content-type", "application/json")
            .header("x-towline-signature", signed)
            .config()
            .http_status_as_error(false)
            .build();
        request.send(body).map(|answer| answer.status().as_u16())
    });
    let sent = sent.await.map_err(|_| CliError::Ended)?;
    let address = redact_url(&args.address);
    let (line, exit) = match sent {
        Ok(code) => outcome(code),
        Err(error) => (
            format!("no answer: {}", crate::chain(&error)),
            Exit::Differs,
        ),
    };
    let line = crate::text::redact(&line);
    Terminal::say(&format!("{address}: {line}\n"))?;
    Ok(exit)
}

/// What an answer of the endpoint means.
fn outcome(code: u16) -> (String, Exit) {
    let (text, exit) = match code {
        202 => (
            "taken: the token is right, and the repository is fetched now",
            Exit::Done,
        ),
        401 | 403 => (
            "refused: the endpoint knows no repository with this token; the operator may not have read the Secret yet",
            Exit::Differs,
        ),
        404 | 405 => (
            "refused: the path is wrong; only POST /hook is served",
            Exit::Differs,
        ),
        503 => ("not taken: no replica leads at present", Exit::Differs),
        300..=399 => ("redirected: name the final address", Exit::Differs),
        _ => (
            "not taken: is this the address of towline's webhooks?",
            Exit::Differs,
        ),
    };
    (format!("{code} {text}"), exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_a_meaning() {
        for (code, exit) in [
            (202, Exit::Done),
            (401, Exit::Differs),
            (404, Exit::Differs),
            (500, Exit::Differs),
        ] {
            let (text, is) = outcome(code);
            assert_eq!(is, exit);
            assert!(text.starts_with(&code.to_string()), "{text}");
        }
    }
}
