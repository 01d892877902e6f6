//! What the random functions of a chart draw, and what of it shows in its documents.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Document, Failed, Kept, RenderFailure, Rendered};
use crate::render::{Drawn, Generated};

/// What the random functions of one render draw from, and its time.
#[derive(Clone, Copy)]
pub(super) struct Chance {
    pub(super) seed: [u8; 32],
    pub(super) now: u64,
}

impl Chance {
    /// Passwords come of it, so it is as random as they have to be.
    pub(super) fn draw() -> Self {
        let mut seed = [0; 32];
        if getrandom::fill(&mut seed).is_err() {
            // Without the system's random numbers, the standard library's: it asks for them otherwise.
            for part in seed.chunks_mut(8) {
                let drawn = RandomState::new().build_hasher().finish();
                part.copy_from_slice(&drawn.to_le_bytes()[..part.len()]);
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            seed,
            now: now.unwrap_or_default().as_secs(),
        }
    }

    /// Another one. Every part of the date and of the time of day is another one as well.
    pub(super) fn other(self) -> Self {
        const LATER: u64 = 400 * 86_400 + 3_661;
        Self {
            seed: self.seed.map(|byte| !byte),
            now: self.now + LATER,
        }
    }
}

/// What differs between two renders of a chart, and a warning for each object that has such values.
pub(super) fn compare(
    one: &Rendered,
    other: &Rendered,
) -> Result<(Generated, Vec<String>), Box<Failed>> {
    let refuse = |template: &str, what: String| {
        Box::new(Failed {
            failure: RenderFailure::Random {
                renderer: "helm".to_owned(),
                template: template.to_owned(),
                what,
            },
            reads: one.reads.clone(),
            last: None,
        })
    };
    let mut generated = Generated::default();
    let mut warnings = Vec::new();
    let (mine, theirs) = (objects_of(one, false), objects_of(other, false));
    for (position, document) in mine.iter().enumerate() {
        let template = &document.about.file;
        let objects = || {
            refuse(
                template,
                "which objects there are, or their names,".to_owned(),
            )
        };
        let again = theirs.get(position);
        let again = again.filter(|again| again.about.file == *template);
        let again = again.ok_or_else(objects)?;
        if again.body == document.body {
            continue;
        }
        let id = Kept::id(&document.body);
        let found =
            generated
                .compare(id, &document.body, &again.body)
                .map_err(|drawn| match drawn {
                    Drawn::Objects => objects(),
                    Drawn::Field(field) => refuse(template, field),
                })?;
        warnings.extend(found.into_iter().map(|found| {
            format!("{template} draws values at random or from the time, which are made once and then kept from the live object: {found}")
        }));
    }
    if mine.len() != theirs.len() {
        return Err(refuse("the chart", "which objects there are".to_owned()));
    }
    // A hook is made anew each time that it runs, so nothing of it is kept.
    let hooks = objects_of(one, true);
    for (hook, again) in hooks.iter().zip(objects_of(other, true)) {
        generated.note(Kept::id(&hook.body), &hook.body, &again.body);
    }
    Ok((generated, warnings))
}

/// The documents with objects, in their order: the hooks, or the others.
fn objects_of(rendered: &Rendered, hooks: bool) -> Vec<&Document> {
    let is_wanted = |document: &&Document| match document.about.kind.as_str() {
        "hook" => hooks,
        "" | "manifest" | "crd" => !hooks,
        _ => false,
    };
    rendered.documents.iter().filter(is_wanted).collect()
}
