//! Where messages go: the address and the credentials, from a Provider and its Secret.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::app::App;
use super::mailbox::Mailing;
use super::secret::{DestinationError, text, text_of_lines};
use crate::intent::{ProviderIntent, Service};
use crate::text::{Secrets, port_problem};

/// What is wrong with a value that must be ASCII.
const NOT_ASCII: &str = "it holds a character that is not ASCII";

/// The most headers of a Secret.
const MOST_HEADERS: usize = 32;

/// An absolute HTTP URL, or that of a mail server, without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Address(http::Uri);

impl Address {
    fn parse(text: &str, service: Service) -> Result<Self, &'static str> {
        let url: http::Uri = text.parse().map_err(|_| "it is not a URL")?;
        match (url.scheme_str(), service) {
            (Some("smtp" | "smtps"), Service::Email) => {
                if !url.path().trim_matches('/').is_empty() || url.query().is_some() {
                    return Err("it has a path: a mail server has a host and a port only");
                }
            }
            (_, Service::Email) => return Err("it does not begin with smtps:// or smtp://"),
            (Some("http" | "https"), _) => (),
            _ => return Err("it does not begin with https:// or http://"),
        }
        let host = url.host().unwrap_or_default();
        let authority = url.authority().map(http::uri::Authority::as_str);
        if host.is_empty() || authority.is_none() {
            return Err("it has no host");
        }
        if authority.is_some_and(|authority| authority.contains('@')) {
            return Err(
                "it has a user or a password: use the keys username and password of the Secret",
            );
        }
        if let Some(problem) = authority.and_then(port_problem) {
            return Err(problem);
        }
        Ok(Self(url))
    }

    /// Scheme, host and port: what may be shown. The path of a webhook is its password.
    pub fn origin(&self) -> String {
        let scheme = self.0.scheme_str().unwrap_or_default();
        let authority = self.0.authority().map(http::uri::Authority::as_str);
        format!("{scheme}://{}", authority.unwrap_or_default())
    }

    /// The URL that certificates and a proxy are read for. Its path has no meaning for them, and neither has the protocol
    /// above TLS.
    pub fn tls_url(&self) -> String {
        match (self.0.scheme_str(), self.0.authority()) {
            (Some("smtp" | "smtps"), Some(server)) => format!("https://{server}/-"),
            _ => format!("{}/-", self.origin()),
        }
    }

    /// The host, in lower case and without a port.
    pub(super) fn host(&self) -> String {
        self.0.host().unwrap_or_default().to_ascii_lowercase()
    }

    /// The path without a slash at its ends.
    pub(super) fn path(&self) -> &str {
        self.0.path().trim_matches('/')
    }

    /// The whole URL.
    pub(super) fn url(&self) -> String {
        self.0.to_string()
    }

    /// The URL with `path` at its end. It may be there already.
    pub(super) fn with_path(&self, path: &str) -> String {
        match self.0.path().trim_end_matches('/').ends_with(path) {
            true => self.url(),
            false => self.below(path),
        }
    }

    /// The URL of `path` below the address.
    pub(super) fn below(&self, path: &str) -> String {
        let base = self.0.path().trim_end_matches('/');
        format!("{}{base}{path}", self.origin())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin())
    }
}

/// Where messages go.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    /// The service.
    pub service: Service,
    /// The address.
    pub address: Address,
    /// The channel, chat or room.
    pub channel: Option<String>,
    /// The name under which messages appear.
    pub username: Option<String>,
    /// The sender and the recipients of e-mails.
    pub(super) mailing: Option<Mailing>,
    /// The hosts of the repositories whose commits have their statuses here, beside that of the address.
    pub hosts: Vec<String>,
    /// More headers, which may be secret.
    pub headers: Vec<(String, String)>,
    /// A token, a key, or a user and a password.
    login: Login,
}

#[derive(Clone, PartialEq, Eq)]
enum Login {
    None,
    Token(String),
    Basic(String, String),
    App(App),
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:?}", self.service, self.address)
    }
}

