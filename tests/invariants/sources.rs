//! Parses the sources: which file names which path, without comments and without tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path such as `kube::Api` or `crate::plan::judge`, from its root, and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub path: Vec<String>,
    pub line: usize,
}

/// One file of `src`.
#[derive(Debug)]
pub struct Source {
    /// The path below `src`, such as `plan/mod.rs`.
    pub file: String,
    /// `[crate, plan]`
    pub module: Vec<String>,
    /// Every path that the file names outside of its tests. The first segment is a crate: names that a
    /// `use` imports are replaced by their full paths, and so are `self` and `super`.
    pub named: Vec<Named>,
    /// The lines outside of tests that read a field of a `spec`: `sync.spec.path`.
    pub specs: Vec<usize>,
    /// The text literals outside of tests and documentation.
    pub literals: Vec<(String, usize)>,
    /// Names that the file's `use` declarations introduce, with their full paths.
    pub aliases: BTreeMap<String, Vec<String>>,
    /// The submodules that the file declares (`mod name;`), including those of tests.
    pub declared: Vec<String>,
    /// Those of `declared` that are compiled for tests only.
    pub tests: Vec<String>,
}

/// Reads all files below `root` that belong to the program, without test modules.
pub fn read(root: &Path) -> Vec<Source> {
    let mut sources: Vec<Source> = rust_files(root)
        .iter()
        .map(|path| {
            let file = path.strip_prefix(root).unwrap().display().to_string();
            Source::parse(&file, &fs::read_to_string(path).unwrap())
        })
        .collect();
    let tests: Vec<Vec<String>> = sources
        .iter()
        .flat_map(|source| {
            let below = |name: &String| [&source.module[..], std::slice::from_ref(name)].concat();
            source.tests.iter().map(below)
        })
        .collect();
    sources.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    sources
}

/// All Rust files below a folder.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The module that a file is: `plan/mod.rs` and `plan.rs` are `crate::plan`.
fn module(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs").trim_end_matches("/mod");
    let parts = stem
        .split('/')
        .filter(|part| !matches!(*part, "lib" | "main"));
    ["crate"]
        .into_iter()
        .chain(parts)
        .map(str::to_owned)
        .collect()
}

impl Source {
    pub fn parse(file: &str, text: &str) -> Self {
        let stream: TokenStream = text
            .parse()
            .unwrap_or_else(|error| panic!("{file}: {error}"));
        let module = module(file);
        let mut source = Self {
            file: file.to_owned(),
            module: module.clone(),
            named: Vec::new(),
            specs: Vec::new(),
            literals: Vec::new(),
            aliases: BTreeMap::new(),
            declared: Vec::new(),
            tests: Vec::new(),
        };
        source.read(&module, stream);
        // A `use` may stand after the code that needs it, so aliases are resolved at the end.
        let below = |path: &mut Vec<String>| {
            if source.declared.contains(&path[0]) {
                path.splice(..0, module.iter().cloned());
            }
        };
        source.aliases.values_mut().for_each(below);
        for named in &mut source.named {
            below(&mut named.path);
            // An alias may refer to another alias. The limit ends a circle of them.
            for _ in 0..4 {
                match source.aliases.get(&named.path[0]) {
                    Some(is) if is[0] != named.path[0] => {
                        named.path.splice(..1, is.iter().cloned());
                    }
                    _ => break,
                }
            }
        }
        let known = |named: &Named| named.path.len() > 1;
        source.named.retain(known);
        source
    }

