//! `towline create secret`: Secrets with the keys that towline reads, checked before they are written.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::json;

use super::access::{Access, CLI_MANAGER, Doing};
use super::terminal::Terminal;
use super::{CliError, Exit};
use crate::config::{
    GitSecretArgs, HookSecretArgs, NewSecretArgs, ProviderSecretArgs, RegistrySecretArgs,
    SecretCommand, SignersSecretArgs,
};
use crate::message::{DestinationError, check_app};
use crate::source::{Credentials, CredentialsError};
use crate::url::RemoteUrl;
use crate::verify::{Signers, SignersError};

/// The bytes of a random token. 32 are as long as the digest that is made with it.
const TOKEN_BYTES: usize = 32;

/// The largest file of a Secret; the API server takes 1 MiB in all.
const MAX_BYTES: u64 = 1 << 20;

/// Why a Secret is not created. No text holds a value.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    #[error("reading {0}")]
    Read(String, #[source] io::Error),
    #[error("{0} is empty")]
    Empty(String),
    #[error("{0} is larger than a Secret may be")]
    TooLarge(String),
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    #[error(transparent)]
    Signers(#[from] SignersError),
    #[error("give at least one of {0}")]
    Nothing(&'static str),
    #[error("--username and --password-file belong together")]
    Half,
    #[error("the password is not a text")]
    NoText,
    #[error("{0} holds nothing but line breaks")]
    Blank(&'static str),
    #[error(
        "{0} has several lines, or characters that are not printable ASCII: no service takes it"
    )]
    Odd(&'static str),
    #[error("{0} is empty")]
    NoValue(&'static str),
    #[error(
        "--url has a user or a password in it, which spec.url may not have: give --username and --password-file"
    )]
    UserInUrl,
    #[error(
        "--known-hosts-file has no key for the host and port of --url: add the output of ssh-keyscan, once you have made sure that \
         it is right"
    )]
    UnknownHost,
    #[error("--app-private-key-file")]
    App(#[from] DestinationError),
    #[error("--address-file: it is no URL that begins with https://, http://, smtps:// or smtp://")]
    Address,
    #[error("this system gives no random numbers")]
    Random,
}

type Data = BTreeMap<String, Vec<u8>>;

/// The type and the key of a Secret for a registry, as Kubernetes has them.
const REGISTRY_TYPE: &str = "kubernetes.io/dockerconfigjson";
const REGISTRY_KEY: &str = ".dockerconfigjson";

/// Creates a Secret.
pub(super) async fn secret(command: &SecretCommand) -> Result<Exit, CliError> {
    let (args, data, note) = match command {
        SecretCommand::Git(args) => (&args.secret, git(args)?, None),
        SecretCommand::Signers(args) => (&args.secret, signers(args)?, None),
        SecretCommand::Hook(args) => {
            let (data, is_random) = hook(args)?;
            (&args.secret, data, is_random.then_some("token"))
        }
        SecretCommand::Provider(args) => (&args.secret, provider(args)?, None),
        SecretCommand::Registry(args) => (&args.secret, registry(args)?, None),
    };
    write(args, data, note).await
}

fn git(args: &GitSecretArgs) -> Result<Data, SecretError> {
    let mut data = Data::new();
    for (key, file) in [
        ("password", &args.password_file),
        ("bearerToken", &args.bearer_token_file),
        ("ca.crt", &args.ca_file),
        ("identity", &args.identity_file),
        ("known_hosts", &args.known_hosts_file),
    ] {
        if let Some(file) = file {
            data.insert(key.to_owned(), read(file)?);
        }
    }
    if let Some(username) = &args.username {
        data.insert("username".to_owned(), username.clone().into_bytes());
    }
    for key in ["password", "bearerToken"] {
        data.entry(key.to_owned()).and_modify(trim);
    }
    is_accepted(&args.url)?;
    let credentials = Credentials::from_secret(&args.url, &data)?;
    match credentials.knows_host_of(&args.url) {
        true => Ok(data),
        false => Err(SecretError::UnknownHost),
    }
}

/// Refuses a URL that the API server would refuse as `spec.url`: with a user for HTTP. One with a password for SSH is none.
fn is_accepted(url: &str) -> Result<(), SecretError> {
    match RemoteUrl::parse(url) {
        Some(RemoteUrl::Http(server)) if server.without_user().as_ref() != Some(&server) => {
            Err(SecretError::UserInUrl)
        }
        _ => Ok(()),
    }
}

