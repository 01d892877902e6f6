//! Files behind the words of a renderer, which it does not name: what it read says where to look.

use super::Reads;
use crate::content::{BlobId, Tree};
use crate::manifest;
use crate::render::lists;
use crate::text::printable;

/// The most files that are looked into.
const MOST_LOOKED_INTO: usize = 1_000;

/// The most files that a message names.
const MOST_NAMED: usize = 4;

/// The first line of a pointer to a file on a Git LFS server.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The longest name of an object, in bytes. A longer one would take long to look for.
const LONGEST_NAME: usize = 253;

/// What kustomize says of an object that two of its resources have.
const TWICE: &str = "already registered id: ";

/// The first file that is a pointer to a file on a Git LFS server.
pub(super) fn pointer(reads: &Reads, tree: &dyn Tree) -> Option<String> {
    first(reads, tree, |text| text.starts_with(LFS))
}

/// The first file with a merge conflict that was committed, if a renderer could not read a file.
pub(super) fn conflict(message: &str, reads: &Reads, tree: &dyn Tree) -> Option<String> {
    let is_about_form = message.to_ascii_lowercase().contains("yaml") || message.contains("parse");
    is_about_form.then(|| first(reads, tree, manifest::has_merge_markers))?
}

/// The largest file that is looked into for long lists, and all of these together, in bytes.
const LARGEST: usize = 8 << 20;
const LARGEST_TOGETHER: usize = 32 << 20;

/// The lists over which kustomize may take too long, with their files. The last file that it read has nothing to do with them:
/// it reads all before it merges anything.
pub(super) fn long_lists(reads: &Reads, tree: &dyn Tree) -> Option<String> {
    let mut left = LARGEST_TOGETHER;
    let files = reads.files().take(MOST_LOOKED_INTO);
    let found = files.filter_map(|(path, blob)| {
        let text = tree.read(blob).ok()?;
        if !(lists::SHORTEST..=LARGEST.min(left)).contains(&text.len()) {
            return None;
        }
        left -= text.len();
        let documents = manifest::documents(&text).ok()?;
        let list = lists::long_list_in(documents.iter().map(|document| &document.value))?;
        Some(format!("in {} {list}", printable(path)))
    });
    let found: Vec<String> = found.take(MOST_NAMED).collect();
    (!found.is_empty()).then(|| found.join(", "))
}

fn first(reads: &Reads, tree: &dyn Tree, is_it: impl Fn(&[u8]) -> bool) -> Option<String> {
    let mut files = reads.files().take(MOST_LOOKED_INTO);
    let is_it = |blob: BlobId| tree.read(blob).is_ok_and(|text| is_it(&text));
    let (path, _) = files.find(|(_, blob)| is_it(*blob))?;
    Some(printable(path))
}

/// Where the object is that kustomize found twice: it names the second file only.
pub(super) fn twins(message: &str, reads: &Reads, tree: &dyn Tree) -> Option<String> {
    let id = Id::in_words(message)?;
    let files = reads.files().take(MOST_LOOKED_INTO);
    let places = files.filter_map(|(path, blob)| {
        let count = id.count_in(&tree.read(blob).ok()?);
        let path = printable(path);
        match count {
            0 => None,
            1 => Some((1, path)),
            count => Some((count, format!("{path}, {count} times"))),
        }
    });
    let found: Vec<(usize, String)> = places.take(MOST_NAMED).collect();
    let count: usize = found.iter().map(|(count, _)| count).sum();
    let named: Vec<String> = found.into_iter().map(|(_, place)| place).collect();
    (count > 1).then(|| named.join(" and in "))
}

/// An object as kustomize writes it: `Deployment.v1.apps/web.shop`.
#[derive(Debug, PartialEq, Eq)]
struct Id<'m> {
    kind: &'m str,
    name: &'m str,
    namespace: Option<&'m str>,
}

impl<'m> Id<'m> {
    fn in_words(message: &'m str) -> Option<Self> {
        let (_, rest) = message.split_once(TWICE)?;
        let id = rest.split(['\'', '"', ' ', '\n']).next()?;
        let (kind, rest) = id.trim_end_matches([':', ';']).rsplit_once('/')?;
        let (name, namespace) = rest.rsplit_once('.')?;
        (name.len() <= LONGEST_NAME).then_some(())?;
        Some(Self {
            kind: kind.split('.').next()?,
            name,
            namespace: (namespace != "[noNs]").then_some(namespace),
        })
    }

