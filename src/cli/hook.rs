//! `towline hook test`: a signed delivery, as a Git server would send it.

use std::io::Read as _;

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
        request.send(body).map(|answer| HookAnswer {
            code: answer.status().as_u16(),
            is_bare: is_bare(answer),
        })
    });
    let sent = sent.await.map_err(|_| CliError::Ended)?;
    let address = redact_url(&args.address);
    let (line, exit) = match sent {
        Ok(answer) => outcome(answer),
        Err(error) => (
            format!("no answer: {}", crate::chain(&error)),
            Exit::Differs,
        ),
    };
    let line = crate::text::redact(&line);
    Terminal::say(&format!("{address}: {line}\n"))?;
    Ok(exit)
}

/// An answer to a delivery.
#[derive(Clone, Copy)]
struct HookAnswer {
    code: u16,
    /// It says nothing beside its code, as all answers of towline do. Proxies and load balancers write a page, or ask for a
    /// login.
    is_bare: bool,
}

fn is_bare(mut answer: http::Response<ureq::Body>) -> bool {
    let asks_for_login = answer
        .headers()
        .contains_key(http::header::WWW_AUTHENTICATE);
    let mut body = answer.body_mut().as_reader().take(1);
    let is_empty = matches!(body.read(&mut [0]), Ok(0));
    is_empty && !asks_for_login
}

/// What an answer of the endpoint means, or that of something before it.
fn outcome(answer: HookAnswer) -> (String, Exit) {
    let HookAnswer { code, is_bare } = answer;
    let text = match (code, is_bare) {
        (202, true) => {
            let text = "202 taken: the token is right, and the repository is fetched now";
            return (text.to_owned(), Exit::Done);
        }
        (401, true) => {
            "refused: the endpoint knows no repository with this token; the operator may not have read the Secret yet"
        }
        (401 | 403 | 407, _) => {
            "refused, and not by towline: a proxy or a firewall before it wants a login, or does not let this sender through"
        }
        (404 | 405, true) => "refused: the path is wrong; only POST /hook is served",
        (404 | 405, false) => {
            "refused, and not by towline: see whether host and path of the address lead to the port of its webhooks, as /hook"
        }
        (429, _) => {
            "not taken: the endpoint, or a proxy before it, has too many requests at present; try again"
        }
        (503, true) => "not taken: no replica leads at present",
        (500.., _) => {
            "not taken: what answers is a proxy or load balancer before towline that cannot reach it; see its log, and whether the \
             Service of the webhooks has ready pods"
        }
        (300..=399, _) => "redirected: name the final address",
        _ => "not taken: is this the address of towline's webhooks?",
    };
    (format!("{code} {text}"), Exit::Differs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_a_meaning() {
        for (code, is_bare, exit, part) in [
            (202, true, Exit::Done, "taken"),
            // A page that greets everybody.
            (202, false, Exit::Differs, "is this the address"),
            (200, false, Exit::Differs, "is this the address"),
            (302, false, Exit::Differs, "name the final address"),
            (
                401,
                true,
                Exit::Differs,
                "knows no repository with this token",
            ),
            (401, false, Exit::Differs, "not by towline"),
            (403, true, Exit::Differs, "not by towline"),
            (403, false, Exit::Differs, "not by towline"),
            (404, true, Exit::Differs, "only POST /hook"),
            (404, false, Exit::Differs, "not by towline"),
            (405, true, Exit::Differs, "only POST /hook"),
            (429, true, Exit::Differs, "too many requests"),
            (500, false, Exit::Differs, "cannot reach it"),
            (502, false, Exit::Differs, "cannot reach it"),
            (503, true, Exit::Differs, "no replica leads"),
            (503, false, Exit::Differs, "cannot reach it"),
            (504, true, Exit::Differs, "cannot reach it"),
        ] {
            let (text, is) = outcome(HookAnswer { code, is_bare });
            assert_eq!(is, exit, "{code}");
            assert!(text.starts_with(&code.to_string()), "{text}");
            assert!(text.contains(part), "{text}");
        }
    }
}