fn signers(args: &SignersSecretArgs) -> Result<Data, SecretError> {
    let mut data = Data::new();
    if let Some(file) = &args.allowed_signers_file {
        data.insert("allowed_signers".to_owned(), read(file)?);
    }
    for (index, file) in args.openpgp_file.iter().enumerate() {
        data.insert(format!("key{index}.asc"), read(file)?);
    }
    Signers::from_secret(&args.secret.name, &data)?;
    Ok(data)
}

/// The data, and whether its token is a new one.
fn hook(args: &HookSecretArgs) -> Result<(Data, bool), SecretError> {
    let token = match &args.token_file {
        Some(file) => {
            let mut token = read(file)?;
            trim(&mut token);
            is_one_line("--token-file", &token)?;
            token
        }
        None => {
            let mut bytes = [0; TOKEN_BYTES];
            getrandom::fill(&mut bytes).map_err(|_| SecretError::Random)?;
            hex::encode(bytes).into_bytes()
        }
    };
    let data = Data::from([("token".to_owned(), token)]);
    Ok((data, args.token_file.is_none()))
}

fn provider(args: &ProviderSecretArgs) -> Result<Data, SecretError> {
    let mut data = Data::new();
    for (key, file) in [
        ("address", &args.address_file),
        ("token", &args.token_file),
        ("password", &args.password_file),
        ("githubAppPrivateKey", &args.app_private_key_file),
    ] {
        if let Some(file) = file {
            let mut value = read(file)?;
            trim(&mut value);
            match key {
                "address" => is_address(&value)?,
                "token" => is_one_line("--token-file", &value)?,
                "password" => is_one_line("--password-file", &value)?,
                _ => (),
            }
            data.insert(key.to_owned(), value);
        }
    }
    for (key, value) in [
        ("username", &args.username),
        ("githubAppID", &args.app_id),
        ("githubAppInstallationID", &args.app_installation_id),
    ] {
        if let Some(value) = value {
            data.insert(key.to_owned(), value.clone().into_bytes());
        }
    }
    check_app(&data)?;
    if data.contains_key("username") != data.contains_key("password") {
        return Err(SecretError::Half);
    }
    match data.is_empty() {
        true => Err(SecretError::Nothing(
            "--address-file, --token-file, --username and --app-id",
        )),
        false => Ok(data),
    }
}

/// What a kubelet reads to pull images, as `kubectl create secret docker-registry` writes it.
fn registry(args: &RegistrySecretArgs) -> Result<Data, SecretError> {
    for (argument, value) in [("--server", &args.server), ("--username", &args.username)] {
        if value.trim().is_empty() {
            return Err(SecretError::NoValue(argument));
        }
    }
    let mut password = read(&args.password_file)?;
    trim(&mut password);
    if password.is_empty() {
        return Err(SecretError::Blank("--password-file"));
    }
    let password = String::from_utf8(password).map_err(|_| SecretError::NoText)?;
    let username = &args.username;
    let auth = BASE64_STANDARD.encode(format!("{username}:{password}"));
    let login = json!({"username": username, "password": password, "auth": auth});
    let file = json!({"auths": {&*args.server: login}});
    Ok(Data::from([(
        REGISTRY_KEY.to_owned(),
        file.to_string().into_bytes(),
    )]))
}

/// The content of a file; `-` is standard input.
fn read(file: &Path) -> Result<Vec<u8>, SecretError> {
    let name = file.display().to_string();
    let mut bytes = Vec::new();
    let read = match &*name {
        "-" => io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes),
        _ => fs::File::open(file).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)),
    };
    match read {
        Err(error) => Err(SecretError::Read(name, error)),
        Ok(0) => Err(SecretError::Empty(name)),
        Ok(count) if count as u64 > MAX_BYTES => Err(SecretError::TooLarge(name)),
        Ok(_) => Ok(bytes),
    }
}

/// Removes the line break that editors and `echo` add: it would be part of a password.
fn trim(value: &mut Vec<u8>) {
    let end = value.iter().rposition(|byte| !b"\r\n".contains(byte));
    value.truncate(end.map_or(0, |end| end + 1));
}

