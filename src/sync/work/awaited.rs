//! What has left a Sync stays while others want it, or cannot say whether they do. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use crate::content::{SourceFile, Tree};
use crate::manifest::ObjectKey;
use crate::plan::SyncName;
use crate::text::listing;

/// The most objects, and Syncs, that a message names.
const NAMED: usize = 3;

/// Whether a folder of plain manifests is the same in two revisions. What an overlay or a chart is made of may be elsewhere.
fn is_same_folder(one: &dyn Tree, other: &dyn Tree, path: &str) -> bool {
    let identity = |tree: &dyn Tree| tree.identity(path).ok();
    let identities = identity(one).zip(identity(other));
    if identities.is_none_or(|(one, other)| one != other) {
        return false;
    }
    let is_made = |file: &SourceFile| {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        matches!(
            name,
            "kustomization.yaml" | "kustomization.yml" | "Kustomization" | "Chart.yaml"
        )
    };
    let listed = other.list(path);
    listed.is_ok_and(|listed| listed.self_contained && !listed.files.iter().any(is_made))
}

/// Whether something with one of these names may have moved to a folder between two revisions, or may have been there already.
pub(super) fn may_have_moved_to(
    folder: &str,
    (before, now): (&dyn Tree, &dyn Tree),
    names: &HashSet<Arc<str>>,
) -> bool {
    !is_same_folder(before, now, folder) || names_any(now, folder, names)
}

/// Whether a folder of plain manifests may ask for an object with one of these names: it has the name, or a name that only
/// a value makes whole. Nobody knows what such a Sync wanted before: its path may be new to it.
fn names_any(tree: &dyn Tree, path: &str, names: &HashSet<Arc<str>>) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || "-._:".contains(letter);
    if names.iter().any(|name| !name.chars().all(is_part)) {
        return true;
    }
    let is_named = |file: &SourceFile| {
        let text = tree.read(file.blob);
        let Some(text) = text.ok().and_then(|text| String::from_utf8(text).ok()) else {
            return true;
        };
        let mut words = text.split(|letter| !is_part(letter));
        text.contains("${") || text.contains("ENC[") || words.any(|word| names.contains(word))
    };
    let listed = tree.list(path);
    listed.map_or(true, |listed| listed.files.iter().any(is_named))
}

/// What people are told of objects that have left a Sync, while others cannot say whether they want them.
pub(super) fn unread_warning<'a>(
    keys: impl ExactSizeIterator<Item = &'a ObjectKey>,
    unread: &[SyncName],
) -> String {
    let total = keys.len();
    let objects = listing(keys.take(NAMED).map(ToString::to_string), total);
    let named = unread.iter().take(NAMED).map(ToString::to_string);
    let (syncs, those) = match unread.len() {
        1 => ("Sync", "that Sync"),
        _ => ("Syncs", "those Syncs"),
    };
    format!(
        "not pruned yet: {objects}; what has left this Sync may have moved to {syncs} {} of the same repository, which \
         cannot read the newest revision, or has not yet: if it says why, mend or delete {those}",
        listing(named, unread.len())
    )
}

/// What people are told of objects that have left a Sync, and that others will want.
pub(super) fn reserved_warning(reserved: &[(ObjectKey, SyncName)]) -> String {
    let named = reserved.iter().take(NAMED);
    let named = named.map(|(key, sync)| format!("{key} (for Sync {sync})"));
    format!(
        "moved to another Sync, which has not gone on to the newest revision yet: {}; until then, nobody changes or prunes it",
        listing(named, reserved.len())
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::testing::Files;
    use crate::manifest::GroupKind;

    #[test]
    fn what_waits_for_other_syncs_is_told_with_their_names() {
        let key = |name: &str| ObjectKey {
            kind: GroupKind::new("", "ConfigMap"),
            namespace: Some("a".into()),
            name: name.into(),
        };
        let keys = ["1", "2", "3", "4"].map(key);
        let (b, c) = (SyncName::new("a", "b"), SyncName::new("a", "c"));
        let one = unread_warning(keys[..1].iter(), std::slice::from_ref(&b));
        assert_eq!(
            one,
            "not pruned yet: ConfigMap a/1; what has left this Sync may have moved to Sync a/b of the same repository, \
             which cannot read the newest revision, or has not yet: if it says why, mend or delete that Sync"
        );
        let many = unread_warning(keys.iter(), &[b.clone(), c]);
        assert!(many.contains("ConfigMap a/3; and 1 more; what"), "{many}");
        assert!(many.contains("Syncs a/b; a/c of"), "{many}");
        let reserved = reserved_warning(&[(key("1"), b)]);
        assert!(
            reserved.contains("ConfigMap a/1 (for Sync a/b)"),
            "{reserved}"
        );
    }

    #[test]
    fn what_a_folder_may_ask_for_is_told_by_its_words() {
        let names = HashSet::from([Arc::from("web"), Arc::from("system:web.1")]);
        let named = |text: &str| {
            let tree = Files::of([("b/x.yaml", text), ("c/y.yaml", "name: web")]);
            may_have_moved_to("b", (&*tree, &*tree), &names)
        };
        for text in [
            "metadata: {name: web}",
            "metadata:\n  name: web # ours",
            r#"{"metadata":{"name":"web"}}"#,
            "name: 'system:web.1'",
            "name: ${APP}",
            "name: ENC[AES256_GCM,data:x]",
            "name: [web",
        ] {
            assert!(named(text), "{text}");
        }
        for text in [
            "name: web-2",
            "name: my.web",
            "name: [broken",
            "kind: Website",
        ] {
            assert!(!named(text), "{text}");
        }
        let odd = HashSet::from([Arc::from("an odd name")]);
        let tree = Files::of([("b/x.yaml", "name: other")]);
        assert!(may_have_moved_to("b", (&*tree, &*tree), &odd));
        let later = Files::of([("b/x.yaml", "name: another")]);
        assert!(may_have_moved_to("b", (&*tree, &*later), &names));
    }
}
