//! Remote bases of a kustomization: what it names by URL becomes a path of the tree, in which the repository is once it is
//! fetched. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::inflate::{joined, parsed_if_small};
use super::kustomization_error::KustomizationError;
use super::remote::{Remote, RemoteBase, remote};
use super::{instructions, lists};
use crate::manifest::{self, MAX_DOCUMENT};
use crate::text::{printable, redact_url, shorten};

/// The fields of a kustomization that may name a folder elsewhere.
const FIELDS: [&str; 3] = ["resources", "components", "bases"];

/// `apiVersion` of kustomize's own plugins.
const PLUGIN: &[u8] = b"builtin";

/// The root of the tree, as kustomize sees it.
const ROOT: &str = "/repository";

/// Which repositories a build may read beside its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bases {
    /// Whether a kustomization may name pinned ones.
    pub allowed: bool,
    /// Those that are fetched: a tree has each at [`RemoteBase::folder`].
    pub fetched: BTreeSet<RemoteBase>,
}

/// A base that is not fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedBase {
    /// The base.
    pub base: RemoteBase,
    /// The kustomization that names it, from the root of the tree.
    pub file: String,
}

/// `apps/kustomization.yaml names https://git.example/a at v1`.
impl std::fmt::Display for WantedBase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} names {}", self.file, self.base)
    }
}

/// A kustomization with paths in place of URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Local {
    /// The kustomization. It lacks the bases that are not fetched.
    pub(super) text: Vec<u8>,
    /// Those that it names and has.
    pub(super) used: Vec<RemoteBase>,
    /// Those that are not fetched.
    pub(super) wanted: Vec<WantedBase>,
}

/// The kustomization `file`, read in `folder`, with paths in place of URLs. None if it names nothing elsewhere, or is
/// nothing that kustomize could read: kustomize itself says why.
pub(super) fn localised(
    file: &str,
    folder: &str,
    text: &[u8],
    bases: &Bases,
) -> Result<Option<Local>, KustomizationError> {
    let around = RemoteBase::around(folder, bases.fetched.iter());
    let may_be_long = text.len() > lists::SHORTEST;
    if around.is_none() && !may_be_long && !may_name_url(text) {
        return Ok(None);
    }
    let fail = |what: String| KustomizationError {
        file: file.to_owned(),
        what: printable(&what),
        is_too_large: false,
    };
    let too_large = |what: String| {
        KustomizationError::too_large(file, &format!("{what}: name folders, or use several Syncs"))
    };
    let parsed = parsed_if_small(text).map_err(|_| {
        let mib = MAX_DOCUMENT >> 20;
        too_large(format!("it takes more than {mib} MiB of memory"))
    })?;
    let Some(mut fields) = parsed else {
        return Ok(None);
    };
    for (field, value) in &fields {
        lists::too_long(field, value).map_err(|long| too_large(long.to_string()))?;
    }
    if may_be_long {
        instructions::count_in_place(file, &fields)?;
    }
    if let Some(base) = around {
        stays_inside(&fields, folder, &base.folder()).map_err(fail)?;
    }
    let mut local = Local {
        text: Vec::new(),
        used: Vec::new(),
        wanted: Vec::new(),
    };
    let mut is_changed = false;
    for field in FIELDS {
        let Some(Value::Array(entries)) = fields.get_mut(field) else {
            continue;
        };
        let mut kept = Vec::with_capacity(entries.len());
        for entry in std::mem::take(entries) {
            let Some((reference, found)) = named(&entry) else {
                kept.push(entry);
                continue;
            };
            is_changed = true;
            let found = found.map_err(|why| fail(refusal(field, reference, bases, &why)))?;
            let Remote { base, path } = found;
            if !bases.allowed {
                return Err(fail(not_allowed(field, reference)));
            }
            if bases.fetched.contains(&base) {
                kept.push(way(folder, &base, &path).into());
                local.used.push(base);
            } else {
                let file = file.to_owned();
                local.wanted.push(WantedBase { base, file });
            }
        }
        *entries = kept;
    }
    if !is_changed {
        return Ok(None);
    }
    local.text = Value::Object(fields).to_string().into_bytes();
    Ok(Some(local))
}