/// Whether a value may be the address of a service. The operator says more, since it knows the service.
fn is_address(value: &[u8]) -> Result<(), SecretError> {
    let url = http::Uri::try_from(value).ok();
    let is_one = url.is_some_and(|url| {
        let scheme = url.scheme_str().unwrap_or_default();
        matches!(scheme, "https" | "http" | "smtps" | "smtp")
    });
    is_one.then_some(()).ok_or(SecretError::Address)
}

/// Whether a value can stand in a header of HTTP.
fn is_one_line(argument: &'static str, value: &[u8]) -> Result<(), SecretError> {
    match value {
        [] => Err(SecretError::Blank(argument)),
        _ if value.iter().all(|byte| (b' '..=b'~').contains(byte)) => Ok(()),
        _ => Err(SecretError::Odd(argument)),
    }
}

async fn write(
    args: &NewSecretArgs,
    data: Data,
    note: Option<&'static str>,
) -> Result<Exit, CliError> {
    let access = Access::open(&args.cluster).await?;
    let (name, namespace) = (&args.name, &access.namespace);
    let is_for_registry = data.contains_key(REGISTRY_KEY);
    let data = data
        .into_iter()
        .map(|(key, value)| (key, ByteString(value)));
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        },
        data: Some(data.collect()),
        type_: is_for_registry.then(|| REGISTRY_TYPE.to_owned()),
        ..Secret::default()
    };
    let params = PostParams {
        field_manager: Some(CLI_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let api = access.api::<Secret>();
    let doing = Doing::new::<Secret>("create", Some(namespace)).of(name);
    let is_there =
        |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 409);
    let mut done = "created";
    match api.create(&params, &secret).await {
        Err(error) if is_there(&error) && args.replace => {
            let doing = Doing::new::<Secret>("patch", Some(namespace)).of(name);
            // Labels and annotations stay.
            let data = json!([{"op": "add", "path": "/data", "value": secret.data}]);
            let data = serde_json::from_value(data).map_err(kube::Error::SerdeError);
            let replaced = match data {
                Ok(data) => {
                    let params = PatchParams::apply(CLI_MANAGER);
                    api.patch(name, &params, &Patch::Json::<()>(data)).await
                }
                Err(error) => Err(error),
            };
            replaced.map_err(|error| access.explain(error, &doing))?;
            done = "replaced";
        }
        Err(error) if is_there(&error) => {
            Terminal::say(&format!(
                "Secret {namespace}/{name} exists: give --replace to replace it\n"
            ))?;
            return Ok(Exit::Differs);
        }
        created => drop(created.map_err(|error| access.explain(error, &doing))?),
    }
    let mut text = format!("Secret {namespace}/{name} {done}\n");
    if let Some(key) = note {
        text.push_str(&format!(
            "give its {key} to the Git server: kubectl get secret {name} -n {namespace} \
             -o jsonpath='{{.data.{key}}}' | base64 -d\n"
        ));
    }
    Terminal::say(&text)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_break_is_no_part_of_a_password() {
        for (text, value) in [("a b\r\n", "a b"), ("a\n\n", "a"), ("a", "a"), ("\n", "")] {
            let mut bytes = text.as_bytes().to_vec();
            trim(&mut bytes);
            assert_eq!(bytes, value.as_bytes());
        }
    }

    #[test]
    fn a_url_has_no_user_for_http() {
        for (url, is_taken) in [
            ("https://git.example/shop.git", true),
            ("https://ci@git.example/shop.git", false),
            ("https://ci:word@git.example/shop.git", false),
            ("http://ci:word@git.example/shop.git", false),
            ("ssh://git@git.example/shop.git", true),
            ("git@git.example:shop.git", true),
        ] {
            assert_eq!(is_accepted(url).is_ok(), is_taken, "{url}");
        }
        assert!(Credentials::from_secret("ssh://git:word@git.example/a", &Data::new()).is_err());
    }

    #[test]
    fn values_that_no_service_takes_are_refused() {
        for (value, is_taken) in [
            (&b"abc-1"[..], true),
            (b"", false),
            (b"a\nb", false),
            (b"\xc3\xa9", false),
        ] {
            assert_eq!(
                is_one_line("--token-file", value).is_ok(),
                is_taken,
                "{value:?}"
            );
        }
        for (value, is_taken) in [
            ("https://hooks.example/x?y=z", true),
            ("smtps://mail.example:465", true),
            ("not a url", false),
            ("hooks.example", false),
            ("ftp://a.example", false),
        ] {
            assert_eq!(is_address(value.as_bytes()).is_ok(), is_taken, "{value}");
        }
    }
}
