//! Which files under a path are manifests.

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::RenderError;
use super::error::{MAX_IGNORED_BYTES, MAX_IGNORED_LINES};
use crate::content::SourceFile;

/// How much the ignore files of one path may hold together.
#[derive(Debug, Default)]
pub struct IgnoreBudget {
    bytes: usize,
    lines: usize,
}

impl IgnoreBudget {
    /// Counts an ignore file; empty: `spec.ignore`.
    ///
    /// # Errors
    /// It goes over the limit.
    pub fn charge(&mut self, file: &str, content: &[u8]) -> Result<(), RenderError> {
        self.bytes += content.len();
        self.lines += content.iter().filter(|byte| **byte == b'\n').count() + 1;
        match self.bytes > MAX_IGNORED_BYTES || self.lines > MAX_IGNORED_LINES {
            true => Err(RenderError::TooMuchIgnored {
                file: file.to_owned(),
            }),
            false => Ok(()),
        }
    }
}

/// The files under `root` that are manifests: `.yaml`, `.yml` and `.json` in lower case, unless an ignore
/// file leaves them out, or a part of the path below `root` begins with a dot. Those are the settings of
/// tools (`.github`, `.pre-commit-config.yaml`), and no ignore file brings them back.
///
/// `root` is from the repository's root, empty for all of it. `ignores` are the `.towlineignore` files as
/// (folder, content); those above `root` count too, as for Git. The order of the files is kept.
///
/// # Errors
/// An ignore file that cannot be read as patterns.
pub fn select(
    files: &[SourceFile],
    root: &str,
    ignores: &[(String, Vec<u8>)],
) -> Result<Vec<SourceFile>, RenderError> {
    let root = root.trim_matches('/');
    let matchers = Matchers::new(ignores)?;
    let chosen = files
        .iter()
        .filter(|file| {
            below(&file.path, root).is_some_and(|rest| {
                has_extension(rest) && !rest.split('/').any(|part| part.starts_with('.'))
            })
        })
        .filter(|file| !matchers.is_ignored(&file.path))
        .cloned()
        .collect();
    Ok(chosen)
}

/// The part of `path` below the folder `root`, or the name of the file that `root` itself is.
fn below<'a>(path: &'a str, root: &str) -> Option<&'a str> {
    if root.is_empty() {
        return Some(path);
    }
    if path == root {
        return path.rsplit('/').next();
    }
    path.strip_prefix(root)?.strip_prefix('/')
}

fn has_extension(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    matches!(name.rsplit_once('.'), Some((_, "yaml" | "yml" | "json")))
}

/// The ignore files, deepest folder first.
struct Matchers(Vec<(String, Gitignore)>);

impl Matchers {
    fn new(ignores: &[(String, Vec<u8>)]) -> Result<Self, RenderError> {
        let matchers: Result<Vec<_>, RenderError> = ignores
            .iter()
            .map(|(folder, content)| {
                let folder = folder.trim_matches('/').to_owned();
                // Paths are matched below the folder, so that no path of this machine is involved.
                let mut builder = GitignoreBuilder::new("");
                for line in String::from_utf8_lossy(content).lines() {
                    // As in Git, a line that is not a valid pattern is skipped.
                    let _ = builder.add_line(None, line.trim_start_matches('\u{feff}'));
                }
                match builder.build() {
                    Ok(matcher) => Ok((folder, matcher)),
                    Err(_) => Err(RenderError::Patterns { folder }),
                }
            })
            .collect();
        let mut matchers = matchers?;
        matchers.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
        Ok(Self(matchers))
    }

    /// As in Git, an ignored folder is not entered, so no pattern can include a file below it.
    fn is_ignored(&self, path: &str) -> bool {
        let folders = path.match_indices('/').map(|(at, _)| (&path[..at], true));
        folders
            .chain([(path, false)])
            .any(|(path, is_folder)| self.matches(path, is_folder))
    }

    /// The deepest ignore file with a matching pattern decides.
    fn matches(&self, path: &str, is_folder: bool) -> bool {
        self.0
            .iter()
            .filter_map(|(folder, matcher)| Some((strictly_below(path, folder)?, matcher)))
            .map(|(rest, matcher)| matcher.matched(rest, is_folder))
            .find(|found| !found.is_none())
            .is_some_and(|found| found.is_ignore())
    }
}