impl Destination {
    /// Where a Provider's messages go. `secret` is the content of its Secret, if it names one.
    ///
    /// # Errors
    ///
    /// [`DestinationError`]. Its text holds no value.
    pub fn new(
        intent: &ProviderIntent,
        secret: Option<&BTreeMap<String, Vec<u8>>>,
    ) -> Result<Self, DestinationError> {
        let service = intent.service;
        let text = |key: &'static str| text(secret, key);
        let (place, address) = match (text("address")?, &intent.address) {
            (Some(address), _) => ("address in the Secret", address),
            (None, Some(address)) => ("spec.address", address.clone()),
            (None, None) => {
                // Where Flux has the address of an App's server.
                let of_app = match service {
                    Service::GitHub => text("githubAppBaseURL")?,
                    _ => None,
                };
                let default = || default_address(service).map(str::to_owned);
                let address = of_app.or_else(default);
                ("the address", address.ok_or(DestinationError::NoAddress)?)
            }
        };
        let address = Address::parse(&address, service)
            .map_err(|problem| DestinationError::Address { place, problem })?;
        let login = match (text("token")?, text("username")?, text("password")?) {
            (Some(token), _, _) => Login::Token(token),
            (None, Some(user), Some(password)) => Login::Basic(user, password),
            (None, Some(_), None) => return Err(DestinationError::Absent("password")),
            (None, None, Some(_)) => return Err(DestinationError::Absent("username")),
            (None, None, None) => App::read(service, secret)?.map_or(Login::None, Login::App),
        };
        // Headers and URLs are ASCII, and so are the keys of all services. The key of a signature may be any text.
        if let Login::Token(token) = &login
            && !token.is_ascii()
            && service != Service::GenericHmac
        {
            return Err(DestinationError::Malformed("token", NOT_ASCII));
        }
        let mailing = match (service, &login) {
            // It would be left out without a word.
            (Service::Email, Login::Token(_)) => {
                let problem = "a mail server takes username and password";
                return Err(DestinationError::Malformed("token", problem));
            }
            // A colon separates user and password in a request.
            (Service::Email, Login::Basic(user, _)) if user.contains(':') => {
                let problem = "it holds a colon";
                return Err(DestinationError::Malformed("username", problem));
            }
            (Service::Email, _) => Some(Mailing::read(intent)?),
            _ => None,
        };
        let mut channel = intent.channel.clone();
        let is_bot = is_slack_bot(service, &address);
        if is_bot && channel.is_none() {
            let problem = "it is missing, and chat.postMessage needs a channel";
            return Err(DestinationError::Field("spec.channel", problem));
        }
        let login = match (is_bot || needs_token(service), login) {
            // As in Flux, the key may be in spec.channel.
            (true, Login::None) if service == Service::PagerDuty && channel.is_some() => {
                channel.take().map_or(Login::None, Login::Token)
            }
            (true, login @ Login::App(_)) => login,
            (true, login @ Login::Basic(..)) if takes_password(service) => login,
            (true, login) if !matches!(login, Login::Token(_)) => {
                return Err(match secret {
                    Some(_) => DestinationError::Absent("token"),
                    None => DestinationError::NoSecret(name(service), "token"),
                });
            }
            (_, login) => login,
        };
        Ok(Self {
            service,
            address,
            channel,
            username: intent.username.clone(),
            mailing,
            hosts: intent.hosts.clone(),
            headers: headers(text_of_lines(secret, "headers")?)?,
            login,
        })
    }

    /// The token. Empty if there is none.
    pub(super) fn token(&self) -> &str {
        match &self.login {
            Login::Token(token) => token,
            Login::None | Login::Basic(..) | Login::App(_) => "",
        }
    }

    /// The App that gets a token of its own.
    pub fn app(&self) -> Option<&App> {
        match &self.login {
            Login::App(app) => Some(app),
            Login::None | Login::Token(_) | Login::Basic(..) => None,
        }
    }

    /// The header with the credentials, where the service takes them so.
    pub(super) fn authorization(&self) -> Option<(String, String)> {
        let value = match (self.service, &self.login) {
            // Their token is a part of the body, of the URL, or the key of a signature.
            (Service::Telegram | Service::PagerDuty | Service::GenericHmac, _)
            | (_, Login::None | Login::App(_)) => return None,
            // GitLab has a header of its own.
            (Service::GitLab, Login::Token(_)) => return None,
            (Service::Gitea, Login::Token(token)) => format!("token {token}"),
            // As in Flux: a token of Azure DevOps is the password of nobody, and one of Bitbucket may have its user.
            (Service::AzureDevOps, Login::Token(token)) if !token.contains(':') => basic("", token),
            (Service::AzureDevOps | Service::Bitbucket, Login::Token(token))
                if token.contains(':') =>
            {
                format!("Basic {}", BASE64_STANDARD.encode(token))
            }
            (Service::Opsgenie, Login::Token(token)) => format!("GenieKey {token}"),
            (_, Login::Token(token)) => format!("Bearer {token}"),
            (_, Login::Basic(user, password)) => basic(user, password),
        };
        Some(("authorization".to_owned(), value))
    }

