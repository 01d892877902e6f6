//! Which files under a path are manifests.

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::content::SourceFile;

/// The files under `root` that are manifests: `.yaml`, `.yml` and `.json` in lower case, unless an ignore
/// file leaves them out, or a part of the path below `root` begins with a dot. Those are the settings of
/// tools (`.github`, `.pre-commit-config.yaml`), and no ignore file brings them back.
///
/// `root` is from the repository's root, empty for all of it. `ignores` are the `.towlineignore` files as
/// (folder, content); those above `root` count too, as for Git. The order of the files is kept.
pub fn select(files: &[SourceFile], root: &str, ignores: &[(String, Vec<u8>)]) -> Vec<SourceFile> {
    let root = root.trim_matches('/');
    let matchers = Matchers::new(ignores);
    files
        .iter()
        .filter(|file| {
            below(&file.path, root).is_some_and(|rest| {
                has_extension(rest) && !rest.split('/').any(|part| part.starts_with('.'))
            })
        })
        .filter(|file| !matchers.is_ignored(&file.path))
        .cloned()
        .collect()
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
    fn new(ignores: &[(String, Vec<u8>)]) -> Self {
        let mut matchers: Vec<_> = ignores
            .iter()
            .filter_map(|(folder, content)| {
                let folder = folder.trim_matches('/').to_owned();
                // Paths are matched below the folder, so that no path of this machine is involved.
                let mut builder = GitignoreBuilder::new("");
                for line in String::from_utf8_lossy(content).lines() {
                    // As in Git, a line that is not a valid pattern is skipped.
                    let _ = builder.add_line(None, line.trim_start_matches('\u{feff}'));
                }
                Some((folder, builder.build().ok()?))
            })
            .collect();
        matchers.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
        Self(matchers)
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
}
