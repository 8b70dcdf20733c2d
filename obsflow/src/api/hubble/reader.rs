//! Entries for one answer, in the order of their times: flows, and for who asks states of sockets between them.

use super::place::Begin;
use crate::model::Mono;
use crate::store::{Cursor, History, Next, Seen, Store};

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    flows: Part,
    states: Option<Part>,
}

/// One of the two.
#[derive(Debug)]
struct Part {
    cursor: Cursor<Seen>,
    /// Number of the first entry that is not of this answer.
    end: u64,
}

impl Part {
    fn new(store: &Store<Seen>, begin: u64, follows: bool) -> Self {
        Self {
            cursor: store.cursor(begin),
            end: if follows { u64::MAX } else { store.kept().end },
        }
    }

    fn peek(&mut self) -> Option<Mono> {
        if self.cursor.position() >= self.end {
            return None;
        }
        self.cursor.peek()
    }

    fn read(&mut self) -> Next<'_, Seen> {
        let left = self.end.saturating_sub(self.cursor.position());
        if left == 0 {
            return Next::End;
        }
        match self.cursor.read() {
            // Others went, too, that came after all of this answer.
            Next::Lost(count) => Next::Lost(count.min(left)),
            next => next,
        }
    }
}

impl Reader {
    /// From where an answer begins to what there is now, or to what is to come.
    pub(super) fn new(history: &History, begin: &Begin, follows: bool) -> Self {
        Self {
            flows: Part::new(&history.store, begin.number, follows),
            states: begin
                .state
                .map(|number| Part::new(&history.states, number, follows)),
        }
    }

    /// The next one; at the end of what there is, or of the answer, there is none.
    pub(super) fn read(&mut self) -> Next<'_, Seen> {
        let Some(states) = &mut self.states else {
            return self.flows.read();
        };
        match (self.flows.peek(), states.peek()) {
            (Some(flow), Some(state)) if flow <= state => self.flows.read(),
            (_, Some(_)) => states.read(),
            (_, None) => self.flows.read(),
        }
    }
}

/// The same from the end of what is kept to its beginning.
pub(super) struct Backwards {
    flows: Back,
    states: Option<Back>,
}

struct Back {
    cursor: Cursor<Seen>,
    begin: u64,
    /// Number of the entry that was looked at last.
    at: u64,
}

impl Back {
    fn new(store: &Store<Seen>) -> Self {
        let kept = store.kept();
        Self {
            cursor: store.cursor(kept.end),
            begin: kept.begin,
            at: kept.end,
        }
    }

    fn peek(&mut self) -> Option<Mono> {
        if self.at <= self.begin {
            return None;
        }
        // What went meanwhile is the end of it, too.
        self.cursor.get(self.at - 1).map(|seen| seen.at)
    }

    fn step(&mut self) -> Option<&Seen> {
        if self.at <= self.begin {
            return None;
        }
        self.at -= 1;
        self.cursor.get(self.at)
    }
}

impl Backwards {
    pub(super) fn new(history: &History, states: bool) -> Self {
        Self {
            flows: Back::new(&history.store),
            states: states.then(|| Back::new(&history.states)),
        }
    }

    /// The one before.
    pub(super) fn step(&mut self) -> Option<&Seen> {
        let Some(states) = &mut self.states else {
            return self.flows.step();
        };
        match (self.flows.peek(), states.peek()) {
            (Some(flow), Some(state)) if flow > state => self.flows.step(),
            (_, Some(_)) => states.step(),
            (_, None) => self.flows.step(),
        }
    }

    /// The numbers of what was looked at last.
    pub(super) fn numbers(&self) -> (u64, Option<u64>) {
        (self.flows.at, self.states.as_ref().map(|states| states.at))
    }
}
