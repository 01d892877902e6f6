//! Which commits come before a revision, as far as it is known without their history. Pure.

/// The most commits that are kept.
const MOST: usize = 10;

/// The commits that come before a revision with these parents. `before` is the revision that was there until now, and
/// `known` are those that come before that one.
pub(super) fn ancestors(parents: &[String], before: Option<&str>, known: &[String]) -> Vec<String> {
    let commit = before.and_then(|before| before.rsplit(':').next());
    let follows = commit.is_some_and(|commit| parents.iter().any(|parent| parent == commit));
    let older = if follows { known } else { &[] };
    let mut all: Vec<String> = Vec::new();
    for commit in parents.iter().chain(older) {
        if all.len() < MOST && !all.contains(commit) {
            all.push(commit.clone());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_follows_the_last_revision_has_its_ancestors() {
        for (parents, before, known, all) in [
            (&["b"][..], Some("main@sha1:b"), &["a"][..], &["b", "a"][..]),
            // A merge of what was there.
            (
                &["b", "x"],
                Some("main@sha1:b"),
                &["a", "x"],
                &["b", "x", "a"],
            ),
            // Several commits at once, or another history.
            (&["c"], Some("main@sha1:b"), &["a"], &["c"]),
            (&["c"], None, &["a"], &["c"]),
            (&[], Some("main@sha1:b"), &["a"], &[]),
        ] {
            let is = ancestors(&named(parents), before, &named(known));
            assert_eq!(is, named(all), "{parents:?} after {before:?}");
        }
        let known: Vec<String> = (0..MOST).map(|number| number.to_string()).collect();
        let all = ancestors(&named(&["n"]), Some("main@sha1:n"), &known);
        assert_eq!((all.len(), &*all[0]), (MOST, "n"));
    }
}