    /// Removes everything that may be secret from a text.
    pub fn hide(&self, text: &str) -> String {
        let secrets = Secrets::default();
        let uri = &self.address.0;
        let path = uri.path_and_query().map(ToString::to_string);
        let parts = uri.path().split('/').map(str::to_owned);
        // A short part of a path, such as `api`, is an ordinary word.
        let parts = parts.filter(|part| part.len() >= 12);
        let login = match &self.login {
            Login::None | Login::App(_) => Vec::new(),
            Login::Token(token) => vec![token.clone()],
            Login::Basic(user, password) => vec![user.clone(), password.clone()],
        };
        for (_, value) in &self.headers {
            secrets.add_header(value);
        }
        let path = path.filter(|path| path.len() >= 12);
        for value in login.into_iter().chain(path).chain(parts) {
            secrets.add(&value);
        }
        crate::text::redact(&secrets.hide(text))
    }
}

fn basic(user: &str, password: &str) -> String {
    let login = BASE64_STANDARD.encode(format!("{user}:{password}"));
    format!("Basic {login}")
}

/// The name of a service in the spec.
fn name(service: Service) -> &'static str {
    match service {
        Service::Generic => "generic",
        Service::GenericHmac => "generic-hmac",
        Service::CloudEvents => "cloudevents",
        Service::Slack => "slack",
        Service::Mattermost => "mattermost",
        Service::Rocket => "rocket",
        Service::Teams => "msteams",
        Service::Discord => "discord",
        Service::GoogleChat => "googlechat",
        Service::Telegram => "telegram",
        Service::Alertmanager => "alertmanager",
        Service::PagerDuty => "pagerduty",
        Service::Opsgenie => "opsgenie",
        Service::Grafana => "grafana",
        Service::Email => "email",
        Service::GitHub => "github",
        Service::GitLab => "gitlab",
        Service::Gitea => "gitea",
        Service::Bitbucket => "bitbucket",
        Service::BitbucketServer => "bitbucketserver",
        Service::AzureDevOps => "azuredevops",
    }
}

/// The address of a service that has only one.
fn default_address(service: Service) -> Option<&'static str> {
    match service {
        Service::Telegram => Some("https://api.telegram.org"),
        Service::PagerDuty => Some("https://events.pagerduty.com/v2/enqueue"),
        Service::Opsgenie => Some("https://api.opsgenie.com"),
        Service::GitHub => Some("https://github.com"),
        Service::GitLab => Some("https://gitlab.com"),
        Service::Bitbucket => Some("https://bitbucket.org"),
        Service::AzureDevOps => Some("https://dev.azure.com"),
        _ => None,
    }
}

fn needs_token(service: Service) -> bool {
    matches!(
        service,
        Service::GenericHmac | Service::Telegram | Service::PagerDuty | Service::Opsgenie
    ) || service.keeps_statuses()
}

/// Whether the address is that of Slack's API, which a bot calls. An incoming webhook has its channel and its password in
/// its address.
fn is_slack_bot(service: Service, address: &Address) -> bool {
    service == Service::Slack && address.path().ends_with("chat.postMessage")
}

/// Whether a user and a password may stand in the place of a token.
fn takes_password(service: Service) -> bool {
    matches!(
        service,
        Service::Gitea | Service::Bitbucket | Service::BitbucketServer | Service::AzureDevOps
    )
}

/// Headers that a Secret may not set: the client sets them.
const RESERVED: [&str; 6] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "te",
    "transfer-encoding",
];

