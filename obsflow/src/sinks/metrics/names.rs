//! Label values by number: series are found by numbers, which are quicker to compare than text.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use foldhash::fast::RandomState;

/// A label value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Sym(u32);

/// No value.
pub(super) const EMPTY: Sym = Sym(0);
/// What has no series of its own.
pub(super) const OTHER: Sym = Sym(1);
/// Addresses without a name outside private networks.
pub(super) const OUTSIDE: Sym = Sym(2);

/// As it is written.
pub(super) const OTHER_TEXT: &str = "~other";
const FIXED: [&str; 3] = ["", OTHER_TEXT, "~outside"];
/// Values kept before it is looked for those that nobody uses any more.
const ROOM: usize = 8192;

/// Both ways.
#[derive(Debug)]
pub(super) struct Names {
    by_text: HashMap<Arc<str>, Sym, RandomState>,
    texts: Vec<Option<Arc<str>>>,
    free: Vec<Sym>,
    /// Values after which it is worth looking.
    full: usize,
}

impl Default for Names {
    fn default() -> Self {
        let mut names = Self {
            by_text: HashMap::default(),
            texts: Vec::new(),
            free: Vec::new(),
            full: ROOM,
        };
        for text in FIXED {
            names.sym(text);
        }
        names
    }
}

impl Names {
    /// The number of a text.
    pub(super) fn sym(&mut self, text: &str) -> Sym {
        if let Some(sym) = self.by_text.get(text) {
            return *sym;
        }
        let text: Arc<str> = text.into();
        let sym = match self.free.pop() {
            Some(sym) => sym,
            None => {
                self.texts.push(None);
                Sym(u32::try_from(self.texts.len() - 1).unwrap_or(u32::MAX))
            }
        };
        if let Some(place) = self.texts.get_mut(sym.0 as usize) {
            *place = Some(Arc::clone(&text));
        }
        self.by_text.insert(text, sym);
        sym
    }

    /// The text of a number.
    pub(super) fn text(&self, sym: Sym) -> Arc<str> {
        let text = self.texts.get(sym.0 as usize).and_then(Option::as_ref);
        text.map_or_else(|| Arc::from(""), Arc::clone)
    }

    /// Whether there are so many that [`Self::sweep`] is worth its time.
    pub(super) fn is_full(&self) -> bool {
        self.by_text.len() > self.full
    }

    /// Forgets those that are not used.
    pub(super) fn sweep(&mut self, used: &HashSet<Sym, RandomState>) {
        let fixed = |sym: Sym| (sym.0 as usize) < FIXED.len();
        let (texts, free) = (&mut self.texts, &mut self.free);
        self.by_text.retain(|_, sym| {
            let keep = fixed(*sym) || used.contains(sym);
            if !keep {
                if let Some(place) = texts.get_mut(sym.0 as usize) {
                    *place = None;
                }
                free.push(*sym);
            }
            keep
        });
        self.full = (2 * self.by_text.len()).max(ROOM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_when_nobody_has_them() {
        let mut names = Names::default();
        let (a, b) = (names.sym("a"), names.sym("b"));
        assert_eq!(names.sym("a"), a);
        assert_eq!(&*names.text(b), "b");
        assert_eq!(&*names.text(OTHER), "~other");
        names.sweep(&HashSet::from_iter([a]));
        assert_eq!(&*names.text(a), "a");
        assert_eq!(&*names.text(b), "");
        assert_eq!(names.sym("c"), b);
        assert_eq!((&*names.text(OUTSIDE), &*names.text(EMPTY)), ("~outside", ""));
    }
}
