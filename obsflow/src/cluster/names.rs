//! Names, each held once.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::RandomState;

/// Fewer names than this are not worth looking through.
const FEW: usize = 4096;

/// Names in use. A namespace is the name of ten thousand objects, and is one text in memory.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashSet<Arc<str>, RandomState>,
    sweep_at: usize,
}

impl Names {
    /// The one of this text.
    pub(super) fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(name) = self.known.get(text) {
            return Arc::clone(name);
        }
        if self.known.len() >= self.sweep_at.max(FEW) {
            self.known.retain(|name| Arc::strong_count(name) > 1);
            self.sweep_at = self.known.len() * 2;
        }
        let name: Arc<str> = text.into();
        self.known.insert(Arc::clone(&name));
        name
    }

    /// [`Names::get`], nothing for nothing.
    pub(super) fn some(&mut self, text: &str) -> Option<Arc<str>> {
        (!text.is_empty()).then(|| self.get(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one_and_unused_ones_go() {
        let mut names = Names::default();
        let shop = names.get("shop");
        assert!(Arc::ptr_eq(&shop, &names.get("shop")));
        for round in 0..4 * FEW {
            names.get(&round.to_string());
        }
        assert!(names.known.len() <= 2 * FEW, "{}", names.known.len());
        assert!(Arc::ptr_eq(&shop, &names.get("shop")));
        assert_eq!(names.some(""), None);
    }
}
