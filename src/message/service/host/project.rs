//! Where a repository is on its host, and where the API of the host is. Pure.

use std::fmt;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use super::super::Destination;
use super::NotReportable;
use crate::intent::Service;

/// Where a repository is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    /// The host, in lower case and without a port.
    pub host: String,
    /// The path of its URL.
    pub path: String,
}

/// A host of repositories.
pub(super) enum Host {
    Named(String),
    /// Every host of this domain.
    Below(&'static str),
}

impl Host {
    pub(super) fn is(&self, host: &str) -> bool {
        match self {
            Self::Named(name) => name == host,
            Self::Below(domain) => {
                let below = host.strip_suffix(domain);
                below.is_some_and(|below| below.ends_with('.'))
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// The public host of a service, where the address is one of its addresses.
fn public(to: &Destination) -> Option<&'static str> {
    let host = to.address.host();
    Some(match (to.service, host.as_str()) {
        (Service::GitHub, "github.com" | "api.github.com") => "github.com",
        (Service::GitLab, "gitlab.com") => "gitlab.com",
        (Service::Bitbucket, "bitbucket.org" | "api.bitbucket.org") => "bitbucket.org",
        (Service::AzureDevOps, "dev.azure.com") => "dev.azure.com",
        _ => return None,
    })
}

/// The hosts of the repositories of a Git host. Some have another one for SSH, or for their API.
pub(super) fn hosts(to: &Destination) -> Vec<Host> {
    let names: &[&str] = match public(to) {
        Some("github.com") => &["github.com", "ssh.github.com"],
        Some("gitlab.com") => &["gitlab.com", "altssh.gitlab.com"],
        Some("bitbucket.org") => &["bitbucket.org", "altssh.bitbucket.org"],
        Some("dev.azure.com") => &["dev.azure.com", "ssh.dev.azure.com"],
        _ => &[],
    };
    let own = names
        .is_empty()
        .then(|| to.address.host())
        // The API of GitHub Enterprise Cloud with data residency has a host of its own.
        .map(|host| match host.strip_prefix("api.") {
            Some(web) if web.ends_with(GHE) => web.to_owned(),
            _ => host,
        });
    let more = to.hosts.iter().map(|host| host.to_ascii_lowercase());
    let names = names.iter().map(|&name| name.to_owned());
    let named = names.chain(own).chain(more).map(Host::Named);
    // The former names of Azure DevOps.
    let below = (public(to) == Some("dev.azure.com")).then_some(Host::Below("visualstudio.com"));
    named.chain(below).collect()
}

/// The domain of GitHub Enterprise Cloud with data residency.
const GHE: &str = ".ghe.com";

/// Where the repository is for the API of its host.
#[derive(Clone)]
pub(super) struct HostProject {
    /// Where the API is.
    api: String,
    /// Where the web pages are.
    web: String,
    /// What has the repository: an owner, a group, a project.
    owner: String,
    name: String,
}

impl HostProject {
    /// The address of a Provider is that of the host's web pages, or of its API. Flux takes the URL of a repository; its
    /// path says nothing more here, because the path of the Sync's own repository counts.
    pub(super) fn of(repository: &Repository, to: &Destination) -> Result<Self, NotReportable> {
        let path = repository.path.trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        if to.service == Service::AzureDevOps {
            return Self::on_azure(repository, path, to);
        }
        let root = match public(to) {
            Some(_) => "",
            None => root(to, path),
        };
        let below = path.strip_prefix(root);
        let below = below.and_then(|path| path.strip_prefix('/'));
        // A path of SSH does not begin with the root of the web pages.
        let path = below.filter(|_| !root.is_empty()).unwrap_or(path);
        let (form, path) = match to.service {
            Service::GitLab => ("group/project", path),
            // HTTP has one folder more than SSH. A project may have its name.
            Service::BitbucketServer => {
                let rest = path.strip_prefix("scm/").filter(|rest| rest.contains('/'));
                ("PROJECT/repository", rest.unwrap_or(path))
            }
            _ => ("owner/name", path),
        };
        let error = NotReportable::Path { form };
        let (owner, name) = path.rsplit_once('/').ok_or(error.clone())?;
        let is_deep = to.service == Service::GitLab;
        if !path.split('/').all(is_plain) || owner.contains('/') && !is_deep {
            return Err(error);
        }
        let web = join(&[&to.address.origin(), root]);
        Ok(Self {
            api: api(to, &web),
            web,
            owner: owner.to_owned(),
            name: name.to_owned(),
        })
    }

    /// `organisation/project/_git/name`, `v3/organisation/project/name` over SSH, or `project/_git/name` on the former
    /// host of an organisation. A project has a repository of its own name, for which the project may be left out.
    fn on_azure(
        repository: &Repository,
        path: &str,
        to: &Destination,
    ) -> Result<Self, NotReportable> {
        let form = "organisation/project/_git/repository";
        let error = || NotReportable::Path { form };
        let of_host = repository.host.strip_suffix(".visualstudio.com");
        let of_host = of_host.filter(|name| *name != "vs-ssh");
        let (owner, name) = match path.split_once("/_git/").or_else(|| {
            let name = path.strip_prefix("_git/")?;
            Some(("", name))
        }) {
            Some(found) => found,
            None => path
                .strip_prefix("v3/")
                .and_then(|path| path.rsplit_once('/'))
                .ok_or_else(error)?,
        };
        let owner = match of_host {
            Some(organisation) => {
                let below = match owner.split_once('/') {
                    Some(("DefaultCollection", project)) => project,
                    None if owner == "DefaultCollection" => "",
                    _ => owner,
                };
                join(&[organisation, below])
            }
            None => owner.to_owned(),
        };
        let owner = match owner.contains('/') {
            true => owner,
            false => join(&[&owner, name]),
        };
        // Names have blanks and letters of all languages. URLs have them escaped.
        let is_part = |part: &str| {
            let part = percent_decode_str(part).decode_utf8();
            part.is_ok_and(|part| {
                let is_refused = |c: char| c.is_control() || "/\\?#".contains(c);
                !matches!(&*part, "" | "." | "..") && !part.contains(is_refused)
            })
        };
        let is_form = !name.contains('/') && is_part(name) && owner.split('/').all(is_part);
        let escaped = |part: &str| utf8_percent_encode(part, UNSAFE).to_string();
        match is_form {
            true => Ok(Self {
                api: to.address.origin(),
                web: to.address.origin(),
                owner: escaped(&owner),
                name: escaped(name),
            }),
            false => Err(error()),
        }
    }

    /// The URL of the repository in the API of GitHub, Gitea or GitLab.
    pub(super) fn repository(&self, to: &Destination) -> String {
        let Self {
            api, owner, name, ..
        } = self;
        match to.service {
            Service::GitLab => {
                let project = format!("{owner}/{name}").replace('/', "%2F");
                format!("{api}/projects/{project}")
            }
            _ => format!("{api}/repos/{owner}/{name}"),
        }
    }

    /// The URL that takes a status of a commit.
    pub(super) fn statuses(&self, to: &Destination, commit: &str) -> String {
        let Self {
            api, owner, name, ..
        } = self;
        match to.service {
            Service::Bitbucket => {
                format!("{api}/repositories/{owner}/{name}/commit/{commit}/statuses/build")
            }
            Service::BitbucketServer => {
                format!("{api}/projects/{owner}/repos/{name}/commits/{commit}/builds")
            }
            Service::AzureDevOps => format!(
                "{api}/{owner}/_apis/git/repositories/{name}/commits/{commit}/statuses?api-version=7.1"
            ),
            _ => format!("{}/statuses/{commit}", self.repository(to)),
        }
    }

    /// The web page of a commit on Bitbucket.
    pub(super) fn page(&self, to: &Destination, commit: &str) -> String {
        let Self {
            web, owner, name, ..
        } = self;
        match to.service {
            Service::Bitbucket if public(to).is_some() => {
                format!("https://bitbucket.org/{owner}/{name}/commits/{commit}")
            }
            Service::Bitbucket => format!("{web}/{owner}/{name}/commits/{commit}"),
            _ => format!("{web}/projects/{owner}/repos/{name}/commits/{commit}"),
        }
    }
}

/// The path of the API below the root of the host.
fn suffix(service: Service) -> &'static str {
    match service {
        Service::GitHub => "api/v3",
        Service::GitLab => "api/v4",
        Service::Bitbucket => "2.0",
        Service::BitbucketServer => "rest/api/latest",
        _ => "api/v1",
    }
}

/// The path of the address before the API and before repositories.
fn root<'a>(to: &'a Destination, repository: &str) -> &'a str {
    let address = to.address.path();
    let address = address.strip_suffix(".git").unwrap_or(address);
    match address.strip_suffix(suffix(to.service)) {
        Some(root) => root.trim_end_matches('/'),
        None if address == repository || to.service == Service::GitHub => "",
        None => address,
    }
}

/// Where the API of a host is that does not stand below a path.
pub(super) fn api_of(to: &Destination) -> String {
    api(to, &to.address.origin())
}

fn api(to: &Destination, web: &str) -> String {
    let host = to.address.host();
    match public(to) {
        Some("github.com") => "https://api.github.com".to_owned(),
        Some("bitbucket.org") => "https://api.bitbucket.org/2.0".to_owned(),
        _ if to.service == Service::GitHub && host.ends_with(GHE) => {
            format!("https://api.{}", host.trim_start_matches("api."))
        }
        _ => join(&[web, suffix(to.service)]),
    }
}

/// Parts of a URL with a slash between them. Empty ones are left out.
fn join(parts: &[&str]) -> String {
    let parts = parts.iter().filter(|part| !part.is_empty());
    parts.copied().collect::<Vec<_>>().join("/")
}

/// What cannot stand in the path of a URL as it is. Escapes stay.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Whether a part of a path says in a URL what it says here.
fn is_plain(part: &str) -> bool {
    let is_safe = |c: char| c.is_ascii_graphic() && !"?#\\%\"<>^`{|}".contains(c);
    !matches!(part, "" | "." | "..") && part.chars().all(is_safe)
}
