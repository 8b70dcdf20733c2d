//! Flows that a server has.

use std::io;
use std::time::Duration;

use jiff::Timestamp;

use super::super::until_signal;
use super::{empty, say, say_unknowable, view};
use crate::api::convert::{WALL, stamp};
use crate::api::hubble::proto::observer::GetFlowsRequest;
use crate::api::hubble::{Client, Next};
use crate::config::Observe;
use crate::filter::FilterSet;
use crate::model::flow::{Body, LostSource, Response};
use crate::session::Stop;
use crate::sinks::{Format, Selector, Show};

/// How often a wait for flows looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(200);
/// What the version of an agent of obsflow has in it.
const OBSFLOW: &str = "+obsflow.";

pub(super) fn run(config: &Observe, client: &Client) -> anyhow::Result<()> {
    let stop = Stop::default();
    until_signal(&stop, || show(config, client, &stop, io::stdout()))
}

pub(super) fn show(
    config: &Observe,
    client: &Client,
    stop: &Stop,
    out: impl io::Write,
) -> anyhow::Result<()> {
    let selects = selects_here(config, client)?;
    let mut show = printing(config, selects, out)?;
    let mut flows = client.flows(request(config, selects));
    let mut heard = Heard::default();
    loop {
        // What is there already is printed at one go.
        let next = match flows.next_within(Duration::ZERO)? {
            Next::Nothing => {
                if show.flush()?.is_break() {
                    break;
                }
                flows.next_within(GLANCE)?
            }
            next => next,
        };
        match next {
            Next::Nothing if stop.is_stopped() => break,
            Next::Nothing => {}
            Next::Ended => break,
            Next::Response(response) => {
                if !heard.any && is_obsflow(flows.version()) {
                    say_unknowable(config);
                }
                heard.hear(&response);
                // An agent that looks back further than it remembers begins with what it lost.
                if heard.looked_beyond {
                    heard.looked_beyond = false;
                    say_oldest(config, client);
                }
                if show.wants(&response) && show.take(*response)?.is_break() {
                    break;
                }
                if stop.is_stopped() {
                    break;
                }
            }
        }
    }
    let is_obsflow = is_obsflow(flows.version());
    if !heard.any && is_obsflow {
        // It ended without a word.
        say_unknowable(config);
    }
    let printed = show.finish()?;
    drop(flows);
    if printed == 0 && !config.part.kept.follow && !stop.is_stopped() {
        let about = is_obsflow
            .then(|| client.report(config.limits.request).ok())
            .flatten();
        say(
            config,
            empty::explain(&config.wanted, about.as_ref(), WALL.mono(Timestamp::now())),
        );
    }
    Ok(())
}

/// Whether this command has to select by itself: others than obsflow pass over the fields that only obsflow knows. What is left
/// of a filter without them may be nothing, which matches everything.
fn selects_here(config: &Observe, client: &Client) -> anyhow::Result<bool> {
    if !config.wanted.is_own() || is_obsflow(client.version(config.limits.request)?.as_deref()) {
        return Ok(false);
    }
    // Lines are made of all fields that came.
    let is_json = matches!(
        config.printer.format,
        Format::Json | Format::Jsonpb | Format::LegacyJson
    );
    if is_json && !config.field_mask.is_empty() {
        anyhow::bail!(
            "{} is none of obsflow's and does not know --rcode and --errno: to select by them, this command needs every \
             field; leave --field-mask out",
            client.server()
        );
    }
    Ok(true)
}

/// Prints what comes. Everything is selected by the server, unless this command `selects`.
fn printing<W: io::Write>(config: &Observe, selects: bool, out: W) -> anyhow::Result<Show<W, io::Stderr>> {
    let mut filters = FilterSet::default();
    if selects {
        filters = config.filters.clone()?;
        say(
            config,
            "this server is none of obsflow's and does not know --rcode and --errno: of what it sends, this command selects",
        );
    }
    let mut view = view(config, Selector::default(), filters);
    view.socket_state = config
        .filters
        .as_ref()
        .is_ok_and(FilterSet::asks_for_socket_state);
    Ok(Show::new(&view, out, (!config.silent).then(io::stderr)))
}

fn is_obsflow(version: Option<&str>) -> bool {
    version.is_some_and(|version| version.contains(OBSFLOW))
}

/// What is asked for; where this command `selects`, nothing that it needs is left out by the server.
fn request(config: &Observe, selects: bool) -> GetFlowsRequest {
    let kept = &config.part.kept;
    let mut request = GetFlowsRequest {
        number: kept.number,
        first: kept.first,
        follow: kept.follow,
        since: kept.since.map(stamp),
        until: kept.until.map(stamp),
        whitelist: config.wanted.allow.clone(),
        blacklist: config.wanted.deny.clone(),
        field_mask: (!config.field_mask.is_empty()).then(|| prost_types::FieldMask {
            paths: config.field_mask.clone(),
        }),
        ..GetFlowsRequest::default()
    };
    if selects {
        request.blacklist.retain(|filter| filter.obsflow.is_none());
        request.field_mask = None;
    }
    request
}

/// What came so far.
#[derive(Default)]
struct Heard {
    any: bool,
    looked_beyond: bool,
}

impl Heard {
    fn hear(&mut self, response: &Response) {
        self.looked_beyond = !self.any
            && matches!(&response.body, Body::LostEvents(lost) if lost.source == LostSource::HubbleRingBuffer);
        self.any = true;
    }
}

/// Since when flows are kept.
fn say_oldest(config: &Observe, client: &Client) {
    let request = GetFlowsRequest {
        number: 1,
        first: true,
        ..GetFlowsRequest::default()
    };
    let mut flows = client.flows(request);
    let end = std::time::Instant::now() + config.limits.request;
    while let Ok(next) = flows.next_within(end.saturating_duration_since(std::time::Instant::now())) {
        match next {
            Next::Response(response) => {
                if let Body::Flow(flow) = &response.body {
                    let oldest: Timestamp = flow.time;
                    say(
                        config,
                        format_args!("the oldest flow that is kept is of {oldest:.3}"),
                    );
                    return;
                }
            }
            Next::Nothing | Next::Ended => return,
        }
    }
}
