//! The names of objects: kind, namespace and name.

use std::fmt;
use std::sync::Arc;

/// A kind without its version: `Deployment` of `apps`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKind {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The kind, in the singular and CamelCase.
    pub kind: Arc<str>,
}

impl GroupKind {
    /// A kind from its parts.
    pub fn new(group: impl Into<Arc<str>>, kind: impl Into<Arc<str>>) -> Self {
        Self {
            group: group.into(),
            kind: kind.into(),
        }
    }
}

/// `Kind` in the core group, `Kind.group` otherwise, as ApplySet writes it (KEP-3659).
impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

/// A kind, with the version that a manifest uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// The API group; empty for the core group.
    pub group: Arc<str>,
    /// The version, such as `v1`.
    pub version: Arc<str>,
    /// The kind, in the singular and CamelCase.
    pub kind: Arc<str>,
}

impl GroupVersionKind {
    /// Parses `apiVersion` and `kind`. None if `apiVersion` is neither `version` nor
    /// `group/version`, or if a part is not valid in a URL or too long for a name.
    pub fn parse(api_version: &str, kind: &str) -> Option<Self> {
        let (group, version) = match api_version.split_once('/') {
            Some((group, version)) if !group.is_empty() => (group, version),
            Some(_) => return None,
            None => ("", api_version),
        };
        // What a DNS label and a DNS name may have.
        if group.len() > 253 {
            return None;
        }
        let part = |text: &str| {
            (1..=63).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        let group_is_fine = group.is_empty() || group.split('.').all(part);
        (group_is_fine && part(version) && part(kind)).then(|| Self {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        })
    }

    /// `version` in the core group, `group/version` otherwise.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// The kind without its version; a cheap clone.
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.group.clone(), self.kind.clone())
    }
}

/// The name of one object in a cluster. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind, without the version: versions are views of the same object.
    pub kind: GroupKind,
    /// Its namespace, if it is in one.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
}

impl ObjectKey {
    /// Reads what [`fmt::Display`] writes; none if it is not that.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, place) = text.split_once(' ')?;
        let (kind, group) = kind.split_once('.').unwrap_or((kind, ""));
        let (namespace, name) = match place.split_once('/') {
            Some((namespace, name)) => (Some(namespace.into()), name),
            None => (None, place),
        };
        Some(Self {
            kind: GroupKind::new(group, kind),
            namespace,
            name: name.into(),
        })
    }
}

/// `Kind.group namespace/name`, or `Kind.group name`.
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind)?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_versions() {
        for good in ["v1", "apps/v1", "towline.dev/v1alpha1"] {
            assert_eq!(
                GroupVersionKind::parse(good, "Kind").unwrap().api_version(),
                good
            );
        }
        for bad in [
            "", "/v1", "a/b/c", "a/", "a b/v1", "a/v1?x", "a..b/v1", "../v1",
        ] {
            assert_eq!(GroupVersionKind::parse(bad, "Kind"), None, "{bad}");
        }
        assert_eq!(GroupVersionKind::parse("v1", "Pod/exec"), None);
    }

    #[test]
    fn names_for_people() {
        let core = GroupKind::new("", "Pod");
        let apps = GroupKind::new("apps", "Deployment");
        assert_eq!(
            (core.to_string(), apps.to_string()),
            ("Pod".into(), "Deployment.apps".into())
        );
        let key = ObjectKey {
            kind: apps,
            namespace: Some("shop".into()),
            name: "web".into(),
        };
        assert_eq!(key.to_string(), "Deployment.apps shop/web");
        for key in [
            &key,
            &ObjectKey {
                namespace: None,
                kind: core,
                ..key.clone()
            },
        ] {
            assert_eq!(ObjectKey::parse(&key.to_string()).as_ref(), Some(key));
        }
        assert_eq!(
            ObjectKey {
                namespace: None,
                ..key
            }
            .to_string(),
            "Deployment.apps web"
        );
    }
}
