//! What was said on the connections: stream bytes to requests, answers, handshakes and mismatches.

use crate::decode::http::{Conversation, End, Said, Segment};
use crate::model::event::Close;
use crate::model::exchange::Spoken;
use crate::model::observation::{Observation, What};
use crate::model::time::Mono;

use super::connection::Connections;
use super::owner::{Ends, Owner};

/// States of a socket whose peer sent its FIN first (`include/net/tcp_states.h`).
const CLOSE_WAIT: u8 = 8;
/// See [`CLOSE_WAIT`].
const LAST_ACK: u8 = 9;

impl Connections {
    /// Stream bytes of a connection.
    pub(super) fn payload(&mut self, cookie: u64, segment: &Segment<'_>, out: &mut Vec<Observation>) {
        let Some(known) = self.by_cookie.get_mut(&cookie) else {
            return;
        };
        let conversation = known.conversation.get_or_insert_default();
        let forgotten = conversation.forgotten();
        conversation.hear(segment, &mut self.said);
        self.exchanges_forgotten += conversation.forgotten() - forgotten;
        for said in self.said.drain(..) {
            out.push(known.owner.observe(segment.at, known.ends.clone(), what(said)));
        }
    }

    /// What the end of a connection tells of its conversation.
    pub(super) fn end_of(
        &mut self,
        mut conversation: Conversation,
        owner: &Owner,
        ends: &Ends,
        close: &Close,
        at: Mono,
        out: &mut Vec<Observation>,
    ) {
        let end = End {
            at,
            rst: close.rst,
            by_peer: matches!(close.last_state, CLOSE_WAIT | LAST_ACK),
            received: close.bytes_received,
        };
        conversation.end(&end, &mut self.said);
        for said in self.said.drain(..) {
            out.push(owner.observe(at, ends.clone(), what(said)));
        }
    }

    /// What the two directions of a connection speak: sent, received.
    pub(super) fn spoken(&self, cookie: u64) -> Option<(Spoken, Spoken)> {
        let known = self.get(cookie)?;
        Some(
            known
                .conversation
                .as_ref()
                .map_or_else(Default::default, |conversation| conversation.spoken()),
        )
    }
}

fn what(said: Said) -> What {
    match said {
        Said::Request(request) => What::Request(request),
        Said::Exchange(exchange) => What::Exchange(exchange),
        Said::Tls(tls) => What::Tls(tls),
        Said::Mismatch(mismatch) => What::Mismatch(mismatch),
    }
}