    /// How often a text has the object. A file may leave the namespace to its kustomization.
    fn count_in(&self, text: &[u8]) -> usize {
        let name = self.name.as_bytes();
        if name.is_empty() || !text.windows(name.len()).any(|part| part == name) {
            return 0;
        }
        let documents = manifest::documents(text).unwrap_or_default();
        let is_it = |document: &&manifest::Document| {
            let value = &document.value;
            let namespace = value["metadata"]["namespace"].as_str();
            value["kind"] == self.kind
                && value["metadata"]["name"] == self.name
                && (namespace.is_none() || namespace == self.namespace)
        };
        documents.iter().filter(is_it).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::testing::Files;

    fn reads(tree: &dyn Tree, files: &[&str]) -> Reads {
        let mut reads = Reads::default();
        for file in files {
            let _ = reads.record(tree, file);
        }
        reads
    }

    #[test]
    fn both_files_with_an_object_are_named() {
        let object = |name: &str, namespace: &str| {
            format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}{namespace}}}\n")
        };
        let tree = Files::of([
            ("a.yaml", object("web", "")),
            ("b/b.yaml", object("web", ", namespace: shop")),
            ("other.yaml", object("web", ", namespace: other")),
            ("patch.yaml", object("web-2", "")),
            ("twice.yaml", format!("{0}---\n{0}", object("db", ""))),
            ("broken.yaml", "web: [\n".to_owned()),
        ]);
        let all = [
            "a.yaml",
            "b/b.yaml",
            "other.yaml",
            "patch.yaml",
            "twice.yaml",
            "broken.yaml",
            "absent.yaml",
        ];
        let reads = reads(&*tree, &all);
        let said = |id: &str| {
            let message = format!(
                "accumulation err='merging resources from 'b/b.yaml': may not add resource with an already registered id: {id}': x"
            );
            twins(&message, &reads, &*tree)
        };
        let both = Some("a.yaml and in b/b.yaml".to_owned());
        assert_eq!(said("ConfigMap.v1.[noGrp]/web.shop"), both);
        assert_eq!(
            said("ConfigMap.v1.[noGrp]/db.[noNs]"),
            Some("twice.yaml, 2 times".to_owned())
        );
        // A prefix that a kustomization adds is not in the files.
        assert_eq!(said("ConfigMap.v1.[noGrp]/x-web.shop"), None);
        assert_eq!(said("Deployment.v1.apps/web.shop"), None);
        assert_eq!(said("nothing of it"), None);
    }

    #[test]
    fn an_object_is_read_from_the_words_of_kustomize() {
        for (words, wanted) in [
            (
                "Deployment.v1.apps/web.shop'",
                ("Deployment", "web", Some("shop")),
            ),
            (
                "CustomResourceDefinition.v1.apiextensions.k8s.io/a.example.org.[noNs]: x",
                ("CustomResourceDefinition", "a.example.org", None),
            ),
        ] {
            let message = format!("may not add resource with an {TWICE}{words}");
            let id = Id::in_words(&message).unwrap();
            assert_eq!((id.kind, id.name, id.namespace), wanted);
        }
    }

    #[test]
    fn a_name_that_no_object_can_have_is_not_looked_for() {
        let message = |length| format!("{TWICE}ConfigMap.v1.[noGrp]/{}.[noNs]", "a".repeat(length));
        assert!(Id::in_words(&message(LONGEST_NAME)).is_some());
        assert!(Id::in_words(&message(LONGEST_NAME + 1)).is_none());
    }

    #[test]
    fn files_with_long_lists_are_named() {
        let list = |count: usize| {
            format!(
                "kind: Pod\nspec:\n  env:\n{}",
                "  - {name: a}\n".repeat(count)
            )
        };
        let tree = Files::of([
            ("a.yaml", list(2_000)),
            ("b.yaml", list(2_001)),
            ("patch.yaml", list(1)),
        ]);
        let named = |files: &[&str]| long_lists(&reads(&*tree, files), &*tree);
        let long = Some("in b.yaml spec.env has 2001 entries".to_owned());
        assert_eq!(named(&["a.yaml", "b.yaml", "patch.yaml"]), long);
        assert_eq!(named(&["a.yaml", "patch.yaml"]), None);
    }

    #[test]
    fn a_file_with_a_merge_conflict_is_named() {
        let tree = Files::of([
            ("a.yaml", "a: 1\n"),
            ("b.yaml", "<<<<<<< HEAD\na: 1\n=======\na: 2\n>>>>>>> x\n"),
        ]);
        let reads = reads(&*tree, &["a.yaml", "b.yaml"]);
        let said = |message: &str| conflict(message, &reads, &*tree);
        assert_eq!(
            said("MalformedYAMLError: yaml: line 3"),
            Some("b.yaml".to_owned())
        );
        assert_eq!(said("no such patch"), None);
    }
}