/// What an entry names elsewhere.
fn named(entry: &Value) -> Option<(&str, Result<Remote, super::remote::RemoteError>)> {
    let reference = entry.as_str()?;
    Some((reference, remote(reference)?))
}

/// The longest part of a URL in a message, in bytes.
const LONGEST_URL: usize = 300;

fn shown(reference: &str) -> String {
    shorten(&redact_url(reference), LONGEST_URL)
}

fn refusal(field: &str, reference: &str, bases: &Bases, why: &dyn std::error::Error) -> String {
    let shown = shown(reference);
    match bases.allowed {
        true => format!("{field}: {shown}: {why}"),
        false => format!(
            "{field}: {shown} is not in the repository: copy it there and name its path here ({why})"
        ),
    }
}

fn not_allowed(field: &str, reference: &str) -> String {
    let shown = shown(reference);
    format!(
        "{field}: {shown} is not in the repository: set spec.kustomize.remoteBases to Pinned to have it fetched, or copy it \
         into the repository and name its path here"
    )
}

/// The path from a folder to what a base has at `path`.
fn way(folder: &str, base: &RemoteBase, path: &str) -> String {
    let up = folder.split('/').filter(|part| !part.is_empty()).count();
    let way = format!("{}{}/{path}", "../".repeat(up), base.folder());
    way.trim_end_matches('/').to_owned()
}

/// Refuses paths out of a base. kustomize does it too for what it has cloned: a base is not to read the files of those
/// who use it.
fn stays_inside(fields: &Map<String, Value>, folder: &str, base: &str) -> Result<(), String> {
    fields
        .values()
        .try_for_each(|value| no_way_out(value, folder, base))
}

