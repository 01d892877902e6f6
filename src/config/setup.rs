//! Arguments of the commands that set something up or check it.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;

use super::{ClusterArgs, names};
use crate::text::port_problem;

/// What `towline create` creates.
#[derive(Debug, Subcommand)]
pub enum CreateCommand {
    /// Create a Secret that a resource of towline names. Values come from files and are never printed.
    #[command(subcommand)]
    Secret(SecretCommand),
}

/// The kinds of Secrets.
#[derive(Debug, Subcommand)]
pub enum SecretCommand {
    /// Create the credentials of a GitRepository, after a check that they fit its URL.
    #[command(
        after_help = "Example:\n  towline create secret git shop-git --url ssh://git@git.example/shop.git --identity-file id_ed25519 --known-hosts-file known_hosts"
    )]
    Git(GitSecretArgs),
    /// Create the signers that spec.verify of a GitRepository accepts.
    #[command(
        after_help = "Example:\n  towline create secret signers shop-signers --allowed-signers-file allowed_signers"
    )]
    Signers(SignersSecretArgs),
    /// Create the secret of a webhook. Without a file, a random one is made.
    #[command(after_help = "Example:\n  towline create secret hook shop-hook")]
    Hook(HookSecretArgs),
    /// Create the secret of a Provider of messages.
    #[command(
        after_help = "Example:\n  towline create secret provider team-chat --address-file webhook-url.txt"
    )]
    Provider(ProviderSecretArgs),
    /// Create the login to a registry of images, for imagePullSecrets of pods and ServiceAccounts.
    #[command(
        after_help = "Example:\n  towline create secret registry shop-images --server registry.example --username ci --password-file password.txt"
    )]
    Registry(RegistrySecretArgs),
}

/// The Secret to create.
#[derive(Args, Clone, Debug)]
pub struct NewSecretArgs {
    /// Name of the Secret.
    #[arg(value_parser = names::object)]
    pub name: String,

    /// Replace a Secret of that name.
    #[arg(long)]
    pub replace: bool,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `towline create secret git`.
#[derive(Args, Clone, Debug)]
pub struct GitSecretArgs {
    /// The Secret.
    #[command(flatten)]
    pub secret: NewSecretArgs,

    /// URL of the repository.
    #[arg(long)]
    pub url: String,

    /// User for HTTPS.
    #[arg(long)]
    pub username: Option<String>,

    /// File with the password of --username, or with the passphrase of the identity. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// File with a token for HTTPS. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub bearer_token_file: Option<PathBuf>,

    /// File with certificates of authorities for HTTPS.
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// File with the private key for SSH. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub identity_file: Option<PathBuf>,

    /// File with the keys of the SSH server, as ssh-keyscan writes it.
    #[arg(long, value_name = "FILE")]
    pub known_hosts_file: Option<PathBuf>,
}

/// Arguments of `towline create secret signers`.
#[derive(Args, Clone, Debug)]
pub struct SignersSecretArgs {
    /// The Secret.
    #[command(flatten)]
    pub secret: NewSecretArgs,

    /// File with SSH keys in ssh-keygen's format.
    #[arg(long, value_name = "FILE")]
    pub allowed_signers_file: Option<PathBuf>,

    /// File with an ASCII-armoured OpenPGP public key. It can be given several times.
    #[arg(long, value_name = "FILE")]
    pub openpgp_file: Vec<PathBuf>,
}

/// Arguments of `towline create secret hook`.
#[derive(Args, Clone, Debug)]
pub struct HookSecretArgs {
    /// The Secret.
    #[command(flatten)]
    pub secret: NewSecretArgs,

    /// File with the token that the Git server has. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Arguments of `towline create secret provider`.
#[derive(Args, Clone, Debug)]
pub struct ProviderSecretArgs {
    /// The Secret.
    #[command(flatten)]
    pub secret: NewSecretArgs,

    /// File with the address, if that is secret, as an incoming webhook's is. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub address_file: Option<PathBuf>,

    /// File with the token. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// User for basic authentication.
    #[arg(long)]
    pub username: Option<String>,

    /// File with the password of --username. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,

    /// Number of a GitHub App, in the place of a token.
    #[arg(long, requires_all = ["app_installation_id", "app_private_key_file"], conflicts_with = "token_file")]
    pub app_id: Option<String>,

    /// Number of the installation of --app-id.
    #[arg(long, requires = "app_id")]
    pub app_installation_id: Option<String>,

    /// File with the private key of --app-id, as GitHub gives it. `-` is standard input.
    #[arg(long, value_name = "FILE", requires = "app_id")]
    pub app_private_key_file: Option<PathBuf>,
}

/// Arguments of `towline create secret registry`.
#[derive(Args, Clone, Debug)]
pub struct RegistrySecretArgs {
    /// The Secret.
    #[command(flatten)]
    pub secret: NewSecretArgs,

    /// Host of the registry, with its port if it has one. Docker Hub's is `https://index.docker.io/v1/`.
    #[arg(long)]
    pub server: String,

    /// User.
    #[arg(long)]
    pub username: String,

    /// File with the password or token of --username. `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub password_file: PathBuf,
}

/// What `towline hook` does.
#[derive(Debug, Subcommand)]
pub enum HookCommand {
    /// Send a signed delivery for a GitRepository, as a Git server would, and tell what became of it.
    #[command(
        after_help = "Example:\n  towline hook test shop --address https://towline.example/hook"
    )]
    Test(HookTestArgs),
}

/// A URL of HTTP, whose port is one if it has a port.
fn web_address(text: &str) -> Result<String, &'static str> {
    let url: Option<http::Uri> = text.parse().ok();
    let scheme = url.as_ref().and_then(http::Uri::scheme_str);
    if !matches!(scheme, Some("https" | "http")) {
        return Err("it is no URL that begins with https:// or http://");
    }
    let authority = url.as_ref().and_then(http::Uri::authority);
    match authority.and_then(|authority| port_problem(authority.as_str())) {
        Some(problem) => Err(problem),
        None => Ok(text.to_owned()),
    }
}

/// Arguments of `towline hook test`.
#[derive(Args, Clone, Debug)]
pub struct HookTestArgs {
    /// The GitRepository.
    #[arg(value_name = "REPO", value_parser = names::repository)]
    pub name: String,

    /// Address of the endpoint, as the Git server calls it.
    #[arg(long, value_name = "URL", value_parser = web_address)]
    pub address: String,

    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `towline check`.
#[derive(Args, Clone, Debug)]
pub struct CheckArgs {
    /// The cluster.
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// Arguments of `towline completion`.
#[derive(Args, Clone, Debug)]
pub struct CompletionArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Arguments of `towline man`.
#[derive(Args, Clone, Debug)]
pub struct ManArgs {
    /// Folder for the pages: towline.1, towline-get.1 and so on.
    #[arg(long, value_name = "FOLDER")]
    pub into: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_the_endpoint_has_a_scheme_and_a_port_that_is_one() {
        for good in [
            "https://towline.example/hook",
            "http://user:word@127.0.0.1:1/hook",
        ] {
            assert_eq!(web_address(good).as_deref(), Ok(good));
        }
        for wrong in [
            "",
            "towline.example/hook",
            "towline.example:443",
            "ftp://towline.example/hook",
            "https://",
            "https://towline.example:99999/hook",
            "http://a b/hook",
        ] {
            assert!(web_address(wrong).is_err(), "{wrong}");
        }
    }
}
