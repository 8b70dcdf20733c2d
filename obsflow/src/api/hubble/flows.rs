//! The answer to `GetFlows`: read from what is kept when the client takes it, and at no other time. A client that does not
//! read costs the place it stands at.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;
use tonic::Status as Refusal;

use super::mask::Mask;
use super::message;
use super::place::{Begin, Selection, Turn};
use super::proto::observer::GetFlowsResponse;
use super::proto::observer::get_flows_response::ResponseTypes;
use super::reader::Reader;
use crate::flow::FlowMaker;
use crate::model::Mono;
use crate::model::flow::{Body, LostEvent, LostSource, Response};
use crate::store::{Detail, History, Kept, Next};

/// See the module.
#[derive(Debug)]
pub(super) struct Flows {
    history: History,
    maker: FlowMaker,
    selection: Selection,
    mask: Option<Mask>,
    reader: Reader,
    /// What is told before anything else.
    before: Option<GetFlowsResponse>,
    extent: Extent,
    _permit: OwnedSemaphorePermit,
}

/// How far an answer goes.
#[derive(Debug)]
pub(super) enum Extent {
    /// As far as there were entries when it was asked for, and no more flows than that.
    Kept {
        /// Flows.
        left: u64,
    },
    /// As long as there are some.
    Follow(WatchStream<Kept>),
    /// No further.
    Over,
}

impl Flows {
    pub(super) fn new(
        history: History,
        selection: Selection,
        mask: Option<Mask>,
        begin: Begin,
        extent: Extent,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let maker = FlowMaker {
            clock: history.clock(),
            node_name: history.node.clone(),
        };
        // All that went before the first entry of this answer; what went since then is told when it is come to.
        let before = begin.beyond.map(|times| {
            let last = times.map_or(Mono(0), |(_, last)| last);
            let count = begin.number + begin.state.unwrap_or_default();
            message::response(&lost(&maker, count, times, last))
        });
        Self {
            reader: Reader::new(&history, &begin, matches!(extent, Extent::Follow(_))),
            history,
            maker,
            selection,
            mask,
            before,
            extent,
            _permit: permit,
        }
    }

    fn message(&self, response: &Response) -> GetFlowsResponse {
        let mut message = message::response(response);
        if let (Some(mask), Some(ResponseTypes::Flow(flow))) = (&self.mask, &mut message.response_types) {
            **flow = mask.apply(flow);
        }
        message
    }
}

/// What a look at entries came to.
enum Look {
    Found(Response),
    /// Nothing among those that were looked at.
    Turn,
    /// There are no more yet.
    End,
    /// There never will be any that are wanted.
    Over,
}

impl Flows {
    fn look(&mut self) -> Look {
        let mut turn = Turn::new();
        while !turn.is_over() {
            if matches!(self.extent, Extent::Kept { left: 0 }) {
                return Look::Over;
            }
            match self.reader.read() {
                Next::Entry(seen) => {
                    if matches!(self.extent, Extent::Follow(_))
                        && !matches!(seen.detail, Detail::Lost(_))
                        && self.selection.until.is_some_and(|until| seen.at > until)
                    {
                        return Look::Over;
                    }
                    let Some(response) = self.selection.take(seen, &self.maker) else {
                        continue;
                    };
                    if let (Extent::Kept { left }, Body::Flow(_)) = (&mut self.extent, &response.body) {
                        *left -= 1;
                    }
                    return Look::Found(response);
                }
                Next::Lost(count) => {
                    let last = self.history.store.gone().map_or(Mono(0), |(_, last)| last);
                    return Look::Found(lost(&self.maker, count, None, last));
                }
                Next::End => return Look::End,
            }
        }
        Look::Turn
    }
}

impl Stream for Flows {
    type Item = Result<GetFlowsResponse, Refusal>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(before) = this.before.take() {
            return Poll::Ready(Some(Ok(before)));
        }
        this.maker.clock = this.history.clock();
        loop {
            match this.look() {
                Look::Found(response) => return Poll::Ready(Some(Ok(this.message(&response)))),
                Look::Turn => {
                    // Others are on this thread, too.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Look::Over => return Poll::Ready(None),
                Look::End => match &mut this.extent {
                    Extent::Follow(changes) => {
                        if ready!(Pin::new(changes).poll_next(cx)).is_none() {
                            this.extent = Extent::Over;
                            // Whoever follows is not done: it should ask whoever comes next.
                            return Poll::Ready(Some(Err(Refusal::unavailable("the agent ends"))));
                        }
                    }
                    Extent::Kept { .. } | Extent::Over => return Poll::Ready(None),
                },
            }
        }
    }
}

/// What this reader came too late for.
fn lost(maker: &FlowMaker, count: u64, times: Option<(Mono, Mono)>, at: Mono) -> Response {
    Response {
        body: Body::LostEvents(LostEvent {
            source: LostSource::HubbleRingBuffer,
            num_events_lost: count,
            cpu: None,
            first: times.map(|(first, _)| maker.clock.wall(first)),
            last: times.map(|(_, last)| maker.clock.wall(last)),
        }),
        node_name: maker.node_name.clone(),
        time: maker.clock.wall(at),
    }
}