fn strictly_below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    if folder.is_empty() {
        return Some(path);
    }
    path.strip_prefix(folder)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{BlobId, ObjectId};

    fn chosen(paths: &[&str], root: &str, ignores: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = paths
            .iter()
            .map(|path| SourceFile {
                path: (*path).into(),
                blob: BlobId(ObjectId::new(&[0; 20])),
            })
            .collect();
        let ignores: Vec<_> = ignores
            .iter()
            .map(|(dir, text)| ((*dir).to_owned(), text.as_bytes().to_vec()))
            .collect();
        select(&files, root, &ignores)
            .unwrap()
            .iter()
            .map(|file| file.path.to_string())
            .collect()
    }

    #[test]
    fn by_extension_and_place() {
        let all = [
            "a.yaml",
            "b.yml",
            "c.json",
            "d.YAML",
            "README.md",
            "yaml",
            ".hidden.yaml",
            ".github/w.yaml",
            "apps/x.yaml",
            "apps/.git/y.yaml",
            "apps2/z.yaml",
            "apps/.yaml",
        ];
        assert_eq!(
            chosen(&all, "", &[]),
            ["a.yaml", "b.yml", "c.json", "apps/x.yaml", "apps2/z.yaml"]
        );
        assert_eq!(chosen(&all, "apps", &[]), ["apps/x.yaml"]);
        assert_eq!(chosen(&all, "apps/", &[]), ["apps/x.yaml"]);
        assert_eq!(chosen(&all, "a.yaml", &[]), ["a.yaml"]);
        assert_eq!(chosen(&all, ".github", &[]), [".github/w.yaml"]);
        assert!(chosen(&all, "none", &[]).is_empty());
    }

    #[test]
    fn ignore_files_as_git_reads_them() {
        let all = [
            "a.yaml",
            "x/a.yaml",
            "x/b.yaml",
            "x/y/a.yaml",
            "x/y/c.yaml",
            "z/a.yaml",
        ];
        /// The ignore files, and the remaining paths.
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        let cases: [Case<'_>; 9] = [
            (&[("", "a.yaml")], &["x/b.yaml", "x/y/c.yaml"]),
            (
                &[("", "/a.yaml")],
                &[
                    "x/a.yaml",
                    "x/b.yaml",
                    "x/y/a.yaml",
                    "x/y/c.yaml",
                    "z/a.yaml",
                ],
            ),
            (&[("", "x/\n# c\n\n")], &["a.yaml", "z/a.yaml"]),
            (&[("", "x/\n!x/y/c.yaml")], &["a.yaml", "z/a.yaml"]),
            (
                &[("", "x/*\n!x/y")],
                &["a.yaml", "x/y/a.yaml", "x/y/c.yaml", "z/a.yaml"],
            ),
            (
                &[("", "a.yaml"), ("x", "!a.yaml")],
                &["x/a.yaml", "x/b.yaml", "x/y/a.yaml", "x/y/c.yaml"],
            ),
            (
                &[("x", "/a.yaml")],
                &["a.yaml", "x/b.yaml", "x/y/a.yaml", "x/y/c.yaml", "z/a.yaml"],
            ),
            (
                &[("x", "y")],
                &["a.yaml", "x/a.yaml", "x/b.yaml", "z/a.yaml"],
            ),
            (
                &[("", "**/y/*\r\n[")],
                &["a.yaml", "x/a.yaml", "x/b.yaml", "z/a.yaml"],
            ),
        ];
        for (ignores, wanted) in cases {
            assert_eq!(chosen(&all, "", ignores), wanted, "{ignores:?}");
        }
        assert_eq!(chosen(&all, "x", &[("", "y/")]), ["x/a.yaml", "x/b.yaml"]);
    }

    #[test]
    fn ignore_files_have_a_budget() {
        let mut budget = IgnoreBudget::default();
        budget
            .charge("a/.towlineignore", &b"a\n".repeat(1_500))
            .unwrap();
        let error = budget.charge("b/.towlineignore", &b"b\n".repeat(1_500));
        let message = error.unwrap_err().to_string();
        assert!(message.contains("b/.towlineignore"), "{message}");
        let long = vec![b'a'; MAX_IGNORED_BYTES + 1];
        let error = IgnoreBudget::default().charge("", &long).unwrap_err();
        assert!(error.to_string().contains("spec.ignore"), "{error}");
    }
}
