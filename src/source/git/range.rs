//! Ranges of semantic versions, as Flux users write them.
//!
//! Syntax and meaning are those of Masterminds/semver, which differ from Cargo's. A bare version
//! means exactly that version and not `^`. Spaces may separate conditions. There are `||`, `!=` and
//! `1.2 - 2.0`. One condition with a pre-release lets its whole group match pre-releases of every
//! version. So the `semver` crate only reads and compares versions here.

use std::ops::{Bound, RangeBounds as _};

use semver::{BuildMetadata, Prerelease, Version};

/// The longest range; the API server refuses longer ones.
const MAX: usize = 255;

/// Versions that satisfy all conditions of any group.
#[derive(Clone, Debug)]
pub(super) struct Range(Vec<Vec<Condition>>);

/// `>=1.2`, `!=1.x`, …
#[derive(Clone, Debug)]
struct Condition {
    bounds: (Bound<Version>, Bound<Version>),
    /// The condition is `!=`: versions between the bounds do not satisfy it.
    negated: bool,
    /// The condition names a pre-release, so pre-releases may match.
    names_pre_release: bool,
}

/// A version whose end may be missing or `x`.
struct Partial {
    major: Option<u64>,
    minor: Option<u64>,
    patch: Option<u64>,
    pre: Prerelease,
}

/// Why a text is not a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Invalid {
    /// A condition is missing between two separators, or the text is empty.
    #[error("a condition is missing")]
    Missing,
    /// Neither `1.2.3` nor an abbreviation of it.
    #[error("{0:?} is not a version")]
    Version(String),
    /// An operator that Masterminds/semver does not have.
    #[error("{0:?} is not an operator")]
    Operator(String),
    /// `>*`, `<*`, `!=*`.
    #[error("no version satisfies {0:?}")]
    Never(String),
    /// More than [`MAX`] bytes.
    #[error("it is too long")]
    TooLong,
}

impl Range {
    /// Reads `>=1.0.0 <2.0.0`, `~1.2`, `1.x`, `^1`, `1.2.3 - 2.0.0`, `1 || >=3, !=3.1.4`, `*`.
    pub(super) fn parse(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX {
            return Err(Invalid::TooLong);
        }
        text.split("||")
            .map(group)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether `version` is in the range; its build metadata does not matter.
    pub(super) fn matches(&self, version: &Version) -> bool {
        let version = Version {
            build: BuildMetadata::EMPTY,
            ..version.clone()
        };
        self.0.iter().any(|group| {
            let release = version.pre.is_empty();
            (release || group.iter().any(|condition| condition.names_pre_release))
                && group
                    .iter()
                    .all(|condition| condition.bounds.contains(&version) != condition.negated)
        })
    }

    /// The tag with the highest version in the range. `tags` are names without `refs/tags/`. Skips
    /// names that are not a version with or without a leading `v`. Versions that differ only in
    /// build metadata are ordered by that metadata, and `v1.0.0` wins over `1.0.0`. So the order of
    /// the server's list does not matter.
    pub(super) fn newest<'a>(&self, tags: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
        tags.into_iter()
            .filter_map(|tag| {
                let version = Version::parse(tag.strip_prefix('v').unwrap_or(tag)).ok()?;
                self.matches(&version).then_some((version, tag))
            })
            .max()
            .map(|(_, tag)| tag)
    }
}

/// Conditions separated by spaces or single commas.
fn group(text: &str) -> Result<Vec<Condition>, Invalid> {
    let mut conditions = Vec::new();
    for part in text.split(',') {
        let mut rest = part.trim();
        if rest.is_empty() {
            return Err(Invalid::Missing);
        }
        while !rest.is_empty() {
            let (operator, version, after) = next(rest);
            rest = after;
            let low = Partial::parse(version)?;
            // `1.2 - 2.0` is `>=1.2 <=2.0`.
            if let Some(upper) = hyphen(rest).filter(|_| operator.is_empty()) {
                let (none, version, after) = next(upper);
                if !none.is_empty() {
                    return Err(Invalid::Operator(none.to_owned()));
                }
                conditions.push(condition(">=", &low)?);
                conditions.push(condition("<=", &Partial::parse(version)?)?);
                rest = after;
            } else {
                conditions.push(condition(operator, &low)?);
            }
        }
    }
    Ok(conditions)
}

/// The operator (it may be empty), the version, and the rest of the text.
fn next(text: &str) -> (&str, &str, &str) {
    let is_operator = |c: char| "=<>!~^".contains(c);
    let cut = |text: &'_ str, end: Option<usize>| end.unwrap_or(text.len());
    let (operator, rest) = text.split_at(cut(text, text.find(|c| !is_operator(c))));
    let rest = rest.trim_start();
    let end = rest.find(|c: char| c.is_whitespace() || is_operator(c));
    let (version, rest) = rest.split_at(cut(rest, end));
    (operator, version, rest.trim_start())
}

