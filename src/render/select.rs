//! Which files under a path are manifests.

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::error::{
    MAX_IGNORED_BYTES, MAX_IGNORED_LINES, MAX_WILDCARDS, PatternError, RenderError,
};
use crate::content::SourceFile;

/// The longest pattern that an error quotes, in bytes.
const MAX_SHOWN_PATTERN: usize = 100;

/// How much the ignore files and fields of one path may hold together.
#[derive(Debug, Default)]
pub struct IgnoreBudget {
    bytes: usize,
    lines: usize,
    wildcards: usize,
}

impl IgnoreBudget {
    /// Counts an ignore file, or a field of a spec.
    ///
    /// # Errors
    /// It goes over the limit.
    pub fn charge(&mut self, file: &str, content: &[u8]) -> Result<(), RenderError> {
        self.bytes += content.len();
        self.lines += content.iter().filter(|byte| **byte == b'\n').count() + 1;
        let wildcards = content.iter().filter(|byte| b"*?[{".contains(byte));
        self.wildcards += wildcards.count();
        let is_over = self.bytes > MAX_IGNORED_BYTES
            || self.lines > MAX_IGNORED_LINES
            || self.wildcards > MAX_WILDCARDS;
        match is_over {
            true => Err(RenderError::TooMuchIgnored {
                file: file.to_owned(),
            }),
            false => Ok(()),
        }
    }
}

/// Returns an error if `patterns`, the value of `field`, has a line that is no pattern.
///
/// # Errors
/// The first such line.
pub fn check_patterns(field: &'static str, patterns: &str) -> Result<(), PatternError> {
    let mut builder = GitignoreBuilder::new("");
    for (number, line) in patterns.lines().enumerate() {
        let added = builder.add_line(None, line);
        added.map(drop).map_err(|error| PatternError {
            field,
            line: number + 1,
            pattern: crate::text::shorten(line, MAX_SHOWN_PATTERN),
            why: match error {
                ignore::Error::Glob { err, .. } => err,
                other => other.to_string(),
            },
        })?;
    }
    Ok(())
}

/// The folder's part of an ignore file, and its content.
type IgnoreFile = (String, Vec<u8>);

/// What is left out of a path. The last pattern that matches decides: those of the Sync come after those of the
/// source, and both after those of ignore files, of which deeper ones come later.
pub struct Ignores(Matchers);

impl Ignores {
    /// The `.towlineignore` files of a path, as (folder, content); those above the path count too, as for Git.
    ///
    /// # Errors
    /// A file that cannot be read as patterns.
    pub fn of_files(files: &[IgnoreFile]) -> Result<Self, RenderError> {
        let matchers = files.iter().map(|(folder, content)| {
            let text = String::from_utf8_lossy(content);
            let name = || format!("the ignore file in {folder:?}");
            matcher(folder, &text).ok_or_else(|| RenderError::Patterns { name: name() })
        });
        let mut matchers = matchers.collect::<Result<Vec<_>, _>>()?;
        matchers.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
        Ok(Self(Matchers(matchers)))
    }

    /// Adds the patterns of a field of a spec, relative to `folder`. They have precedence over what was added before.
    ///
    /// # Errors
    /// A line that is no pattern.
    pub fn add_field(
        &mut self,
        field: &'static str,
        folder: &str,
        patterns: &str,
    ) -> Result<(), RenderError> {
        check_patterns(field, patterns)?;
        let name = field.to_owned();
        let matcher = matcher(folder, patterns).ok_or(RenderError::Patterns { name })?;
        self.0.0.insert(0, matcher);
        Ok(())
    }

    /// Whether a pattern leaves out the file at `path` itself, whatever becomes of the folders around it.
    #[must_use]
    pub fn names(&self, path: &str) -> bool {
        self.0.matches(path, false)
    }

    /// Whether a file below `root` is used: no pattern leaves it out, and no part of its path below `root` begins with
    /// a dot. Those are the settings of tools (`.github`, `.pre-commit-config.yaml`), and no pattern brings them back.
    #[must_use]
    pub fn keep(&self, path: &str, root: &str) -> bool {
        let is_shown = |rest: &str| !rest.split('/').any(|part| part.starts_with('.'));
        below(path, root).is_some_and(is_shown) && !self.0.is_ignored(path)
    }
}