fn no_way_out(value: &Value, folder: &str, base: &str) -> Result<(), String> {
    match value {
        Value::Array(values) => values
            .iter()
            .try_for_each(|value| no_way_out(value, folder, base)),
        Value::Object(fields) => stays_inside(fields, folder, base),
        Value::String(text) => {
            // A generator's entry may have a key before the path.
            let path = text.split_once('=').map_or(&**text, |(_, path)| path);
            let leaves = |path: &str| {
                path.starts_with(ROOT)
                    || path.split('/').any(|part| part == "..") && {
                        let target = joined(folder, path);
                        let inside = target
                            .as_deref()
                            .and_then(|target| target.strip_prefix(base));
                        !inside.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    }
            };
            // A text of several lines is no path. It may be the configuration of a plugin.
            if text.contains('\n') {
                return plugins_stay_inside(text.as_bytes(), folder, base);
            }
            match leaves(path) || leaves(text) {
                true => Err(format!("{text:?} leaves the repository of the base")),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Refuses paths out of a base in what configures kustomize's own plugins. In place, the paths are seen from the folder of
/// the kustomization; in a file, from a folder that is not known here, so that `folder` is the base itself.
fn plugins_stay_inside(text: &[u8], folder: &str, base: &str) -> Result<(), String> {
    if !text.windows(PLUGIN.len()).any(|part| part == PLUGIN) {
        return Ok(());
    }
    // kustomize itself says what is wrong with it.
    let Ok(documents) = manifest::documents(text) else {
        return Ok(());
    };
    let is_plugin = |value: &Value| value["apiVersion"].as_str().map(str::as_bytes) == Some(PLUGIN);
    let mut plugins = documents
        .iter()
        .map(|document| &document.value)
        .filter(|value| is_plugin(value));
    plugins.try_for_each(|value| no_way_out(value, folder, base))
}

/// Refuses a file of a base that configures kustomize's own plugins with paths out of it. None for a file of no base.
pub(super) fn plugin_file(
    file: &str,
    bases: &Bases,
    read: impl FnOnce() -> Option<Vec<u8>>,
) -> Option<KustomizationError> {
    let base = RemoteBase::around(file, bases.fetched.iter())?.folder();
    let what = plugins_stay_inside(&read()?, &base, &base).err()?;
    Some(KustomizationError {
        file: file.to_owned(),
        what: printable(&what),
        is_too_large: false,
    })
}

/// Whether a text may hold a URL. Most kustomizations do not, and are not parsed.
fn may_name_url(text: &[u8]) -> bool {
    const GITHUB: &[u8] = b"github.com";
    text.contains(&b'@')
        || text.windows(3).any(|part| part == b"://")
        || text
            .windows(GITHUB.len())
            .any(|part| part.eq_ignore_ascii_case(GITHUB))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_without_end_is_refused_before_kustomize_reads_it() {
        for (field, entry, count, fits) in [
            ("resources", "a.yaml", 20_000, true),
            ("resources", "a.yaml", 20_001, false),
            ("resources", "a", 100_000, false),
            ("images", "{}", 5_000, true),
            ("images", "{}", 5_001, false),
            ("replacements", "{path: r.yaml}", 20_000, false),
            ("components", "../c", 100_000, false),
            ("patches", "{path: p.yaml}", 30_000, false),
            ("generators", "''", 100_000, false),
            // More than is parsed.
            ("patches", "{path: p.yaml}", 200_000, false),
        ] {
            for text in [
                format!("{field}:\n{}", format!("- {entry}\n").repeat(count)),
                format!("{field}: [{}]", format!("{entry},").repeat(count)),
            ] {
                let local = localised("k/kustomization.yaml", "k", text.as_bytes(), &with(&[]));
                assert_eq!(local.is_ok(), fits, "{field} {count}");
                assert!(local.as_ref().err().is_none_or(|error| error.is_too_large));
                let told = local.err().map(|error| error.to_string());
                let is_named = |told: String| {
                    told.contains("k/kustomization.yaml: too large")
                        && (told.contains(field) || told.contains("80 MiB"))
                };
                assert!(told.is_none_or(is_named), "{field}");
            }
        }
    }

    #[test]
    fn a_list_below_another_is_measured_too() {
        let literals = "a=b,".repeat(20_001);
        let text = format!("configMapGenerator: [{{name: a, literals: [{literals}]}}]");
        let error =
            localised("k/kustomization.yaml", "k", text.as_bytes(), &with(&[])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "k/kustomization.yaml: too large: configMapGenerator[0].literals has 20001 entries, and it may have 20000: name folders, \
             or use several Syncs"
        );
    }

    const SHOP: &str = "https://git.example/org/shop//deploy?ref=v1";

    fn base(reference: &str) -> RemoteBase {
        remote(reference).unwrap().unwrap().base
    }

    fn with(fetched: &[&str]) -> Bases {
        Bases {
            allowed: true,
            fetched: fetched.iter().map(|reference| base(reference)).collect(),
        }
    }

    fn read(folder: &str, text: &str, bases: &Bases) -> Result<Option<Local>, String> {
        let file = format!("{folder}/kustomization.yaml");
        let read = localised(&file, folder, text.as_bytes(), bases);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn urls_become_paths_of_what_is_fetched() {
        let text = format!(
            "resources: [own.yaml, '{SHOP}']\ncomponents: ['git@h:a/b//c?ref=v2']\nnamePrefix: x-\n"
        );
        let local = read("apps/prod", &text, &with(&[SHOP])).unwrap().unwrap();
        let value: Value = serde_json::from_slice(&local.text).unwrap();
        let wanted = json!({
            "resources": ["own.yaml", "../../remote base git.example/org/shop at v1/deploy"],
            "components": [], "namePrefix": "x-",
        });
        assert_eq!(value, wanted);
        assert_eq!(local.used, [base(SHOP)]);
        let [missing] = &*local.wanted else {
            panic!("{local:?}")
        };
        assert_eq!(missing.base, base("git@h:a/b//c?ref=v2"));
        assert_eq!(missing.file, "apps/prod/kustomization.yaml");
        // From the root, and to the root.
        let text = "resources: ['https://git.example/org/shop?ref=v1']";
        let local = read("", text, &with(&[SHOP])).unwrap().unwrap();
        let value: Value = serde_json::from_slice(&local.text).unwrap();
        assert_eq!(
            value["resources"][0],
            "remote base git.example/org/shop at v1"
        );
    }

    #[test]
    fn what_names_nothing_elsewhere_stays_as_it_is() {
        for text in [
            "resources: [../base]",
            "images: [{name: github.com/org/app, newName: 'registry.example/x@sha256:00'}]\nresources: [a.yaml]",
            "configMapGenerator: [{name: a, literals: ['url=https://git.example/org/shop']}]",
            "resources: [",
            "resources: 'https://git.example/org/shop?ref=v1'",
        ] {
            assert_eq!(read("apps", text, &Bases::default()), Ok(None), "{text}");
        }
    }

    #[test]
    fn what_is_refused_names_file_and_field_and_a_way_out() {
        for (bases, reference, says) in [
            (
                Bases::default(),
                SHOP,
                &[
                    "https://git.example/org/shop//deploy is not in",
                    "remoteBases to Pinned",
                ][..],
            ),
            (
                Bases::default(),
                "https://git.example/org/shop?ref=refs/heads/main",
                &["copy it there", "branch main"],
            ),
            (with(&[]), "https://git.example/org/shop", &["not pinned"]),
            (
                with(&[]),
                "https://git.example/a.yaml",
                &["a file on a web server", "copy it into"],
            ),
            (
                with(&[]),
                "https://me:hunter2@git.example/a/b?ref=v1",
                &["credentials"],
            ),
        ] {
            for field in FIELDS {
                let error = read("apps", &format!("{field}: ['{reference}']"), &bases).unwrap_err();
                let place = format!("apps/kustomization.yaml: {field}: https://git.example/");
                assert!(error.starts_with(&place), "{error}");
                assert!(says.iter().all(|word| error.contains(word)), "{error}");
                assert!(!error.contains("hunter2"), "{error}");
            }
        }
    }

    #[test]
    fn a_base_reads_its_own_files_only() {
        let bases = with(&[SHOP]);
        let folder = base(SHOP).folder() + "/deploy/prod";
        for text in [
            "resources: [../base, a.yaml]",
            "configMapGenerator: [{name: a, files: [x=../../files/x, ../../y]}]",
            "patches: [{patch: \"- op: remove\\n  path: ../../../../..\"}]",
            "commonAnnotations: {path: /repo/a/b}",
        ] {
            assert_eq!(read(&folder, text, &bases), Ok(None), "{text}");
        }
        for text in [
            "resources: [../../../apps]",
            "resources: [/repository/apps]",
            "configMapGenerator: [{name: a, files: [x=../../../../../../secret.yaml]}]",
            "configMapGenerator: [{name: a, envs: ['../../../../../../a=b']}]",
            "patches: [{path: '../../../remote base git.example/org/shop at v12/a'}]",
            "generators: [../../../../../../../..]",
            "configMapGenerator: [{name: a, files: ['x=ssh://../../../../../../../../secret.yaml']}]",
            "generators: [\"apiVersion: builtin\\nkind: ConfigMapGenerator\\nfiles: [../../../../../../secret.yaml]\\n\"]",
        ] {
            let error = read(&folder, text, &bases).unwrap_err();
            assert!(
                error.contains("leaves the repository of the base"),
                "{error}"
            );
        }
        let own = |files: &str| {
            let text = format!("apiVersion: builtin\nkind: ConfigMapGenerator\nfiles: [{files}]\n");
            let file = format!("{folder}/generator.yaml");
            plugin_file(&file, &bases, || Some(text.into_bytes())).map(|error| error.to_string())
        };
        assert_eq!(own("files/x"), None);
        let error = own("../../../../../../secret.yaml").unwrap();
        assert!(
            error.starts_with(&folder) && error.contains("leaves the repository of the base"),
            "{error}"
        );
        // What configures no plugin may name any path.
        let args = "kind: Deployment\nargs: [../../../../../../x]\n# builtin\n";
        let file = format!("{folder}/web.yaml");
        assert_eq!(plugin_file(&file, &bases, || Some(args.into())), None);
        assert_eq!(plugin_file("apps/x.yaml", &bases, || None), None);
        // The same is allowed to those who use it.
        assert_eq!(
            read("apps/deploy/prod", "resources: [../../base]", &bases),
            Ok(None)
        );
    }
}
