//! Finds the commit that a reference points at on a remote.

use git2::{Oid, RemoteHead};

use super::reference::{Reference, range_of};
use crate::source::error::Error;
use crate::text::redact_url;

/// The commit that the wanted reference points at on the remote.
#[derive(Clone, Debug)]
pub(super) struct ResolvedRef {
    /// The remote's name for it: `refs/heads/main`, `refs/tags/v1.0`, or a commit id if no
    /// reference points at the commit.
    pub(super) source: String,
    /// The name in a revision: `main`, `v1.0`, `refs/pull/7/head`. None for a commit.
    pub(super) name: Option<String>,
    /// The commit. For an annotated tag, the commit that the tag points at.
    pub(super) commit: Oid,
    /// The annotated tag, if the reference is one.
    pub(super) tag: Option<Oid>,
}

/// Finds the wanted reference in the remote's list.
pub(super) fn resolve(
    heads: &[RemoteHead<'_>],
    url: &str,
    reference: &Reference,
) -> Result<ResolvedRef, Error> {
    let find = |name: &str| heads.iter().find(|head| head.name() == name);
    let not_found = || Error::RefNotFound {
        url: redact_url(url),
        reference: reference.to_string(),
    };
    let target = match reference {
        Reference::Default => {
            let head = find("HEAD").ok_or_else(not_found)?;
            let source = match head.symref_target() {
                Some(branch) => branch.to_owned(),
                None => unnamed_default(heads, head.oid()).unwrap_or_else(|| "HEAD".to_owned()),
            };
            let name = source.strip_prefix("refs/heads/").unwrap_or(&source);
            Some(ResolvedRef {
                name: Some(name.to_owned()),
                commit: head.oid(),
                tag: None,
                source,
            })
        }
        Reference::Branch(name) => named(heads, name, format!("refs/heads/{name}")),
        Reference::Tag(name) => named(heads, name, format!("refs/tags/{name}")),
        Reference::Name(name) => named(heads, name, name.clone()),
        Reference::Semver(range) => {
            let tags = heads
                .iter()
                .filter_map(|head| head.name().strip_prefix("refs/tags/"));
            let newest = range_of(range)?.newest(tags);
            newest.and_then(|tag| named(heads, tag, format!("refs/tags/{tag}")))
        }
        Reference::Commit(id) => {
            let commit = Oid::from_str(id).map_err(|_| reference.invalid())?;
            // Prefers a name that points at the commit, because some servers do not send commits by
            // their id.
            let named = heads.iter().find(|head| {
                head.oid() == commit
                    && head.name().starts_with("refs/")
                    && !head.name().ends_with("^{}")
            });
            Some(ResolvedRef {
                source: named.map_or_else(|| id.clone(), |head| head.name().to_owned()),
                name: None,
                commit,
                tag: None,
            })
        }
    };
    target.ok_or_else(not_found)
}

/// The reference `source`, as a revision called `name`. After an annotated tag, the list has an
/// entry with the commit that the tag points at.
fn named(heads: &[RemoteHead<'_>], name: &str, source: String) -> Option<ResolvedRef> {
    let find = |name: &str| heads.iter().find(|head| head.name() == name);
    let head = find(&source)?;
    let peeled = find(&format!("{source}^{{}}"));
    Some(ResolvedRef {
        name: Some(name.to_owned()),
        commit: peeled.unwrap_or(head).oid(),
        tag: peeled.map(|_| head.oid()),
        source,
    })
}

/// Old servers do not say which branch HEAD is. Tries the usual names first, then any branch with
/// the same commit.
fn unnamed_default(heads: &[RemoteHead<'_>], commit: Oid) -> Option<String> {
    let mut branches: Vec<&str> = heads
        .iter()
        .filter(|head| head.oid() == commit && head.name().starts_with("refs/heads/"))
        .map(RemoteHead::name)
        .collect();
    branches.sort_by_key(|name| !matches!(*name, "refs/heads/main" | "refs/heads/master"));
    branches.first().map(|&name| name.to_owned())
}