/// The files under `root` that are manifests: `.yaml`, `.yml` and `.json` in lower case, which `ignores` keeps.
///
/// `root` is from the repository's root, empty for all of it. The order of the files is kept.
pub fn select(files: &[SourceFile], root: &str, ignores: &Ignores) -> Vec<SourceFile> {
    let root = root.trim_matches('/');
    let files = files.iter();
    files
        .filter(|file| below(&file.path, root).is_some_and(has_extension))
        .filter(|file| ignores.keep(&file.path, root))
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

/// The patterns of one ignore file or field, with its folder. Paths are matched below the folder, so that no path of this
/// machine is involved. As in Git, a line that is not a valid pattern is skipped.
fn matcher(folder: &str, patterns: &str) -> Option<(String, Gitignore)> {
    let mut builder = GitignoreBuilder::new("");
    for line in patterns.lines() {
        let _ = builder.add_line(None, line.trim_start_matches('\u{feff}'));
    }
    let folder = folder.trim_matches('/').to_owned();
    Some((folder, builder.build().ok()?))
}

/// Patterns by folder. The first with a match decides.
struct Matchers(Vec<(String, Gitignore)>);

impl Matchers {
    /// As in Git, an ignored folder is not entered, so no pattern can include a file below it.
    fn is_ignored(&self, path: &str) -> bool {
        let folders = path.match_indices('/').map(|(at, _)| (&path[..at], true));
        folders
            .chain([(path, false)])
            .any(|(path, is_folder)| self.matches(path, is_folder))
    }

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
        chosen_with(paths, root, ignores, &[])
    }

    fn chosen_with(
        paths: &[&str],
        root: &str,
        ignores: &[(&str, &str)],
        fields: &[(&str, &str)],
    ) -> Vec<String> {
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
        let mut all = Ignores::of_files(&ignores).unwrap();
        for (folder, patterns) in fields {
            all.add_field("spec.ignore", folder, patterns).unwrap();
        }
        select(&files, root, &all)
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
    fn fields_have_precedence_over_files_and_the_later_field_over_the_earlier() {
        let all = ["a.yaml", "apps/a.yaml", "apps/b.yaml", "apps/x/a.yaml"];
        /// Files, fields, and the remaining paths.
        type Case<'a> = (
            &'a [(&'a str, &'a str)],
            &'a [(&'a str, &'a str)],
            &'a [&'a str],
        );
        let cases: [Case<'_>; 8] = [
            (
                &[],
                &[("", "/*\n!/apps")],
                &["apps/a.yaml", "apps/b.yaml", "apps/x/a.yaml"],
            ),
            (
                &[],
                &[("", "apps/x"), ("apps", "/a.yaml")],
                &["a.yaml", "apps/b.yaml"],
            ),
            // A field brings back what a file leaves out, also what a deeper file does.
            (
                &[("", "a.yaml")],
                &[("", "!/apps/a.yaml")],
                &["apps/a.yaml", "apps/b.yaml"],
            ),
            (&[("apps/x", "*")], &[("", "!a.yaml")], &all),
            (&[("", "apps")], &[("", "!apps")], &all),
            // The Sync's field brings back what the source's leaves out.
            (
                &[],
                &[("", "a.yaml"), ("apps", "!a.yaml")],
                &["apps/a.yaml", "apps/b.yaml", "apps/x/a.yaml"],
            ),
            (
                &[],
                &[("", "!a.yaml"), ("apps", "a.yaml")],
                &["a.yaml", "apps/b.yaml"],
            ),
            // A file below a folder that is left out cannot be brought back, as in Git.
            (&[], &[("", "apps"), ("apps", "!a.yaml")], &["a.yaml"]),
        ];
        for (files, fields, wanted) in cases {
            assert_eq!(
                chosen_with(&all, "", files, fields),
                wanted,
                "{files:?} {fields:?}"
            );
        }
    }

    #[test]
    fn a_line_of_a_field_that_is_no_pattern_is_an_error_with_its_line() {
        for good in [
            "",
            "# [\n\n*.yaml\r\n!a\n\\#b\n/x/**/y\na b\n[ab]c",
            "\u{e4}*",
        ] {
            assert_eq!(check_patterns("spec.ignore", good), Ok(()), "{good:?}");
        }
        for (bad, line) in [("[z-a]", 1), ("a\n\nb/[z-a]\n", 3), ("a\n{b", 2)] {
            let error = check_patterns("spec.ignore", bad).unwrap_err();
            assert_eq!(error.line, line, "{error}");
            assert!(
                error.to_string().starts_with("spec.ignore, line "),
                "{error}"
            );
        }
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
        let error = IgnoreBudget::default()
            .charge("spec.ignore", &long)
            .unwrap_err();
        assert!(error.to_string().contains("spec.ignore"), "{error}");
    }

    /// Each wildcard takes about a kilobyte while patterns are read, however long its line is.
    #[test]
    fn wildcards_of_all_ignore_files_have_a_budget() {
        for (pattern, count, fits) in [
            ("*.yaml\n", 1_900, true),
            ("**/a*/[bc]?.{yaml,yml}\n", 1_900, true),
            ("aaaaaaaa", 30_000, true),
            ("*", MAX_WILDCARDS, true),
            ("*", MAX_WILDCARDS + 1, false),
            ("?", 200_000, false),
            ("**/", 20_000, false),
            ("[a]", 20_000, false),
            ("{a}", 20_000, false),
        ] {
            let text = pattern.repeat(count);
            let charged = IgnoreBudget::default().charge("spec.ignore", text.as_bytes());
            assert_eq!(charged.is_ok(), fits, "{pattern} {count}");
        }
        let mut budget = IgnoreBudget::default();
        let half = "*".repeat(MAX_WILDCARDS / 2 + 1);
        budget.charge("a/.towlineignore", half.as_bytes()).unwrap();
        let error = budget.charge("b/.towlineignore", half.as_bytes());
        let message = error.unwrap_err().to_string();
        assert!(message.contains("wildcards"), "{message}");
    }
}
