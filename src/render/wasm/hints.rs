//! Where to look when a render fails: what is added to the words of renderers.

use super::{Chart, Failed, Reads, RenderFailure, culprits};
use crate::content::Tree;
use crate::render::Patches;
use crate::text::printable;

/// Adds the files that kustomize does not name: patches that its words are about, or the kustomization and the last file that it
/// read. `root` is the folder that is built.
pub(super) fn where_to_look(mut failed: Box<Failed>, root: &str, patches: &Patches) -> Box<Failed> {
    let RenderFailure::Refused { message, .. } = &mut failed.failure else {
        return failed;
    };
    *message = without_addresses(&without_second_try(message));
    // It begins with the file already.
    let place = message.split_once(": ").map_or("", |(place, _)| place);
    if failed.reads.files().any(|(path, _)| path == place) {
        return failed;
    }
    let named = patches.named_in(message);
    let words = match (&*named, &failed.last) {
        ([], Some(last)) if !message.contains(&**last) => {
            let mut words = String::new();
            if let Some(file) = kustomization(message, root, &failed.reads)
                && file != last
                && !message.contains(file)
            {
                words = format!("; the kustomization is {}", printable(file));
            }
            words + &format!("; the last file that it read is {}", printable(last))
        }
        ([one], _) if !message.contains(&**one) => format!("; the patch is in {one}"),
        ([_, _, ..], _) => format!("; the patch is in one of {}", named.join(", ")),
        _ => return failed,
    };
    failed.failure.add(&words);
    failed
}

/// The kustomization that kustomize was at: its words name the folders on the way there, the last one at the end.
fn kustomization<'r>(message: &str, root: &str, reads: &'r Reads) -> Option<&'r str> {
    const FOLDERS: [&str; 2] = [
        "recursed accumulation of path '",
        "couldn't make target for path '",
    ];
    let places = FOLDERS.iter().filter_map(|words| {
        let at = message.rfind(words)? + words.len();
        let end = message[at..].find('\'')?;
        Some((at, &message[at..at + end]))
    });
    let folder = places.max().map_or(root, |(_, folder)| folder);
    let mut files = reads.files().map(|(path, _)| path);
    files.find(|path| {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        parent == folder.trim_start_matches("./").trim_matches(['/', '.'])
            && matches!(
                name,
                "kustomization.yaml" | "kustomization.yml" | "Kustomization"
            )
    })
}

/// kustomize's words without the addresses of its generators in memory.
fn without_addresses(message: &str) -> String {
    const FROM: &str = "generator &{0x";
    let Some((before, after)) = message.split_once(FROM) else {
        return message.to_owned();
    };
    let after = after.split_once('}').map_or("", |(_, after)| after);
    format!("{before}a generator{after}")
}

/// Names the long lists behind a render that takes too much, in place of the last file that kustomize read.
pub(super) fn which_lists(mut failed: Box<Failed>, tree: &dyn Tree) -> Box<Failed> {
    if failed.failure.is_excess()
        && let Some(lists) = culprits::long_lists(&failed.reads, tree)
    {
        failed
            .failure
            .blame(format!("; what it merges may be too long: {lists}"));
    }
    failed
}

/// kustomize's words without the second of two errors: it tries what it cannot read as a file as a folder, and tells both.
fn without_second_try(message: &str) -> String {
    const FROM: &str = ": must build at directory: '";
    const TO: &str = "': file is not directory";
    let mut left = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(FROM) {
        let after = &rest[at + FROM.len()..];
        let end = after.find('\'').filter(|end| after[*end..].starts_with(TO));
        let Some(end) = end else {
            left.push_str(&rest[..at + FROM.len()]);
            rest = after;
            continue;
        };
        left.push_str(&rest[..at]);
        rest = &after[end + TO.len()..];
    }
    left + rest
}

