//! Stops a deletion that is larger than a Sync's limit, until a person approves exactly that. Pure.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::owner::SyncName;
use super::parting::Owned;
use crate::intent::PruneLimit;
use crate::manifest::{GroupKind, ObjectKey};

/// The fewest objects of a Sync for which a share means something.
const FEWEST: usize = 10;

/// The most kinds, and the most reasons, that a plan names.
const KINDS: usize = 20;
const REASONS: usize = 10;

/// The deletion of everything that left Git, in the form that a person approves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrunePlan {
    /// The SHA-256 of the Sync and of every object with its uid.
    pub digest: String,
    /// The number of objects to delete.
    pub deletes: usize,
    /// The number of objects that they are a share of.
    pub of: usize,
    /// How many of which kinds, for people. The most come first.
    pub kinds: Vec<String>,
    /// Why it needs an approval.
    pub because: Vec<String>,
    /// The SHA-256 of the objects that stay.
    pub keeps: String,
}

/// What may be done about a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brake {
    /// It is within the limit.
    Free,
    /// A person approved it.
    Approved(PrunePlan),
    /// It waits for a person.
    Held(PrunePlan),
}

/// What a Sync had when its last revision was live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Before {
    /// The number of its objects.
    pub objects: usize,
    /// The second in which the newest of them was created, by the API server's clock.
    pub newest: i64,
}

impl PrunePlan {
    /// The plan to delete `going` of the Sync with this uid, which keeps `staying`.
    ///
    /// A revision may add objects, and another one may come before a person has approved the deletion. So the share is
    /// that of what goes in everything, and also that of what goes of `before` in what was there before.
    pub fn new<'a>(
        sync: (&SyncName, &str),
        going: &[Owned],
        staying: impl ExactSizeIterator<Item = &'a ObjectKey>,
        before: Option<Before>,
        limit: &PruneLimit,
    ) -> Self {
        let (name, uid) = sync;
        let all = Share {
            part: going.len(),
            of: going.len() + staying.len(),
        };
        let old = before.map(|Before { objects, newest }| {
            let part = going.iter().filter(|(_, seen)| seen.created <= newest);
            let part = part.count();
            // Objects may have been counted before some of them were known.
            let of = objects.max(part);
            Share { part, of }
        });
        let deleted = going
            .iter()
            .map(|(key, observed)| vec![identity(key), observed.uid.to_string()]);
        let kept = staying.map(|key| vec![identity(key)]);
        let shares = old.iter().chain([&all]);
        let excess = shares
            .into_iter()
            .find(|share| share.exceeds(limit.percent));
        Self {
            digest: sealed(&[name.to_string(), uid.to_owned()], deleted),
            deletes: going.len(),
            of: match old {
                Some(old) if old.part == going.len() => old.of,
                _ => all.of,
            },
            kinds: kinds(going),
            because: excess
                .map(|share| share.in_words(limit.percent))
                .into_iter()
                .collect(),
            keeps: sealed(&[], kept),
        }
    }

    /// Whether it is the rest of `approved`, of which a part was carried out.
    fn is_rest_of(&self, approved: &Self) -> bool {
        self.keeps == approved.keeps && self.deletes <= approved.deletes
    }

    /// The brake if a person approved this plan. `before` is the plan that was held or approved last; `approval` is the
    /// digest that a person approved.
    ///
    /// # Errors
    /// The plan itself, if no person approved it.
    pub fn approved(self, before: Option<&Self>, approval: Option<&str>) -> Result<Brake, Self> {
        let approval = approval.map(str::trim);
        let says = |plan: &Self| approval == Some(&*plan.digest);
        match before.filter(|before| says(before) && self.is_rest_of(before)) {
            Some(before) => Ok(Brake::Approved(before.clone())),
            None if says(&self) => Ok(Brake::Approved(self)),
            None => Err(self),
        }
    }

    /// The brake of a plan that nobody approved. `lost`: what would be lost with the objects.
    pub fn judged(mut self, lost: Vec<String>) -> Brake {
        self.because.extend(lost);
        self.because.truncate(REASONS);
        match self.because.is_empty() {
            true => Brake::Free,
            false => Brake::Held(self),
        }
    }
}

/// A part of a number of objects.
#[derive(Clone, Copy, Debug)]
struct Share {
    part: usize,
    of: usize,
}

impl Share {
    fn exceeds(self, percent: u8) -> bool {
        let is_share = self.of >= FEWEST || percent == 0;
        is_share && self.part * 100 > self.of * usize::from(percent)
    }

    fn in_words(self, percent: u8) -> String {
        let Self { part, of } = self;
        format!("{part} of {of} are more than {percent} % (spec.pruneLimit.percent)")
    }
}

fn identity(key: &ObjectKey) -> String {
    let GroupKind { group, kind } = &key.kind;
    let namespace = key.namespace.as_deref().unwrap_or_default();
    // None of the first three can contain a line break, and the name comes last.
    format!("{group}\n{kind}\n{namespace}\n{}", key.name)
}