/// Reads lines of the form `Name: value`.
fn headers(lines: Option<String>) -> Result<Vec<(String, String)>, DestinationError> {
    let wrong = |problem| DestinationError::Malformed("headers", problem);
    let lines = lines.unwrap_or_default();
    let lines = lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut headers = Vec::new();
    for line in lines {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| wrong("a line is not of the form Name: value"))?;
        let value = value.trim().trim_matches(['"', '\'']);
        let name = name.trim().trim_matches(['"', '\'']).to_lowercase();
        let is_valid = http::HeaderName::try_from(&*name).is_ok()
            && http::HeaderValue::try_from(value).is_ok();
        if !value.is_ascii() {
            return Err(wrong(NOT_ASCII));
        }
        if !is_valid || RESERVED.contains(&&*name) {
            return Err(wrong(
                "a line has a name or a value that a header cannot have",
            ));
        }
        headers.push((name, value.to_owned()));
    }
    match headers.len() > MOST_HEADERS {
        true => Err(wrong("there are more than 32")),
        false => Ok(headers),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    pub(in crate::message) fn intent(service: Service, address: Option<&str>) -> ProviderIntent {
        ProviderIntent {
            generation: None,
            service,
            address: address.map(str::to_owned),
            channel: None,
            username: None,
            secret: None,
            certificates: None,
            hosts: Vec::new(),
            proxy: None,
            timeout: Duration::from_secs(1),
            suspend: false,
        }
    }

    pub(in crate::message) fn secret(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        let pairs = pairs.iter();
        pairs
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect()
    }

    #[test]
    fn a_bot_of_slack_needs_a_channel_and_a_token() {
        let address = Some("https://slack.com/api/chat.postMessage");
        let to = |channel: Option<&str>, token: &[(&str, &str)]| {
            let intent = ProviderIntent {
                channel: channel.map(str::to_owned),
                ..intent(Service::Slack, address)
            };
            let made = Destination::new(&intent, Some(&secret(token)));
            made.map(drop).map_err(|error| error.to_string())
        };
        let token = [("token", "xoxb-1")];
        assert_eq!(to(Some("ops"), &token), Ok(()));
        assert!(to(None, &token).unwrap_err().contains("spec.channel"));
        assert!(to(Some("ops"), &[]).unwrap_err().contains("no token"));
        // An incoming webhook has both in its address.
        let hook = intent(
            Service::Slack,
            Some("https://hooks.slack.com/services/T/B/x"),
        );
        assert!(Destination::new(&hook, None).is_ok());
    }

    #[test]
    fn a_secret_that_cannot_be_used_says_which_key_and_no_value() {
        let url = Some("https://host/hook");
        for (service, address, pairs, said) in [
            (Service::Slack, None, vec![], "there is no address"),
            (
                Service::Slack,
                None,
                vec![("address", "")],
                "address in the Secret",
            ),
            (
                Service::Slack,
                None,
                vec![("address", "ftp://s3cret")],
                "https://",
            ),
            (
                Service::Slack,
                None,
                vec![("address", "https://u:s3cret@h/x")],
                "a password",
            ),
            (
                Service::Slack,
                None,
                vec![("address", "s3cret")],
                "https://",
            ),
            (
                Service::Generic,
                Some("http://127.0.0.1:99999/hook"),
                vec![("token", "s3cret")],
                "port is no number from 1 to 65535",
            ),
            (
                Service::Email,
                Some("smtp://[::1]:0"),
                vec![],
                "port is no number from 1 to 65535",
            ),
            (
                Service::Slack,
                url,
                vec![("token", "s3\ncret")],
                "line break",
            ),
            (
                Service::Generic,
                url,
                vec![("token", "s3cret\u{e9}")],
                "token in the Secret cannot be used: it holds a character that is not ASCII",
            ),
            (
                Service::Telegram,
                url,
                vec![("token", "s3cret\u{2013}")],
                "not ASCII",
            ),
            (
                Service::Generic,
                url,
                vec![("headers", "X-Key: s3cret\u{e9}")],
                "not ASCII",
            ),
            (
                Service::Generic,
                url,
                vec![("username", "s3cret")],
                "no password",
            ),
            (
                Service::Generic,
                url,
                vec![("password", "s3cret")],
                "no username",
            ),
            (
                Service::GenericHmac,
                url,
                vec![("tokn", "s3cret")],
                "no token",
            ),
            (
                Service::Generic,
                url,
                vec![("headers", "s3cret")],
                "headers",
            ),
            (
                Service::Generic,
                url,
                vec![("headers", "Host: s3cret")],
                "headers",
            ),
            (
                Service::Generic,
                url,
                vec![("headers", "a b: s3cret")],
                "headers",
            ),
            (
                Service::Email,
                Some("smtp://host"),
                vec![("token", "s3cret")],
                "username and password",
            ),
        ] {
            let found = Destination::new(&intent(service, address), Some(&secret(&pairs)));
            let error = found.unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains("s3cret"), "{error}");
        }
        let none = Destination::new(&intent(Service::Telegram, None), None).unwrap_err();
        assert!(none.to_string().contains("spec.secretRef"), "{none}");
    }

    #[test]
    fn the_secret_stands_before_the_spec_and_nothing_of_it_is_shown() {
        let pairs = [
            (
                "address",
                "https://hooks.slack.com/services/T00/B00/XXXXXXXXXXXXXXXX\n",
            ),
            ("token", "xoxb-1"),
            ("headers", "X-Team: a\n# more\n\nX-Key: 'k1234'\n"),
        ];
        let intent = intent(Service::Slack, Some("https://other/"));
        let to = Destination::new(&intent, Some(&secret(&pairs))).unwrap();
        assert_eq!(format!("{to:?}"), "Slack at https://hooks.slack.com");
        assert_eq!(
            to.headers,
            [("x-team", "a"), ("x-key", "k1234")].map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        let said = "no route to https://hooks.slack.com/services/T00/B00/XXXXXXXXXXXXXXXX for xoxb-1 and k1234";
        let shown = to.hide(said);
        for hidden in ["XXXX", "xoxb", "k1234"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
}