    fn read(&mut self, module: &[String], stream: TokenStream) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    let inner = usize::from(is_punct(tokens.get(at + 1), '!'));
                    let attribute = group(tokens.get(at + 1 + inner), Delimiter::Bracket);
                    let text = attribute
                        .map(|stream| squeezed(&stream))
                        .unwrap_or_default();
                    at += 2 + inner;
                    if text == "cfg(test)" {
                        at = self.skip(&tokens, at);
                    } else if let Some(stream) = attribute_paths(&tokens[at - 1], &text) {
                        self.read(module, stream);
                    }
                }
                // Not the `use<…>` of a type.
                TokenTree::Ident(ident) if ident == "use" && !is_punct(tokens.get(at + 1), '<') => {
                    at = self.read_use(module, &tokens, at + 1);
                }
                TokenTree::Ident(ident) if ident == "mod" && is_ident(tokens.get(at + 1)) => {
                    let name = tokens[at + 1].to_string();
                    let inner = [module, std::slice::from_ref(&name)].concat();
                    match group(tokens.get(at + 2), Delimiter::Brace) {
                        Some(stream) => self.read(&inner, stream),
                        None => self.declared.push(name),
                    }
                    at += 3;
                }
                TokenTree::Ident(ident) => {
                    let is_field = at > 0 && is_punct(tokens.get(at - 1), '.');
                    if ident == "spec" && is_field && is_punct(tokens.get(at + 1), '.') {
                        self.specs.push(ident.span().start().line);
                    }
                    at = self.read_path(module, &tokens, at);
                }
                TokenTree::Group(inner) => {
                    self.read(module, inner.stream());
                    at += 1;
                }
                TokenTree::Literal(literal) => {
                    let line = literal.span().start().line;
                    self.literals.push((literal.to_string(), line));
                    at += 1;
                }
                TokenTree::Punct(_) => at += 1,
            }
        }
    }

    /// Skips an item, field or arm that is compiled for tests only. Returns the index of the next one.
    fn skip(&mut self, tokens: &[TokenTree], mut at: usize) -> usize {
        let mut kind = String::new();
        while let Some(token) = tokens.get(at) {
            if let TokenTree::Ident(ident) = token
                && (kind.is_empty() || kind == "pub")
            {
                kind = ident.to_string();
                if kind == "mod" && is_punct(tokens.get(at + 2), ';') {
                    self.tests.push(tokens[at + 1].to_string());
                    self.declared.push(tokens[at + 1].to_string());
                }
            }
            at += 1;
            let ends = match kind.as_str() {
                "use" | "let" | "type" => is_punct(Some(token), ';'),
                "fn" | "impl" | "struct" | "enum" | "trait" | "mod" | "const" | "static"
                | "async" | "unsafe" => {
                    is_punct(Some(token), ';') || group(Some(token), Delimiter::Brace).is_some()
                }
                _ => is_punct(Some(token), ',') || is_punct(Some(token), ';'),
            };
            if ends {
                return at;
            }
        }
        at
    }

    /// Reads a path outside of a `use`.
    fn read_path(&mut self, module: &[String], tokens: &[TokenTree], mut at: usize) -> usize {
        let line = tokens[at].span().start().line;
        let mut path = vec![tokens[at].to_string()];
        at += 1;
        while is_colons(tokens, at) && is_ident(tokens.get(at + 2)) {
            path.push(tokens[at + 2].to_string());
            at += 3;
        }
        let path = rooted(module, path);
        self.named.push(Named { path, line });
        at
    }

    fn read_use(&mut self, module: &[String], tokens: &[TokenTree], mut at: usize) -> usize {
        let begin = at;
        while at < tokens.len() && !is_punct(tokens.get(at), ';') {
            at += 1;
        }
        self.read_tree(module, &[], &tokens[begin..at]);
        at + 1
    }

    /// Reads a `use` tree below `prefix`.
    fn read_tree(&mut self, module: &[String], prefix: &[String], tokens: &[TokenTree]) {
        let mut path = prefix.to_vec();
        let mut alias = None;
        let mut line = 0;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            line = token.span().start().line;
            match token {
                TokenTree::Ident(ident) if ident == "as" => {
                    alias = tokens.get(at + 1).map(ToString::to_string);
                    at += 1;
                }
                TokenTree::Ident(ident) if ident == "self" && !path.is_empty() => {}
                TokenTree::Ident(ident) => path.push(ident.to_string()),
                TokenTree::Group(inner) => {
                    let inner: Vec<TokenTree> = inner.stream().into_iter().collect();
                    for tree in inner.split(|token| is_punct(Some(token), ',')) {
                        if !tree.is_empty() {
                            self.read_tree(module, &path, tree);
                        }
                    }
                    return;
                }
                TokenTree::Punct(punct) if punct.as_char() == '*' => path.push("*".to_owned()),
                _ => {}
            }
            at += 1;
        }
        let Some(last) = path.last().cloned() else {
            return;
        };
        let path = rooted(module, path);
        let name = alias.unwrap_or(last);
        if name != "_" && name != "*" {
            self.aliases.insert(name, path.clone());
        }
        self.named.push(Named { path, line });
    }
}

/// Resolves `self` and `super` in a path. The crate's own name becomes `crate`.
fn rooted(module: &[String], path: Vec<String>) -> Vec<String> {
    let mut base = module.to_vec();
    let mut rest = &path[..];
    match rest[0].as_str() {
        "self" => rest = &rest[1..],
        "super" => {}
        "towline" => return [&["crate".to_owned()], &rest[1..]].concat(),
        _ => return path,
    }
    while rest.first().is_some_and(|part| part == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend_from_slice(rest);
    base
}

/// The paths that an attribute names, as `derive` does. None for documentation.
fn attribute_paths(attribute: &TokenTree, text: &str) -> Option<TokenStream> {
    match attribute {
        TokenTree::Group(group) if !text.starts_with("doc") => Some(group.stream()),
        _ => None,
    }
}

fn squeezed(stream: &TokenStream) -> String {
    stream.to_string().split_whitespace().collect()
}

fn group(token: Option<&TokenTree>, delimiter: Delimiter) -> Option<TokenStream> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == delimiter => Some(group.stream()),
        _ => None,
    }
}

fn is_ident(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Ident(_)))
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_colons(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

#[test]
fn a_path_is_found_however_it_is_written() {
    let text = r#"
        //! kube::Client in a comment
        use kube::{Api, Client as Asks, api::{self, ListParams}};
        #[cfg(test)]
        use tokio::{sync, time};
        use super::owner::Owner;
        #[cfg(test)]
        mod tests { fn f() { std::fs::read("a"); } }
        #[cfg(test)]
        mod apart;
        #[derive(schemars::JsonSchema)]
        pub struct A { b: Option<Owner>, }
        fn g() { Asks::try_from("application/apply-patch+yaml"); format!("{}", git2::Oid::zero()); }
    "#;
    let source = Source::parse("plan/stage.rs", text);
    let named: Vec<String> = source
        .named
        .iter()
        .map(|named| named.path.join("::"))
        .collect();
    let has = |path: &str| named.iter().any(|named| named == path);
    for path in [
        "kube::Api",
        "kube::Client",
        "kube::api",
        "kube::api::ListParams",
        "kube::Client::try_from",
        "crate::plan::owner::Owner",
        "schemars::JsonSchema",
        "git2::Oid::zero",
    ] {
        assert!(has(path), "{path} is not in {named:?}");
    }
    assert!(
        !named
            .iter()
            .any(|path| path.starts_with("tokio") || path.starts_with("std")),
        "{named:?}"
    );
    assert_eq!(source.tests, ["apart"]);
    assert!(
        source
            .literals
            .iter()
            .any(|(text, line)| text.contains("apply-patch") && *line == 13)
    );
}