/// The SHA-256 of a head and of rows in any order. Every text is preceded by its length, so that no two lists are the
/// same bytes.
fn sealed(head: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut rows: Vec<Vec<String>> = rows.collect();
    rows.sort_unstable();
    let mut hash = Sha256::new();
    for text in head.iter().chain(rows.iter().flatten()) {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hex::encode(hash.finalize())
}

fn kinds(going: &[Owned]) -> Vec<String> {
    let mut counts: HashMap<&GroupKind, usize> = HashMap::new();
    for (key, _) in going {
        *counts.entry(&key.kind).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by(|(kind, count), (other, others)| others.cmp(count).then(kind.cmp(other)));
    let left_out = counts.len().saturating_sub(KINDS);
    let named = counts.iter().take(KINDS);
    let mut named: Vec<String> = named
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    if left_out > 0 {
        named.push(format!("and {left_out} more kinds"));
    }
    named
}

#[cfg(test)]
mod tests {
    use super::super::observed::testing::observed;
    use super::*;

    const LIMIT: PruneLimit = PruneLimit {
        percent: 50,
        holds_contents: true,
    };

    fn object(kind: &str, name: &str, uid: &str) -> Owned {
        let key = ObjectKey {
            kind: GroupKind::new("", kind),
            namespace: Some("prod".into()),
            name: name.into(),
        };
        (key, observed("a", uid))
    }

    fn objects(numbers: impl Iterator<Item = usize>) -> Vec<Owned> {
        numbers
            .map(|number| object("ConfigMap", &format!("m{number}"), &format!("u{number}")))
            .collect()
    }

    fn plan(going: &[Owned], staying: &[Owned]) -> PrunePlan {
        limited(going, staying, 50)
    }

    fn limited(going: &[Owned], staying: &[Owned], percent: u8) -> PrunePlan {
        let name = SyncName::new("ns", "a");
        let keys = staying.iter().map(|(key, _)| key);
        let limit = PruneLimit { percent, ..LIMIT };
        PrunePlan::new((&name, "uid"), going, keys, None, &limit)
    }

    fn is_held(plan: &PrunePlan) -> bool {
        matches!(plan.clone().judged(Vec::new()), Brake::Held(_))
    }

    #[test]
    fn more_than_the_share_of_ten_or_more_objects_is_held() {
        for (deletes, of, percent, held) in [
            (0, 0, 50, false),
            (0, 20, 50, false),
            (0, 20, 0, false),
            (10, 20, 50, false),
            (11, 20, 50, true),
            (12, 20, 50, true),
            (20, 20, 50, true),
            // Fewer than ten.
            (9, 9, 50, false),
            (5, 9, 50, false),
            (1, 9, 0, true),
            (10, 10, 50, true),
            (6, 10, 50, true),
            (5, 10, 50, false),
            (6, 11, 50, true),
            (1, 10, 10, false),
            (2, 10, 10, true),
            (1, 1_000, 0, true),
            (20, 20, 100, false),
            (10_000, 10_000, 100, false),
            (9_999, 10_000, 99, true),
        ] {
            let all = objects(0..of);
            let (going, staying) = all.split_at(deletes);
            let plan = limited(going, staying, percent);
            assert_eq!(is_held(&plan), held, "{deletes} of {of} at {percent} %");
            assert_eq!((plan.deletes, plan.of), (deletes, of));
        }
    }

    #[test]
    fn what_holds_something_is_held_whatever_the_share() {
        let all = objects(0..20);
        let small = plan(&all[..1], &all[1..]);
        assert_eq!(small.clone().judged(Vec::new()), Brake::Free);
        let lost = vec!["Namespace shop holds Pod shop/a".to_owned()];
        let Brake::Held(held) = small.judged(lost.clone()) else {
            panic!("it is not held");
        };
        assert_eq!(held.because, lost);
    }

    /// The objects that a revision adds are no reason to delete more of those that were there.
    #[test]
    fn the_share_is_also_that_of_what_was_there_before() {
        // Of 20 old objects and of as many new ones as there are, so many go.
        for (old, new, before, held, of) in [
            (20, (0, 20), 20, true, 20),
            (19, (0, 20), 20, true, 20),
            (10, (0, 20), 20, false, 20),
            (11, (0, 1_000), 20, true, 20),
            // The commit is reverted: what it added goes again.
            (0, (20, 20), 20, false, 40),
            (0, (21, 21), 20, true, 41),
            (10, (20, 20), 20, true, 40),
            (5, (9, 20), 20, false, 40),
            // Fewer were counted than there were.
            (12, (0, 0), 8, true, 12),
        ] {
            let mut all = objects(0..20 + new.1);
            for (number, (_, observed)) in all.iter_mut().enumerate() {
                observed.created = if number < 20 { 100 } else { 200 };
            }
            let goes = |number: usize| number < old || (20..20 + new.0).contains(&number);
            let (going, staying): (Vec<_>, Vec<_>) = all
                .into_iter()
                .enumerate()
                .partition(|(number, _)| goes(*number));
            let going: Vec<Owned> = going.into_iter().map(|(_, one)| one).collect();
            let staying: Vec<Owned> = staying.into_iter().map(|(_, one)| one).collect();
            let name = SyncName::new("ns", "a");
            let keys = staying.iter().map(|(key, _)| key);
            let before = Before {
                objects: before,
                newest: 100,
            };
            let plan = PrunePlan::new((&name, "uid"), &going, keys, Some(before), &LIMIT);
            assert_eq!((is_held(&plan), plan.of), (held, of), "{old} {new:?}");
        }
    }

    #[test]
    fn a_plan_says_how_many_of_which_kinds() {
        let going = [
            object("Service", "a", "1"),
            object("ConfigMap", "b", "2"),
            object("ConfigMap", "c", "3"),
            object("Secret", "d", "4"),
        ];
        assert_eq!(
            plan(&going, &[]).kinds,
            ["2 ConfigMap", "1 Secret", "1 Service"]
        );
        let many: Vec<_> = (0..30)
            .map(|number| object(&format!("Kind{number:02}"), "a", "1"))
            .collect();
        let named = plan(&many, &[]).kinds;
        assert_eq!((named.len(), &*named[20]), (21, "and 10 more kinds"));
    }

    #[test]
    fn an_approval_is_of_exactly_one_plan_and_of_what_is_left_of_it() {
        let all = objects(0..20);
        let (going, staying) = all.split_at(12);
        let first = plan(going, staying);
        let is_approved = |plan: &PrunePlan, before: Option<&PrunePlan>, approval: &str| {
            plan.clone().approved(before, Some(approval)).is_ok()
        };
        assert!(first.clone().approved(None, None).is_err());
        assert!(is_approved(&first, None, &first.digest));
        assert!(is_approved(
            &first,
            Some(&first),
            &format!(" {}\n", first.digest)
        ));
        for wrong in ["", "true", "*", &first.digest[1..], &first.keeps] {
            assert!(!is_approved(&first, Some(&first), wrong), "{wrong:?}");
        }
        // A part of it was carried out, also if the operator was restarted meanwhile.
        let rest = plan(&going[5..], staying);
        assert!(is_approved(&rest, Some(&first), &first.digest));
        assert!(!is_approved(&rest, None, &first.digest));
        // A newer commit deletes more, less, or others.
        for (from, to) in [(0, 13), (0, 11), (1, 13)] {
            let (rest, going): (Vec<_>, Vec<_>) = all
                .iter()
                .cloned()
                .enumerate()
                .partition(|(at, _)| !(from..to).contains(at));
            let strip =
                |all: Vec<(usize, _)>| all.into_iter().map(|(_, one)| one).collect::<Vec<_>>();
            let newer = plan(&strip(going), &strip(rest));
            assert!(
                !is_approved(&newer, Some(&first), &first.digest),
                "{from}..{to}"
            );
            assert!(is_approved(&newer, Some(&first), &newer.digest));
        }
    }

    /// Numbers that look random and are the same in every run (splitmix64).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, most: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            usize::try_from((z ^ (z >> 31)) % (most as u64)).unwrap()
        }
    }

    /// Whatever goes and stays: the order does not count, every other plan has another digest, a plan that is held is
    /// one that exceeds the limit, and an approval never lets more go than it named.
    #[test]
    fn plans_of_any_size_are_told_apart() {
        let mut numbers = Numbers(7);
        let mut digests: HashMap<String, Vec<String>> = HashMap::new();
        let mut before: Option<PrunePlan> = None;
        for _ in 0..2_000 {
            let of = numbers.below(40);
            let deletes = numbers.below(of + 1);
            let mut all = objects(0..of);
            for (_, observed) in &mut all {
                // An object that was made anew is another one.
                if numbers.below(20) == 0 {
                    observed.uid = format!("new{}", numbers.below(3)).into();
                }
            }
            for at in (1..all.len()).rev() {
                all.swap(at, numbers.below(at + 1));
            }
            let (going, staying) = all.split_at(deletes);
            let made = plan(going, staying);
            let mut turned = going.to_vec();
            turned.reverse();
            assert_eq!(plan(&turned, staying).digest, made.digest);
            let mut names: Vec<String> = going
                .iter()
                .map(|(key, observed)| format!("{key} {}", observed.uid))
                .collect();
            names.sort();
            let same = digests
                .entry(made.digest.clone())
                .or_insert_with(|| names.clone());
            assert_eq!(*same, names, "two plans with one digest");

            let percent = u8::try_from(numbers.below(101)).unwrap();
            let held = is_held(&limited(going, staying, percent));
            let allowed = of * usize::from(percent) / 100;
            let counts = of >= FEWEST || percent == 0;
            assert_eq!(
                held,
                deletes > allowed && counts,
                "{deletes} of {of}, {percent} %"
            );

            if let Some(before) = &before
                && let Ok(brake) = made.clone().approved(Some(before), Some(&before.digest))
            {
                let Brake::Approved(approved) = brake else {
                    panic!("{brake:?}");
                };
                assert!(made.deletes <= approved.deletes && made.keeps == approved.keeps);
            }
            before = Some(made);
        }
    }
}