/// kustomize's words without the entries of a generator, which may be values of a Secret: one that is wrong makes it tell all.
/// This comes before the text is shortened: afterwards, where they begin or end may be gone. If their end is missing, all that
/// follows is left out.
pub(super) fn without_entries(message: &str) -> String {
    let message = without_files(&without_literals(message));
    // A line of a file of variables, as numbers and as text.
    match message.find("line [") {
        Some(at) if message[at..].contains(NOT_TEXT) => {
            format!(
                "{}a line of a file of variables is not UTF-8",
                &message[..at]
            )
        }
        _ => message,
    }
}

const NOT_TEXT: &str = "] has invalid utf8 bytes";

fn without_literals(message: &str) -> String {
    const ALL: &str = "literal sources [";
    const WHY: &str = ", expected key=value";
    let Some(from) = message.find(ALL) else {
        return message.to_owned();
    };
    let end = message.rfind(WHY).filter(|why| from < *why);
    let after = end.map_or("", |why| &message[why + WHY.len()..]);
    let before = &message[..from];
    format!("{before}literals: an entry is not KEY=value{after}")
}

/// Somebody may write a literal among the files. A path that does not exist is told.
fn without_files(message: &str) -> String {
    const ALL: &str = "file sources: [";
    /// What kustomize says of an entry, which it quotes at the end or before.
    const WRONG: [(&str, &str); 3] = [
        ("\" key name or file path contains '='", ""),
        ("missing key name for file path \"", "\""),
        ("missing file path for key name \"", "\""),
    ];
    let Some(from) = message.find(ALL) else {
        return message.to_owned();
    };
    let (before, said) = (&message[..from], &message[from..]);
    for (words, quote) in WRONG {
        if let Some(at) = said.rfind(words) {
            let end = match quote {
                "" => Some(at + words.len()),
                quote => said.rfind(quote).map(|at| at + quote.len()),
            };
            let after = end.map_or("", |end| &said[end..]);
            return format!("{before}files: an entry is neither a path nor KEY=path{after}");
        }
    }
    let after = said.rfind("]: ").map_or("", |at| &said[at + "]: ".len()..]);
    format!("{before}files: {after}")
}

/// Words of Go's libraries that say nothing to those who write YAML, and what they mean.
const EXPLAINED: [(&str, &str); 6] = [
    (
        "unsupported type: map[interface {}]interface {}",
        " (a key of a mapping is a number or a boolean: quote it)",
    ),
    (
        "invalid map key: map[",
        " (braces begin a mapping in YAML: quote the text; a template of Helm belongs into a chart)",
    ),
    (
        "missing Resource metadata",
        " (it lacks apiVersion, kind or metadata)",
    ),
    (
        "into Go value of type util.SimpleHead",
        " (it renders no mapping with apiVersion and kind)",
    ),
    (
        "into Go value of type map[string]interface {}",
        " (it is no mapping)",
    ),
    (
        "HTTP request failed",
        " (a renderer has no network: copy what it asks for into the repository)",
    ),
];

fn explained(message: &str) -> &'static str {
    let mut known = EXPLAINED.iter();
    let found = known.find(|(words, _)| message.contains(words));
    found.map_or("", |(_, meaning)| *meaning)
}

const POINTER: &str = "is a Git LFS pointer";

const CONFLICT: &str = "has a merge conflict that was committed";

/// Adds what the words of a renderer mean, and the files behind them that it does not name.
pub(super) fn what_it_means(mut failed: Box<Failed>, tree: &dyn Tree) -> Box<Failed> {
    let RenderFailure::Refused { message, .. } = &mut failed.failure else {
        return failed;
    };
    // What Helm says within a build of kustomize is explained already.
    if [POINTER, CONFLICT]
        .iter()
        .any(|words| message.contains(words))
    {
        return failed;
    }
    let meaning = explained(message);
    if !message.contains(meaning) {
        message.push_str(meaning);
    }
    let reads = &failed.reads;
    if let Some(file) = culprits::pointer(reads, tree) {
        message.push_str(&format!(
            "; {file} {POINTER}, and its content is not in the repository: commit the file itself"
        ));
    } else if let Some(file) = culprits::conflict(message, reads, tree) {
        message.push_str(&format!("; {file} {CONFLICT}"));
    } else if let Some(places) = culprits::twins(message, reads, tree) {
        message.push_str(&format!("; the object is in {places}"));
    }
    failed
}

