//! Requests of HTTP/1 and their answers, by their order.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Said;
use super::http1::Response;
use crate::model::exchange::{Answer, Exchange, Request};
use crate::model::time::Mono;

/// Requests that may be unanswered at a time.
const MAX_WAITING: usize = 16;

/// Requests that wait for their answer. Exporters send one at a time; pipelining (RFC 9112, 9.3.2) is understood as long
/// as everything was captured.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    waiting: VecDeque<Arc<Request>>,
    /// Requests were missed before the last one, and with them perhaps their answers.
    missed: bool,
}

impl Exchanges {
    /// A request; `gap` when others before it were missed. How many had to be forgotten for it.
    pub(super) fn ask(&mut self, request: Arc<Request>, gap: bool) -> u64 {
        if gap {
            // What became of these was missed too.
            self.waiting.clear();
            self.missed = true;
        }
        let full = self.waiting.len() >= MAX_WAITING;
        if full {
            self.waiting.pop_front();
        }
        self.waiting.push_back(request);
        full.into()
    }

    /// The request that an answer is for, if that is known.
    pub(super) fn answered(&mut self, response: &Response) -> Option<Arc<Request>> {
        let missed = std::mem::take(&mut self.missed);
        if !response.gap || missed {
            return self.waiting.pop_front();
        }
        // Answers before this one were missed. It is that of the last request, if more than one was sent meanwhile;
        // of a single one nobody knows.
        let last = (self.waiting.len() > 1)
            .then(|| self.waiting.pop_back())
            .flatten();
        self.waiting.clear();
        last
    }

    /// The connection ended.
    pub(super) fn end(self, at: Mono, rst: bool, out: &mut Vec<Said>) {
        for request in self.waiting {
            say(request, at, Answer::ConnectionEnded { rst }, out);
        }
    }
}

/// Tells what became of a request.
pub(super) fn say(request: Arc<Request>, at: Mono, answer: Answer, out: &mut Vec<Said>) {
    let took = at.since(request.at);
    out.push(Said::Exchange(Box::new(Exchange {
        request,
        answer,
        took,
    })));
}
