//! The documentation: README.md, CHANGELOG.md and `docs/`. Checks sizes, links, and that every page can
//! be found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// The size limit of the front page in bytes.
const FRONT_PAGE: usize = 8 << 10;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of this repository.
pub fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every page, by its path from the repository's root.
pub fn all() -> BTreeMap<String, String> {
    let mut folders = vec![root().join("docs")];
    let mut paths = vec!["README.md".to_owned(), "CHANGELOG.md".to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                let path = path.strip_prefix(root()).unwrap();
                paths.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    let pages = paths.into_iter().map(|path| (text(&path), path));
    pages.map(|(text, path)| (path, text)).collect()
}

/// The fenced blocks of a language.
pub fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let begun = text.split(&fence).skip(1);
    begun
        .map(|rest| rest.split("```").next().unwrap().to_owned())
        .collect()
}

/// The lines outside of fenced blocks.
pub fn prose(text: &str) -> String {
    let outside = text.split("```").step_by(2);
    outside.collect()
}

/// The text in backticks, outside of fenced blocks.
pub fn quoted(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    prose
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The headings of a page, without their marks.
pub fn headings(text: &str) -> Vec<String> {
    let lines = prose(text);
    let headings = lines.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| line.trim_start_matches('#').trim().to_owned())
        .collect()
}

/// The anchors of a page, which GitHub and GitLab derive from its headings.
pub fn anchors(text: &str) -> BTreeSet<String> {
    let anchors = headings(text).into_iter().map(|heading| {
        let kept = heading.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
        });
        kept.collect()
    });
    anchors.collect()
}

/// The targets of a page's links, outside of fenced blocks and code.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let without_code: String = prose.split('`').step_by(2).collect();
    let links = without_code
        .split("](")
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap().to_owned());
    links.collect()
}

/// The path of a relative link's target, from the repository's root.
fn resolved(page: &str, link: &str) -> String {
    let mut path: PathBuf = Path::new(page).parent().unwrap().to_owned();
    for part in Path::new(link).components() {
        match part {
            Component::ParentDir => assert!(path.pop(), "{page}: {link} leaves the repository"),
            Component::Normal(name) => path.push(name),
            _ => {}
        }
    }
    path.to_str().unwrap().to_owned()
}

/// Panics unless the target of `link` exists. `link` is a path on the page `page`, with or without an
/// anchor.
pub fn assert_leads_somewhere(pages: &BTreeMap<String, String>, page: &str, link: &str) {
    let (path, anchor) = match link.split_once('#') {
        Some((path, anchor)) => (path, Some(anchor)),
        None => (link, None),
    };
    let target = match path {
        "" => page.to_owned(),
        path => resolved(page, path),
    };
    assert!(
        root().join(&target).exists(),
        "{page}: {link} leads nowhere"
    );
    if let Some(anchor) = anchor {
        let text = pages
            .get(&target)
            .unwrap_or_else(|| panic!("{page}: {link} does not lead to a page"));
        assert!(
            anchors(text).contains(anchor),
            "{page}: {target} has no heading for #{anchor}"
        );
    }
}

fn is_relative(link: &str) -> bool {
    !link.contains("://")
}

#[test]
fn the_front_page_is_short() {
    let size = text("README.md").len();
    assert!(size <= FRONT_PAGE, "{size} bytes: move detail into docs/");
}

#[test]
fn every_link_leads_somewhere() {
    let pages = all();
    let mut checked = 0;
    for (page, text) in &pages {
        for link in links(text).iter().filter(|link| is_relative(link)) {
            assert_leads_somewhere(&pages, page, link);
            checked += 1;
        }
    }
    assert!(checked > 80, "{checked} links found");
}

/// The index names every page, and the front page names the index.
#[test]
fn every_page_is_in_the_index() {
    let index = text("docs/README.md");
    let named: BTreeSet<String> = links(&index)
        .iter()
        .filter(|link| is_relative(link))
        .map(|link| resolved("docs/README.md", link.split('#').next().unwrap()))
        .collect();
    for page in all().into_keys().filter(|page| page != "docs/README.md") {
        assert!(named.contains(&page), "docs/README.md does not name {page}");
    }
    let from_the_front = links(&text("README.md"));
    let is_index = |link: &String| link.starts_with("docs/README.md");
    assert!(from_the_front.iter().any(is_index));
}

/// Two headings with the same text would share an anchor.
#[test]
fn no_page_has_a_heading_twice() {
    for (page, text) in all() {
        let headings = headings(&text);
        let distinct: BTreeSet<&String> = headings.iter().collect();
        assert_eq!(headings.len(), distinct.len(), "{page}: {headings:?}");
    }
}

/// Files and folders that the pages name in backticks exist.
#[test]
fn every_named_path_exists() {
    let folders = [
        "src/",
        "deploy/",
        "crds/",
        "tests/",
        "docs/",
        "examples/",
        "fuzz/",
        ".ci/",
    ];
    for (page, text) in all() {
        for path in quoted(&text) {
            let is_path = folders.iter().any(|folder| path.starts_with(folder));
            assert!(
                !is_path || root().join(&path).exists(),
                "{page}: {path} does not exist"
            );
        }
    }
}

/// The code map names every room, and nothing else: each is a folder of `src/`.
#[test]
fn the_code_map_has_every_room() {
    let page = text("docs/architecture.md");
    let (_, map) = page.split_once("\n| Room | ").unwrap();
    let (map, _) = map.split_once("\n\n").unwrap();
    let rows = map.lines().filter_map(|line| line.strip_prefix("| `"));
    let named: BTreeSet<String> = rows
        .map(|row| row.split('`').next().unwrap().to_owned())
        .collect();
    let folders = fs::read_dir(root().join("src")).unwrap();
    let folders = folders
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir());
    let rooms: BTreeSet<String> = folders
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(named, rooms);
}