/// The most templates that are named where one of a chart takes too much.
const MAX_NAMED: usize = 3;

/// Adds the templates that may go on without an end: those that count.
pub(super) fn which_templates(
    mut failed: Box<Failed>,
    chart: &Chart,
    tree: &dyn Tree,
) -> Box<Failed> {
    if !failed.failure.is_excess() {
        return failed;
    }
    // Also those of its sub-charts.
    let is_template = |path: &str| {
        let inside = path.strip_prefix(&*chart.path).unwrap_or_default();
        inside.split('/').any(|part| part == "templates")
    };
    let named = |is_slow: fn(&str) -> bool| {
        let templates = failed.reads.files().filter(|(path, _)| is_template(path));
        let places = templates.filter_map(|(path, blob)| {
            let text = tree.read(blob).ok()?;
            let text = String::from_utf8_lossy(&text);
            let line = text.lines().position(is_slow)?;
            Some(format!("{} line {}", printable(path), line + 1))
        });
        places.take(MAX_NAMED).collect::<Vec<_>>().join(", ")
    };
    let mut words = match chart.path.as_str() {
        "" => String::new(),
        path => format!("; the chart is {}", printable(path)),
    };
    match &*named(makes_dsa_key) {
        "" => (),
        places => {
            words += &format!(
                "; templates that make a DSA key, which takes very long: {places}: let genPrivateKey make \"rsa\", \"ecdsa\" or \
                 \"ed25519\""
            );
        }
    }
    match &*named(counts) {
        "" => (),
        places => words += &format!("; templates that count: {places}"),
    }
    failed.failure.add(&words);
    failed
}

/// Whether a line of a template may go on without an end.
fn counts(line: &str) -> bool {
    has_word(line, |word| {
        matches!(word, "until" | "untilStep" | "seq" | "repeat")
    })
}

/// Whether a line of a template makes a DSA key. Its numbers are searched with the arithmetic of Go in WebAssembly, and how
/// long that takes is a matter of luck.
fn makes_dsa_key(line: &str) -> bool {
    has_word(line, |word| word == "genPrivateKey") && has_word(line, |word| word == "dsa")
}

fn has_word(line: &str, is_it: impl Fn(&str) -> bool) -> bool {
    let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
    line.contains("{{") && words.any(is_it)
}

