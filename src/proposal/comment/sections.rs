//! The sections of a comment, one a Sync. What reaches farthest gets its room first, and its section comes first.

use std::fmt::Write as _;

use super::super::reach::Reach;
use super::{Counts, Fate, ObjectPlan, code, reason};
use crate::preview::{Action, fenced};

/// The sections.
pub(super) struct Body {
    pub(super) text: String,
    /// How many objects are not in it.
    pub(super) unnamed: usize,
    /// How many are in it without all of their fields.
    pub(super) shortened: usize,
}

struct Section {
    heading: String,
    parts: Vec<Part>,
    /// What is shown of each part, if it has room.
    shown: Vec<Option<String>>,
}

/// A piece of a section that is shown or not.
struct Part {
    reach: Reach,
    whole: String,
    /// Whether not all fields of the object are in that.
    is_cut: bool,
    /// What stands for it if it has too little room.
    short: Option<String>,
}

/// The sections of all Syncs that are touched, in so many bytes.
pub(super) fn body(syncs: &[(String, Fate)], room: usize) -> Body {
    let sections = syncs.iter().filter_map(|(name, fate)| section(name, fate));
    let mut sections: Vec<Section> = sections.collect();
    sections.sort_by_key(|section| section.parts.iter().map(|part| part.reach).min());
    let mut places: Vec<(Reach, usize, usize)> = Vec::new();
    for (at, section) in sections.iter().enumerate() {
        let parts = section.parts.iter().enumerate();
        places.extend(parts.map(|(index, part)| (part.reach, at, index)));
    }
    places.sort_unstable();
    let (mut used, mut unnamed, mut shortened) = (0, 0, 0);
    for (_, at, index) in places {
        let Some(section) = sections.get_mut(at) else {
            continue;
        };
        let heading = match section.shown.iter().any(Option::is_some) {
            true => 0,
            false => section.heading.len(),
        };
        let Part {
            whole,
            is_cut,
            short,
            ..
        } = &section.parts[index];
        let fits = |text: &&String| used + heading + text.len() <= room;
        let shown = match (Some(whole).filter(fits), short.as_ref().filter(fits)) {
            (Some(whole), _) => {
                shortened += usize::from(*is_cut);
                whole.clone()
            }
            (None, Some(short)) => {
                shortened += 1;
                short.clone()
            }
            (None, None) => {
                unnamed += 1;
                continue;
            }
        };
        used += heading + shown.len();
        section.shown[index] = Some(shown);
    }
    let mut text = String::new();
    for section in sections {
        let mut shown = section.shown.into_iter().flatten().peekable();
        if shown.peek().is_some() {
            text += &section.heading;
        }
        text.extend(shown);
    }
    Body {
        text,
        unnamed,
        shortened,
    }
}

/// The section of a Sync. None if it is not touched.
fn section(name: &str, fate: &Fate) -> Option<Section> {
    let told = |why: &String, reach| Part {
        reach,
        whole: format!("\n{}", fenced("text", &format!("{}\n", reason(why)))),
        is_cut: false,
        short: None,
    };
    let (heading, parts) = match fate {
        Fate::Untouched => return None,
        Fate::Broken(why) => (
            "cannot be rendered".to_owned(),
            vec![told(why, Reach::Rights)],
        ),
        Fate::Unplanned(why) => ("not planned".to_owned(), vec![told(why, Reach::Rights)]),
        Fate::Changed { objects, notes, .. } => {
            // Notes need not reach as far as their objects.
            let notes = notes.iter().map(|note| told(note, Reach::Workload));
            let parts = notes.chain(objects.iter().map(part)).collect();
            (Counts::of([fate]).in_words(), parts)
        }
    };
    Some(Section {
        heading: format!("\n#### `{name}`: {heading}\n"),
        shown: vec![None; parts.len()],
        parts,
    })
}

/// An object in full, and without its fields if it has any.
fn part(object: &ObjectPlan) -> Part {
    let sign = match object.action {
        Action::Create => "+",
        Action::Change => "~",
        Action::Delete => "-",
        Action::Release(_) => "=",
        Action::Refuse(_) | Action::Unserved(_) => "!",
    };
    let file = object
        .file
        .as_deref()
        .map(|file| format!(" ({})", code(file)));
    let file = file.unwrap_or_default();
    let remark = object.remark.map(|remark| format!(", {remark}"));
    let heading = format!(
        "{sign} {} {}{file}{}",
        match object.action {
            Action::Delete => "prune",
            Action::Unserved(_) => "not served by the cluster, not tried:",
            _ => object.action.word(),
        },
        code(&object.object),
        remark.unwrap_or_default()
    );
    let mut inside = String::new();
    if !object.action.why().is_empty() {
        let why = fenced("text", &format!("{}\n", reason(object.action.why())));
        let _ = write!(inside, "\n{why}");
    }
    let whole = match object.fields.text.is_empty() {
        true => folded(&heading, &inside),
        false => {
            let fields = fenced("diff", &object.fields.text);
            folded(&heading, &format!("{inside}\n{fields}"))
        }
    };
    let heading = format!("{heading}, for whose fields there is no room");
    Part {
        reach: object.reach,
        whole,
        is_cut: object.fields.is_cut,
        short: (!object.fields.text.is_empty()).then(|| folded(&heading, &inside)),
    }
}

fn folded(heading: &str, inside: &str) -> String {
    match inside.is_empty() {
        true => format!("\n{heading}<br>\n"),
        false => format!("\n<details><summary>{heading}</summary>\n{inside}\n</details>\n"),
    }
}
