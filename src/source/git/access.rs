//! How a source is fetched, so that what its files name can be fetched as well.

use std::time::Duration;

use super::auth::{Credentials, Proxy};
use super::reference::Reference;
use super::request::FetchRequest;
use crate::url::RemoteUrl;

/// How a source was fetched.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its URL.
    pub url: String,
    /// What its server accepted.
    pub credentials: Credentials,
    /// The proxy on the way.
    pub proxy: Option<Proxy>,
    /// The time limit of a fetch.
    pub timeout: Duration,
    /// Whether its revisions have to be signed.
    pub is_verified: bool,
    /// Whether all ancestors of its revisions are fetched.
    pub full_history: bool,
    /// Whether its submodules are fetched.
    pub recurse_submodules: bool,
}

impl Access {
    /// The request for another repository that the source's files name. The credentials of the source are for its own
    /// server: the same scheme, host and port. All others are asked without any. The proxy is the same.
    #[must_use]
    pub fn beside(&self, namespace: &str, url: &str, reference: Reference) -> FetchRequest {
        let credentials = match self.is_at_home(url) {
            true => self.credentials.clone(),
            false => Credentials::None,
        };
        FetchRequest {
            credentials,
            proxy: self.proxy.clone(),
            proven: false,
            ..FetchRequest::new(namespace, url, reference, self.timeout)
        }
    }

    /// The request for another commit of the same repository.
    #[must_use]
    pub fn again(&self, namespace: &str, reference: Reference) -> FetchRequest {
        FetchRequest {
            full_history: self.full_history,
            recurse_submodules: self.recurse_submodules,
            ..self.beside(namespace, &self.url, reference)
        }
    }

    /// Whether a repository is on the source's own server.
    #[must_use]
    pub fn is_at_home(&self, url: &str) -> bool {
        match (RemoteUrl::parse(&self.url), RemoteUrl::parse(url)) {
            (Some(own), Some(other)) => own.same_server(&other),
            _ => false,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn credentials_are_for_the_sources_own_server() {
        let url = "https://git.example/team/fleet";
        let data = [("username", "anna"), ("password", "hunter2")];
        let data = data.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()));
        let credentials = Credentials::from_secret(url, &BTreeMap::from(data)).unwrap();
        let access = Access {
            url: url.to_owned(),
            credentials: credentials.clone(),
            proxy: None,
            timeout: Duration::from_secs(60),
            is_verified: false,
            full_history: true,
            recurse_submodules: true,
        };
        let again = access.again("prod", Reference::Commit("a".repeat(40)));
        assert_eq!((&*again.url, &again.credentials), (url, &credentials));
        assert!(again.full_history && again.recurse_submodules && !again.proven);
        for (url, wanted) in [
            ("https://GIT.example:443/other/base", &credentials),
            ("https://git.example.org/other/base", &Credentials::None),
            ("https://git.example:8443/other/base", &Credentials::None),
            ("http://git.example/other/base", &Credentials::None),
            ("git@git.example:other/base", &Credentials::None),
        ] {
            let request = access.beside("prod", url, Reference::Tag("v1".to_owned()));
            assert_eq!(&request.credentials, wanted, "{url}");
            assert_eq!((&*request.url, &*request.namespace), (url, "prod"));
            assert!(!request.proven);
        }
    }
}