/// Adds where the values of a chart are.
pub(super) fn which_values(mut failed: Box<Failed>, chart: &Chart) -> Box<Failed> {
    let names = chart
        .values
        .iter()
        .map(|values| match values.file.is_empty() {
            true => &*values.name,
            false => &*values.file,
        });
    let names: Vec<_> = names.collect();
    if let RenderFailure::Refused { message, .. } = &failed.failure
        && !names.is_empty()
        && !names.iter().any(|name| message.contains(name))
    {
        let words = format!("; with values of {}", printable(&names.join(", ")));
        failed.failure.add(&words);
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::testing::Files;

    #[test]
    fn the_second_of_two_tries_of_kustomize_is_left_out() {
        for (message, left) in [
            (
                "accumulating resources: accumulation err='merging resources from 'b.yaml': may not add resource with an already \
                 registered id: ConfigMap.v1.[noGrp]/a.d': must build at directory: 'k/b.yaml': file is not directory",
                "accumulating resources: accumulation err='merging resources from 'b.yaml': may not add resource with an already \
                 registered id: ConfigMap.v1.[noGrp]/a.d'",
            ),
            (
                "a': must build at directory: 'x': file is not directory: b': must build at directory: 'y': file is not directory",
                "a': b'",
            ),
            (
                "a: must build at directory: 'x': other",
                "a: must build at directory: 'x': other",
            ),
            ("nothing of it", "nothing of it"),
        ] {
            assert_eq!(without_second_try(message), left);
        }
    }

    #[test]
    fn the_kustomization_is_the_last_one_on_the_way() {
        let paths = [
            "app/kustomization.yaml",
            "base/Kustomization",
            "base/web.yaml",
            "kustomization.yml",
        ];
        let tree = Files::of(paths.map(|path| (path, "")));
        let mut reads = Reads::default();
        for path in paths {
            let _ = reads.record(&*tree, path);
        }
        for (message, root, wanted) in [
            ("no matches", "app", "app/kustomization.yaml"),
            ("no matches", "", "kustomization.yml"),
            (
                "accumulation err='a': recursed accumulation of path 'base': x",
                "app",
                "base/Kustomization",
            ),
            (
                "recursed accumulation of path 'base': couldn't make target for path 'app': x",
                "",
                "app/kustomization.yaml",
            ),
        ] {
            assert_eq!(
                kustomization(message, root, &reads),
                Some(wanted),
                "{message}"
            );
        }
        let none = kustomization("recursed accumulation of path 'x': y", "app", &reads);
        assert_eq!(none, None);
    }

    #[test]
    fn addresses_are_left_out() {
        assert_eq!(
            without_addresses("merging from generator &{0x171c270 0x1708680}: id x exists"),
            "merging from a generator: id x exists"
        );
        assert_eq!(without_addresses("nothing of it"), "nothing of it");
    }

    #[test]
    fn entries_of_a_generator_are_left_out() {
        const LITERAL: &str = "literals: an entry is not KEY=value";
        const FILE: &str = "files: an entry is neither a path nor KEY=path";
        for (message, left) in [
            (
                "loading KV pairs: literal sources [a=hunter2 b]: invalid literal source b, expected key=value; more",
                format!("loading KV pairs: {LITERAL}; more"),
            ),
            (
                "literal sources [x]: invalid literal source y, expected key=value]: invalid literal source z, expected key=value",
                LITERAL.to_owned(),
            ),
            (
                "of a: literal sources [hunter2 hunter3",
                format!("of a: {LITERAL}"),
            ),
            (
                "loading KV pairs: file sources: [a=b=hunter2]: source \"a=b=hunter2\" key name or file path contains '='; more",
                format!("loading KV pairs: {FILE}; more"),
            ),
            (
                "of a: file sources: [=hunter2]: missing key name for file path \"hunter2\" in source \"=hunter2\"': more",
                format!("of a: {FILE}': more"),
            ),
            (
                "file sources: [hunter2=]: missing file path for key name \"hunter2\" in source \"hunter2=\"",
                FILE.to_owned(),
            ),
            (
                "file sources: [none.ini a=b=hunter2]: evalsymlink failure on 'none.ini' : file does not exist",
                "files: evalsymlink failure on 'none.ini' : file does not exist".to_owned(),
            ),
            ("of a: file sources: [hunter2", "of a: files: ".to_owned()),
            (
                "env source files: [a.env]: line [104 117 255] has invalid utf8 bytes : hu\u{fffd}",
                "env source files: [a.env]: a line of a file of variables is not UTF-8".to_owned(),
            ),
            ("nothing of it", "nothing of it".to_owned()),
        ] {
            assert_eq!(without_entries(message), left);
        }
    }

    #[test]
    fn words_of_go_are_explained() {
        let explained = |words: &str| explained(words).contains("quote");
        assert!(explained(
            "json: unsupported type: map[interface {}]interface {}"
        ));
        assert!(explained(
            "yaml: invalid map key: map[string]interface {}{\".Values.x\":\"\"}"
        ));
        assert!(!explained("yaml: line 3: did not find expected key"));
    }

    #[test]
    fn lines_that_may_take_very_long_are_known() {
        assert!(counts("{{ range until 100000 }}"));
        assert!(!counts("# until 100000"));
        assert!(makes_dsa_key("key: {{ genPrivateKey \"dsa\" | b64enc }}"));
        assert!(!makes_dsa_key("key: {{ genPrivateKey \"ecdsa\" }}"));
        assert!(!makes_dsa_key("kind: {{ \"dsa\" }}"));
    }
}
