//! Where in what is kept an answer begins and ends.

use std::time::{Duration, Instant};

use tonic::Status as Refusal;

use super::proto::observer::GetFlowsRequest;
use super::reader::Backwards;
use crate::filter::FilterSet;
use crate::flow::FlowMaker;
use crate::model::Mono;
use crate::model::flow::{Body, Response};
use crate::store::{Detail, History, Seen};

/// Entries that are looked at before others get their turn.
const TURN: usize = 4_096;
/// How long they are looked at: what one takes depends on the filters.
const TURN_TIME: Duration = Duration::from_millis(1);
/// Entries between two looks at the clock.
const STRIDE: usize = 16;

/// What others have waited for meanwhile.
#[derive(Debug)]
pub(super) struct Turn {
    began: Instant,
    looked: usize,
}

impl Turn {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            looked: 0,
        }
    }

    /// Whether it is over, after one more entry.
    pub(super) fn is_over(&mut self) -> bool {
        self.looked += 1;
        self.looked >= TURN || self.looked.is_multiple_of(STRIDE) && self.began.elapsed() > TURN_TIME
    }
}

/// Longest message of a refusal, in bytes.
const MAX_MESSAGE: usize = 512;

/// Which flows.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) filters: FilterSet,
    /// Periodic state of sockets, too: only for those who ask.
    socket_state: bool,
    pub(super) since: Option<Mono>,
    pub(super) until: Option<Mono>,
}

/// Where an answer begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    /// With the entry of this number.
    pub(super) number: u64,
    /// And of states of sockets with that of this one, if they are wanted.
    pub(super) state: Option<u64>,
    /// What is not kept any more would have been part of it: when the first and the last of so many entries happened.
    pub(super) beyond: Option<Beyond>,
}

/// When the first and the last entry before a number happened, as far as that is known.
pub(super) type Beyond = Option<(Mono, Mono)>;

/// The earlier of the first, and the later of the last.
fn both(one: Beyond, other: Beyond) -> Beyond {
    match (one, other) {
        (Some((first, last)), Some((other_first, other_last))) => {
            Some((first.min(other_first), last.max(other_last)))
        }
        (one, other) => one.or(other),
    }
}

/// A message that quotes what it was sent, and may be as long: clients take no headers of that length.
pub(super) fn readable(mut message: String) -> String {
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE));
        message.push('…');
    }
    message
}

impl Selection {
    pub(super) fn new(request: &GetFlowsRequest, history: &History) -> Result<Self, Refusal> {
        let filters = FilterSet::of_messages(&request.whitelist, &request.blacklist)
            .map_err(|error| Refusal::invalid_argument(readable(error.to_string())))?;
        let clock = history.clock();
        let time = |name: &str, stamp: Option<prost_types::Timestamp>| {
            let Some(stamp) = stamp else { return Ok(None) };
            crate::api::convert::moment(stamp)
                .map(|time| Some(clock.mono(time)))
                .ok_or_else(|| Refusal::invalid_argument(format!("{name} is no time: {stamp:?}")))
        };
        Ok(Self {
            socket_state: filters.asks_for_socket_state(),
            filters,
            since: time("since", request.since)?,
            until: time("until", request.until)?,
        })
    }

    /// Whether an entry happened when it should have.
    pub(super) fn is_in_time(&self, at: Mono) -> bool {
        self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
    }

    /// The flow of an entry, if it is wanted. What was lost meanwhile always is.
    pub(super) fn take(&self, seen: &Seen, maker: &FlowMaker) -> Option<Response> {
        if !self.is_in_time(seen.at) {
            return None;
        }
        if matches!(seen.detail, Detail::Lost(_)) {
            return Some(maker.make(&seen.observation()));
        }
        if matches!(seen.detail, Detail::TcpInfo(_)) && !self.socket_state {
            return None;
        }
        if !self.filters.may_match(seen) {
            return None;
        }
        let observation = seen.observation();
        let mut response = maker.make_without_summary(&observation);
        if !self.filters.wants(&response) {
            return None;
        }
        FlowMaker::add_summary(&mut response, &observation);
        Some(response)
    }

    fn counts(&self, seen: &Seen, maker: &FlowMaker) -> bool {
        !matches!(seen.detail, Detail::Lost(_))
            && self
                .take(seen, maker)
                .is_some_and(|response| matches!(response.body, Body::Flow(_)))
    }

    /// Where the answer to a request begins: as Hubble does it, a time counts more than a number, and who follows and asks
    /// for neither gets what is to come.
    pub(super) async fn begin(
        &self,
        request: &GetFlowsRequest,
        history: &History,
        maker: &FlowMaker,
    ) -> Begin {
        // Each at one moment: what goes from here on is lost to this reader when it comes to it.
        let (kept, gone) = history.store.kept_and_gone();
        let states = self.socket_state.then(|| history.states.kept_and_gone());
        let (states, gone) = match states {
            Some((states, of_states)) => (Some(states), both(gone, of_states)),
            None => (None, gone),
        };
        let len = kept.len() + states.map_or(0, |states| states.len());
        let all = Begin {
            number: kept.begin,
            state: states.map(|states| states.begin),
            beyond: (kept.begin > 0 || states.is_some_and(|states| states.begin > 0)).then_some(gone),
        };
        if let Some(since) = self.since {
            // Entries come only nearly in the order of their times: all are looked at, which takes less than a millisecond.
            let went = gone.is_some_and(|(_, last)| last >= since);
            return Begin {
                beyond: all.beyond.filter(|_| went),
                ..all
            };
        }
        if request.first
            || (request.number == 0 && !request.follow)
            || request.number >= len && request.number > 0
        {
            return all;
        }
        if request.number == 0 {
            return Begin {
                number: kept.end,
                state: states.map(|states| states.end),
                beyond: None,
            };
        }
        let mut backwards = Backwards::new(history, self.socket_state);
        let (mut found, mut turn) = (0, Turn::new());
        while let Some(seen) = backwards.step() {
            if self.counts(seen, maker) {
                found += 1;
                if found == request.number {
                    let (number, state) = backwards.numbers();
                    return Begin {
                        number,
                        state,
                        beyond: None,
                    };
                }
            }
            if turn.is_over() {
                tokio::task::yield_now().await;
                turn = Turn::new();
            }
        }
        all
    }
}
