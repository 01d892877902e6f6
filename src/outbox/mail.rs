//! Sends e-mails over SMTP (RFC 5321): encrypted from the beginning (`smtps`), or by STARTTLS where the server has it.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mail_send::smtp::AssertReply as _;
use mail_send::smtp::message::Parameters;
use mail_send::{Credentials, Error, SmtpClient};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::message::{Answer, Request};
use crate::source::{Route, tls_connector};

/// What a client calls itself that has no name in public (RFC 5321, section 4.1.3).
const OWN_NAME: &str = "[127.0.0.1]";

/// How much is read from a server in one conversation, in bytes. A client of SMTP waits for the last line of an answer,
/// which need not come.
const LONGEST_TALK: u64 = 256 << 10;

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
    let is_encrypted = url.scheme_str() == Some("smtps");
    let port = url
        .port_u16()
        .unwrap_or(if is_encrypted { 465 } else { 587 });
    // An address of IPv6 has brackets in a URL only.
    let name = host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((name, port)).await;
    let stream = stream.map_err(MailError::Connection)?;
    // Otherwise Linux holds back what follows the end of a handshake for 40 ms.
    stream.set_nodelay(true).map_err(MailError::Connection)?;
    let (read, write) = stream.into_split();
    let stream = tokio::io::join(read.take(LONGEST_TALK), write);
    let login = login(request);
    if is_encrypted {
        let stream = encrypted(route, name, stream).await?;
        let mut client = SmtpClient { stream, timeout };
        return match greeting(&mut client).await {
            Ok(()) => converse(client, login, request).await,
            Err(error) => answer("a connection", error),
        };
    }
    let mut client = SmtpClient { stream, timeout };
    if let Err(error) = greeting(&mut client).await {
        return answer("a connection", error);
    }
    let offered = match client.ehlo(OWN_NAME).await {
        Ok(offered) => offered,
        Err(error) => return answer("a greeting", error),
    };
    if offered.has_capability(smtp_proto::EXT_START_TLS) {
        let begun = client.cmd(b"STARTTLS\r\n").await;
        if let Err(error) = begun.and_then(|reply| reply.assert_positive_completion()) {
            return answer("encryption", error);
        }
        let stream = encrypted(route, name, client.stream).await?;
        return converse(SmtpClient { stream, timeout }, login, request).await;
    }
    if login.is_some() {
        return Err(MailError::Plain);
    }
    converse(client, None, request).await
}

/// Begins encryption. The certificate must be of `name`, or of this IP address.
async fn encrypted<T: AsyncRead + AsyncWrite + Unpin>(
    route: &Route,
    name: &str,
    stream: T,
) -> Result<TlsStream<T>, MailError> {
    let name = ServerName::try_from(name).map_err(|_| MailError::Address)?;
    // It reads the platform's authorities from the disk. It is not kept, since it holds all of them.
    let route = route.clone();
    let tls = tokio::task::spawn_blocking(move || tls_connector(&route)).await;
    let tls: TlsConnector = tls.ok().flatten().ok_or(MailError::Certificate)?;
    let begun = tls.connect(name.to_owned(), stream).await;
    begun.map_err(|error| match error.downcast::<rustls::Error>() {
        Ok(error) => MailError::Tls(Box::new(error)),
        Err(error) => MailError::Connection(error),
    })
}

/// Reads what a server says first.
async fn greeting<T: AsyncRead + AsyncWrite + Unpin>(
    client: &mut SmtpClient<T>,
) -> Result<(), Error> {
    client.read().await?.assert_positive_completion()
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
        let (field, told) = match &**name {
            "from" => ("spec.username", client.mail_from(address, &none).await),
            "to" => ("spec.channel", client.rcpt_to(address, &none).await),
            _ => continue,
        };
        if let Err(error) = told {
            return answer(&format!("{address} of {field}"), error);
        }
    }
    match client.data(&request.body).await {
        Ok(reply) => {
            // The message has arrived, whatever the server says to this.
            let _ = client.stream.write_all(b"QUIT\r\n").await;
            let _ = client.stream.shutdown().await;
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
        // The server's code means success, but of another command than the one that was sent. So the message has not arrived.
        Error::UnexpectedReply(reply) | Error::AuthenticationFailed(reply)
            if reply.is_positive_completion() =>
        {
            Err(MailError::Protocol)
        }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
    use tokio::net::TcpListener;

    use super::*;
    use crate::source;

    const TIMEOUT: Duration = Duration::from_secs(10);

    fn request(url: String) -> Request {
        Request {
            method: http::Method::POST,
            url,
            headers: ["from", "to"]
                .map(|name| (name.into(), "a@b".into()))
                .into(),
            body: b"Subject: x\r\n\r\nx\r\n".to_vec(),
        }
    }

    /// Sends to a server at this address that says `first`, and `after` for ever. None if it does not end by itself.
    async fn sent_to(
        address: &str,
        scheme: &str,
        (first, after): (&'static str, &'static str),
    ) -> Option<Result<Answer, MailError>> {
        let listener = TcpListener::bind((address.trim_matches(['[', ']']), 0))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(first.as_bytes()).await.unwrap();
            while !after.is_empty() && stream.write_all(after.as_bytes()).await.is_ok() {}
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
        let request = request(format!("{scheme}://{address}:{port}"));
        let route = Route::new(&source::Credentials::default(), None);
        let sent = send(&route, &request, TIMEOUT);
        let sent = tokio::time::timeout(TIMEOUT, sent).await.ok();
        server.abort();
        sent
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_not_read_for_ever() {
        let sent = sent_to("127.0.0.1", "smtp", ("220-hello\r\n", "220-\r\n")).await;
        assert!(matches!(sent, Some(Err(MailError::Protocol))), "{sent:?}");
    }

    #[tokio::test]
    async fn encryption_begins_with_a_server_that_has_an_address_of_ipv6() {
        let sent = sent_to("[::1]", "smtps", ("220 this is not TLS\r\n", "")).await;
        assert!(matches!(sent, Some(Err(MailError::Tls(_)))), "{sent:?}");
    }

    /// Talks to a server that gives these answers, one for each line.
    async fn told(
        login: Option<Credentials<String>>,
        answers: &[&str],
    ) -> Result<Answer, MailError> {
        let (mine, theirs) = tokio::io::duplex(1 << 16);
        let client = SmtpClient {
            stream: mine,
            timeout: TIMEOUT,
        };
        let (read, mut write) = tokio::io::split(theirs);
        let request = request(String::new());
        let server = async {
            let mut lines = BufReader::new(read).lines();
            for answer in answers {
                lines.next_line().await.unwrap();
                write.write_all(answer.as_bytes()).await.unwrap();
            }
            while lines.next_line().await.is_ok_and(|line| line.is_some()) {}
        };
        tokio::join!(converse(client, login, &request), server).0
    }

    #[tokio::test]
    async fn a_yes_to_another_question_is_no_delivery() {
        let offer = "250-x\r\n250 AUTH PLAIN\r\n";
        let (yes, go) = ("250 ok\r\n", "354 go\r\n");
        let login = || Some(Credentials::new("a".to_owned(), "b".to_owned()));
        let code = |told: Result<Answer, MailError>| told.map(|answer| answer.status).ok();
        assert_eq!(code(told(None, &[offer, yes, yes, yes]).await), None);
        assert_eq!(code(told(login(), &[offer, yes]).await), None);
        let refused = told(login(), &[offer, "535 no\r\n"]).await;
        assert_eq!(code(refused), Some(535));
        let twice = [offer, yes, yes, go, go];
        assert_eq!(code(told(None, &twice).await), Some(354));
    }
}