/// The text after a hyphen with spaces around it.
fn hyphen(text: &str) -> Option<&str> {
    text.strip_prefix('-')
        .filter(|rest| rest.starts_with(char::is_whitespace))
        .map(str::trim_start)
}

fn condition(operator: &str, partial: &Partial) -> Result<Condition, Invalid> {
    use Bound::{Excluded, Included, Unbounded};
    let low = || Included(partial.low());
    let below = |version: Option<Version>| version.map_or(Unbounded, Excluded);
    let (from, to) = match operator {
        "" | "=" | "!=" => (low(), partial.end()),
        "~" | "~>" => (low(), below(partial.next_minor())),
        "^" => (low(), below(partial.next_breaking())),
        ">=" | "=>" => (low(), Unbounded),
        "<=" | "=<" => (Unbounded, partial.end()),
        "<" => (Unbounded, Excluded(partial.low())),
        ">" => match partial.end() {
            Included(version) => (Excluded(version), Unbounded),
            Excluded(version) => (Included(version), Unbounded),
            Unbounded => return Err(Invalid::Never(">*".to_owned())),
        },
        other => return Err(Invalid::Operator(other.to_owned())),
    };
    if partial.major.is_none() && matches!(operator, "<" | "!=") {
        return Err(Invalid::Never(format!("{operator}*")));
    }
    Ok(Condition {
        bounds: (from, to),
        negated: operator == "!=",
        names_pre_release: !partial.pre.is_empty(),
    })
}

impl Partial {
    fn parse(text: &str) -> Result<Self, Invalid> {
        Self::read(text).ok_or_else(|| match text {
            "" => Invalid::Missing,
            _ => Invalid::Version(text.to_owned()),
        })
    }

    fn read(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (text, build) = text
            .split_once('+')
            .map_or((text, None), |(a, b)| (a, Some(b)));
        if let Some(build) = build {
            BuildMetadata::new(build)
                .ok()
                .filter(|build| !build.is_empty())?;
        }
        let (numbers, pre) = match text.split_once('-') {
            Some((numbers, pre)) => (numbers, Some(pre)),
            None => (text, None),
        };
        let pre = match pre {
            Some(pre) => Prerelease::new(pre).ok().filter(|pre| !pre.is_empty())?,
            None => Prerelease::EMPTY,
        };
        let mut parts = [None; 3];
        let mut open = false;
        for (index, part) in numbers.split('.').enumerate() {
            let slot = parts.get_mut(index)?;
            match part {
                "x" | "X" | "*" => open = true,
                _ if open => return None,
                _ => *slot = Some(number(part)?),
            }
        }
        let [major, minor, patch] = parts;
        Some(Self {
            major,
            minor,
            patch,
            pre,
        })
    }

    /// The lowest version that this abbreviation covers.
    fn low(&self) -> Version {
        Version {
            pre: self.pre.clone(),
            ..Version::new(
                self.major.unwrap_or(0),
                self.minor.unwrap_or(0),
                self.patch.unwrap_or(0),
            )
        }
    }

    /// The upper bound of the versions that this abbreviation covers.
    fn end(&self) -> Bound<Version> {
        match self.patch {
            Some(_) => Bound::Included(self.low()),
            None => self.next_minor().map_or(Bound::Unbounded, Bound::Excluded),
        }
    }

    /// The lowest version above all that share this minor version. If only the major version is
    /// given, above all that share the major version.
    fn next_minor(&self) -> Option<Version> {
        let major = self.major?;
        Some(match self.minor {
            Some(minor) => before(major, minor.saturating_add(1), 0),
            None => before(major.saturating_add(1), 0, 0),
        })
    }

    /// The lowest version above all compatible ones: the leftmost non-zero number stays the same.
    fn next_breaking(&self) -> Option<Version> {
        let major = self.major?;
        Some(match (major, self.minor, self.patch) {
            (0, Some(0), Some(patch)) => before(0, 0, patch.saturating_add(1)),
            (0, Some(minor), _) => before(0, minor.saturating_add(1), 0),
            _ => before(major.saturating_add(1), 0, 0),
        })
    }
}

/// The lowest version with these numbers, below its pre-releases as well.
fn before(major: u64, minor: u64, patch: u64) -> Version {
    Version {
        pre: Prerelease::new("0").unwrap_or_default(),
        ..Version::new(major, minor, patch)
    }
}

/// Digits without a leading zero.
fn number(text: &str) -> Option<u64> {
    let valid = text == "0" || !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
