//! How one object is treated, as its annotations or labels say. Pure.
//!
//! Names and meanings are Flux's. Each instruction is understood with towline's prefix and with Flux's; towline's
//! wins. Helm's `helm.sh/resource-policy: keep`, and Argo CD's options `Prune=false` and `Delete=false`, mean
//! `prune: disabled`.

use std::collections::BTreeMap;

use serde_json::Value;

/// One instruction, with towline's prefix and with Flux's. The first one that is given counts.
type Keys = [&'static str; 2];

const APPLY: Keys = ["towline.dev/ssa", "kustomize.toolkit.fluxcd.io/ssa"];
const RECONCILE: Keys = [
    "towline.dev/reconcile",
    "kustomize.toolkit.fluxcd.io/reconcile",
];
const PRUNE: Keys = ["towline.dev/prune", "kustomize.toolkit.fluxcd.io/prune"];
const FORCE: Keys = ["towline.dev/force", "kustomize.toolkit.fluxcd.io/force"];

/// towline's own instructions about one object, which people may write on it.
pub(super) const OWN: [&str; 4] = [APPLY[0], RECONCILE[0], PRUNE[0], FORCE[0]];

/// Argo CD's annotation, and those of its options that keep an object.
const ARGO_OPTIONS: &str = "argocd.argoproj.io/sync-options";
const ARGO_KEEPS: [&str; 2] = ["Prune=false", "Delete=false"];

/// Helm's annotation that keeps an object.
const HELM_POLICY: &str = "helm.sh/resource-policy";

/// How one object is treated. Small: there is one for every object of every Sync.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// How it is applied.
    pub apply: ApplyMode,
    switches: Switches,
}

/// What is switched from its default, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Switches(u8);

const RECONCILE_OFF: u8 = 1;
const PRUNE_OFF: u8 = 2;
const FORCE_ON: u8 = 4;

/// How an object is applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApplyMode {
    /// Git decides about every field that it or another applier of whole manifests declares.
    #[default]
    Override,
    /// Git decides about its own fields; those of other appliers stay.
    Merge,
    /// It is created, and not changed after that.
    IfNotPresent,
    /// It is neither created nor changed.
    Ignore,
}

/// An instruction whose value has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {value:?} is not known; known are {known}")]
pub struct ModeError {
    /// The annotation or label.
    pub key: &'static str,
    /// Its value, shortened.
    pub value: String,
    /// The values that have a meaning.
    pub known: &'static str,
}

/// The most characters of a value that an error repeats.
const SHOWN: usize = 40;

impl Modes {
    /// What a manifest says.
    ///
    /// # Errors
    /// [`ModeError`] for a value without a meaning.
    pub fn of(manifest: &Value) -> Result<Self, ModeError> {
        let metadata = &manifest["metadata"];
        let maps = ["annotations", "labels"].map(|field| metadata[field].as_object());
        if maps.iter().all(Option::is_none) {
            return Ok(Self::default());
        }
        let get = |key: &str| {
            let mut values = maps.iter().flatten().filter_map(|map| map.get(key));
            values.find_map(Value::as_str)
        };
        Self::read(get, Unknown::Refused)
    }

    /// What a live object says. A value without a meaning says nothing.
    pub fn of_live(
        annotations: Option<&BTreeMap<String, String>>,
        labels: Option<&BTreeMap<String, String>>,
    ) -> Self {
        let maps = [annotations, labels];
        let get = |key: &str| {
            let mut values = maps.iter().flatten().filter_map(|map| map.get(key));
            values.next().map(String::as_str)
        };
        Self::read(get, Unknown::Ignored).unwrap_or_default()
    }

    /// Whether the object is neither created nor changed.
    #[must_use]
    pub fn is_left_alone(self) -> bool {
        self.has(RECONCILE_OFF) || self.apply == ApplyMode::Ignore
    }

    /// Whether the object stays when it leaves Git, or when its Sync is deleted.
    #[must_use]
    pub fn is_kept(self) -> bool {
        self.has(PRUNE_OFF) || self.has(RECONCILE_OFF)
    }

    /// Whether the object may be replaced where a change of it is refused since a field is immutable.
    #[must_use]
    pub fn may_be_replaced(self) -> bool {
        self.has(FORCE_ON)
    }

    fn has(self, switch: u8) -> bool {
        self.switches.0 & switch != 0
    }

    fn read<'a>(
        get: impl Fn(&str) -> Option<&'a str> + Copy,
        unknown: Unknown,
    ) -> Result<Self, ModeError> {
        let apply = [
            ("Override", ApplyMode::Override),
            ("Merge", ApplyMode::Merge),
            ("IfNotPresent", ApplyMode::IfNotPresent),
            ("Ignore", ApplyMode::Ignore),
        ];
        let apply_known = "Override, Merge, IfNotPresent and Ignore";
        let switch = |keys, is: bool, bit| {
            let values = [("enabled", true), ("disabled", false)];
            let known = "enabled and disabled";
            let given = one(get, keys, &values, known, unknown)?;
            Ok(if given == Some(is) { bit } else { 0 })
        };
        let others = if is_kept_by_helm(get) || is_kept_by_argo(get) {
            PRUNE_OFF
        } else {
            0
        };
        Ok(Self {
            apply: one(get, APPLY, &apply, apply_known, unknown)?.unwrap_or_default(),
            switches: Switches(
                switch(RECONCILE, false, RECONCILE_OFF)?
                    | switch(PRUNE, false, PRUNE_OFF)?
                    | switch(FORCE, true, FORCE_ON)?
                    | others,
            ),
        })
    }
}

/// What a value without a meaning is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unknown {
    Refused,
    Ignored,
}

