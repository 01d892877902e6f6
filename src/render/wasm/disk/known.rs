//! What this process knows of the files: it asks for each one once, and writes no output twice.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use super::{FileName, Output};

/// Of how many files something is known. At about half a KiB each, also where their outputs are gone.
const MOST: usize = 32 << 10;

/// What each file holds, by its name: an output, or something that this process did not make.
#[derive(Default)]
pub(super) struct Known(Mutex<HashMap<String, Weak<Output>>>);

impl Known {
    /// Whether nothing is known of this file. From now on it is known that it was asked for.
    pub(super) fn is_new(&self, name: &FileName) -> bool {
        let is_new = !self.lock().contains_key(&name.0);
        if is_new {
            self.set(name, Weak::new());
        }
        is_new
    }

    /// Whether the file holds this output.
    pub(super) fn has(&self, name: &FileName, output: &Weak<Output>) -> bool {
        let known = self.lock();
        known.get(&name.0).is_some_and(|held| held.ptr_eq(output))
    }

    /// The file holds this output.
    pub(super) fn set(&self, name: &FileName, output: Weak<Output>) {
        let mut known = self.lock();
        if known.len() >= MOST && !known.contains_key(&name.0) {
            known.retain(|_, output| output.strong_count() > 0);
            // What is forgotten is asked for or written once more.
            if known.len() >= MOST {
                known.clear();
            }
        }
        known.insert(name.0.clone(), output);
    }

    /// The file was removed. The next output of that name is written again.
    pub(super) fn removed(&self, name: &str) {
        if let Some(output) = self.lock().get_mut(name) {
            *output = Weak::new();
        }
    }

    /// Forgets all files but these.
    pub(super) fn retain(&self, stays: impl Fn(&str) -> bool) {
        self.lock().retain(|name, _| stays(name));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Weak<Output>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::tests::{Numbers, output};
    use super::*;

    fn name(number: usize) -> FileName {
        FileName(number.to_string())
    }

    #[test]
    fn a_file_is_new_once_and_has_the_output_that_was_written_last() {
        let known = Known::default();
        let [one, other] = [1, 2].map(|seed| Arc::new(output(&mut Numbers(seed))));
        let [one, other] = [&one, &other].map(Arc::downgrade);
        assert!(known.is_new(&name(1)) && !known.is_new(&name(1)));
        assert!(!known.has(&name(1), &one));
        known.set(&name(1), one.clone());
        assert!(known.has(&name(1), &one) && !known.has(&name(1), &other));
        assert!(!known.has(&name(2), &one));
        known.set(&name(1), other.clone());
        assert!(known.has(&name(1), &other) && !known.has(&name(1), &one));
        known.removed("1");
        assert!(!known.has(&name(1), &other) && !known.is_new(&name(1)));
        known.retain(|name| name != "1");
        assert!(known.is_new(&name(1)));
    }

    #[test]
    fn what_is_known_is_bounded() {
        let known = Known::default();
        let live = Arc::new(output(&mut Numbers(1)));
        known.set(&name(0), Arc::downgrade(&live));
        for number in 1..=MOST {
            assert!(known.is_new(&name(number)));
        }
        // Those without an output went first.
        assert!(known.has(&name(0), &Arc::downgrade(&live)));
        assert_eq!(known.lock().len(), 2);
        for number in 0..=MOST {
            known.set(&name(number), Arc::downgrade(&live));
            assert!(known.lock().len() <= MOST);
        }
    }
}
