//! Sends e-mails over SMTP (RFC 5321): encrypted from the beginning (`smtps`), or by STARTTLS where the server has it.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mail_send::smtp::message::Parameters;
use mail_send::{Credentials, Error, SmtpClient, SmtpClientBuilder};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::message::{Answer, Request};
use crate::source::{Route, tls_connector};

/// What a client calls itself that has no name in public (RFC 5321, section 4.1.3).
const OWN_NAME: &str = "[127.0.0.1]";

/// How long the end of a conversation may take. The message has arrived by then.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why a mail server has no answer.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The URL has no host.
    #[error("its address has no host")]
    Address,
    /// The client certificate does not fit its key.
    #[error("the certificate for it cannot be used")]
    Certificate,
    /// A password would be sent for everybody to read.
    #[error(
        "it offers no encryption (STARTTLS), so the password is not sent: use smtps://, or no password"
    )]
    Plain,
    /// It takes no password.
    #[error(
        "it offers no login by password: leave username and password out of the Secret, or use another port"
    )]
    NoLogin,
    /// The connection failed.
    #[error("it cannot be reached, or breaks off")]
    Connection(#[source] std::io::Error),
    /// Encryption failed.
    #[error("the encrypted connection failed")]
    Tls(#[source] Box<rustls::Error>),
    /// It does not speak SMTP.
    #[error("it does not answer as a mail server does")]
    Protocol,
}

/// Sends an e-mail. The answer has the code of the server, and what it was about.
///
/// # Errors
///
/// [`MailError`], if the server has no code for it.
pub(super) async fn send(
    route: &Route,
    request: &Request,
    timeout: Duration,
) -> Result<Answer, MailError> {
    let url: http::Uri = request.url.parse().map_err(|_| MailError::Address)?;
    let host = url.host().ok_or(MailError::Address)?;
    // It is not kept: it holds all authorities of the platform.
    let tls = tls_connector(route).ok_or(MailError::Certificate)?;
    let is_encrypted = url.scheme_str() == Some("smtps");
    let port = url
        .port_u16()
        .unwrap_or(if is_encrypted { 465 } else { 587 });
    let name = host.trim_matches(['[', ']']).to_owned();
    let server = SmtpClientBuilder::new_with_tls_connector(host.to_owned(), port, tls.clone())
        .timeout(timeout)
        .say_ehlo(false)
        .implicit_tls(is_encrypted);
    let login = login(request);
    if is_encrypted {
        return match server.connect().await {
            Ok(client) => converse(client, login, request).await,
            Err(error) => answer("a connection", error),
        };
    }
    let mut client = match server.connect_plain().await {
        Ok(client) => client,
        Err(error) => return answer("a connection", error),
    };
    let offered = match client.ehlo(OWN_NAME).await {
        Ok(offered) => offered,
        Err(error) => return answer("a greeting", error),
    };
    if offered.has_capability(smtp_proto::EXT_START_TLS) {
        return match client.start_tls(&tls, &name).await {
            Ok(client) => converse(client, login, request).await,
            Err(error) => answer("encryption", error),
        };
    }
    if login.is_some() {
        return Err(MailError::Plain);
    }
    converse(client, None, request).await
}

/// Sends the message over a connection, after the login.
async fn converse<T: AsyncRead + AsyncWrite + Unpin>(
    mut client: SmtpClient<T>,
    login: Option<Credentials<String>>,
    request: &Request,
) -> Result<Answer, MailError> {
    let offered = match client.ehlo(OWN_NAME).await {
        Ok(offered) => offered,
        Err(error) => return answer("a greeting", error),
    };
    if let Some(login) = login
        && let Err(error) = client
            .authenticate(Box::new(login), Box::new(offered))
            .await
    {
        return answer("the login", error);
    }
    let none = Parameters::new();
    for (name, address) in &request.headers {
        let (step, told) = match &**name {
            "from" => ("the sender", client.mail_from(address, &none).await),
            "to" => ("a recipient", client.rcpt_to(address, &none).await),
            _ => continue,
        };
        if let Err(error) = told {
            return answer(step, error);
        }
    }
    match client.data(&request.body).await {
        Ok(reply) => {
            let _ = tokio::time::timeout(GOODBYE, client.quit()).await;
            Ok(Answer {
                status: reply.code(),
                ..Answer::default()
            })
        }
        Err(error) => answer("the message", error),
    }
}

/// The user and the password of the request.
fn login(request: &Request) -> Option<Credentials<String>> {
    let mut headers = request.headers.iter();
    let (_, value) = headers.find(|(name, _)| name == "authorization")?;
    let login = BASE64_STANDARD.decode(value.strip_prefix("Basic ")?).ok()?;
    let login = String::from_utf8(login).ok()?;
    let (user, password) = login.split_once(':')?;
    Some(Credentials::new(user.to_owned(), password.to_owned()))
}

/// What an error of the client means. `step` is what was under way, for the text about a refusal.
fn answer(step: &str, error: Error) -> Result<Answer, MailError> {
    match error {
        Error::UnexpectedReply(reply) | Error::AuthenticationFailed(reply) => Ok(Answer {
            status: reply.code(),
            body: step.to_owned(),
            ..Answer::default()
        }),
        Error::Io(error) => Err(MailError::Connection(error)),
        Error::Timeout => Err(MailError::Connection(std::io::ErrorKind::TimedOut.into())),
        Error::Tls(error) => Err(MailError::Tls(error)),
        Error::UnsupportedAuthMechanism => Err(MailError::NoLogin),
        Error::Base64(_)
        | Error::Auth(_)
        | Error::UnparseableReply
        | Error::InvalidTLSName
        | Error::MissingCredentials
        | Error::MissingMailFrom
        | Error::MissingRcptTo
        | Error::MissingStartTls => Err(MailError::Protocol),
    }
}