fn is_kept_by_helm<'a>(get: impl Fn(&str) -> Option<&'a str>) -> bool {
    get(HELM_POLICY).is_some_and(|policy| policy.trim().eq_ignore_ascii_case("keep"))
}

fn is_kept_by_argo<'a>(get: impl Fn(&str) -> Option<&'a str>) -> bool {
    let options = get(ARGO_OPTIONS).unwrap_or_default().split(',');
    options
        .map(str::trim)
        .any(|option| ARGO_KEEPS.contains(&option))
}

/// The meaning of one instruction; none where it is not given. As in Flux, case does not matter.
fn one<'a, T: Copy>(
    get: impl Fn(&str) -> Option<&'a str>,
    keys: Keys,
    values: &[(&str, T)],
    known: &'static str,
    unknown: Unknown,
) -> Result<Option<T>, ModeError> {
    let mut given = keys.iter().filter_map(|key| Some((key, get(key)?)));
    let Some((key, value)) = given.next() else {
        return Ok(None);
    };
    let mut same = values
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(value));
    match same.next() {
        Some((_, meaning)) => Ok(Some(*meaning)),
        None if unknown == Unknown::Ignored => Ok(None),
        None => Err(ModeError {
            key,
            value: value.chars().take(SHOWN).collect(),
            known,
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(annotations: &Value) -> Result<Modes, ModeError> {
        Modes::of(&json!({"metadata": {"name": "a", "annotations": annotations}}))
    }

    #[test]
    fn instructions_are_understood_in_towlines_and_in_fluxs_words() {
        let default = Modes::default();
        let apply = |apply| Modes { apply, ..default };
        let switched = |switch| Modes {
            switches: Switches(switch),
            ..default
        };
        let (kept, paused) = (switched(PRUNE_OFF), switched(RECONCILE_OFF));
        let forced = switched(FORCE_ON);
        assert!(kept.is_kept() && !kept.is_left_alone());
        assert!(paused.is_kept() && paused.is_left_alone());
        assert!(forced.may_be_replaced() && !default.may_be_replaced());
        assert!(apply(ApplyMode::Ignore).is_left_alone());
        for (instruction, value, expected) in [
            ("ssa", "Override", default),
            ("ssa", "Merge", apply(ApplyMode::Merge)),
            ("ssa", "IfNotPresent", apply(ApplyMode::IfNotPresent)),
            ("ssa", "ifnotpresent", apply(ApplyMode::IfNotPresent)),
            ("ssa", "Ignore", apply(ApplyMode::Ignore)),
            ("prune", "disabled", kept),
            ("prune", "Disabled", kept),
            ("prune", "enabled", default),
            ("reconcile", "disabled", paused),
            ("reconcile", "enabled", default),
            ("force", "enabled", forced),
            ("force", "disabled", default),
        ] {
            for prefix in ["towline.dev", "kustomize.toolkit.fluxcd.io"] {
                let key = format!("{prefix}/{instruction}");
                let annotated = json!({"other": "x", &key: value});
                assert_eq!(of(&annotated), Ok(expected), "{key}: {value}");
                let labelled = json!({"metadata": {"labels": {&key: value}}});
                assert_eq!(Modes::of(&labelled), Ok(expected), "{key}: {value}");
                let live = BTreeMap::from([(key, value.to_owned())]);
                assert_eq!(Modes::of_live(Some(&live), None), expected);
                assert_eq!(Modes::of_live(None, Some(&live)), expected);
            }
        }
        let helm = json!({"helm.sh/resource-policy": "keep"});
        assert_eq!(of(&helm), Ok(kept));
        let helm = json!({"helm.sh/resource-policy": "other"});
        assert_eq!(of(&helm), Ok(default));
        for (options, expected) in [
            ("Prune=false", kept),
            ("Replace=true, Prune=false", kept),
            ("Delete=false,Validate=false", kept),
            ("Prune=true", default),
            ("PruneLast=true,Prune=confirm", default),
            ("", default),
        ] {
            let argo = json!({"argocd.argoproj.io/sync-options": options});
            assert_eq!(of(&argo), Ok(expected), "{options}");
        }
        assert_eq!(Modes::of(&json!({"metadata": {}})), Ok(default));
        assert_eq!(Modes::of(&json!({})), Ok(default));
    }

    #[test]
    fn towlines_word_wins_over_fluxs() {
        let both = json!({"towline.dev/ssa": "Override", "kustomize.toolkit.fluxcd.io/ssa": "Ignore",
                          "towline.dev/prune": "disabled"});
        let modes = of(&both).unwrap();
        assert_eq!(modes.apply, ApplyMode::Override);
        assert!(modes.is_kept() && !modes.is_left_alone());
    }

    #[test]
    fn a_value_without_a_meaning_is_an_error_that_names_it() {
        for (key, value) in [
            ("towline.dev/ssa", "Replace"),
            ("towline.dev/prune", "false"),
            ("towline.dev/force", "yes"),
            ("towline.dev/reconcile", ""),
            ("kustomize.toolkit.fluxcd.io/ssa", "enabled"),
            ("kustomize.toolkit.fluxcd.io/force", "true"),
        ] {
            let error = of(&json!({key: value})).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{key}: {value:?}")), "{error}");
        }
        let long = of(&json!({"towline.dev/ssa": "x".repeat(500)})).unwrap_err();
        assert!(long.to_string().len() < 150);
    }

    #[test]
    fn of_a_live_object_a_value_without_a_meaning_says_nothing() {
        let annotations = BTreeMap::from([
            ("towline.dev/ssa".to_owned(), "What".to_owned()),
            ("towline.dev/prune".to_owned(), "disabled".to_owned()),
        ]);
        let modes = Modes::of_live(Some(&annotations), None);
        assert!(modes.is_kept() && modes.apply == ApplyMode::Override);
    }
}
