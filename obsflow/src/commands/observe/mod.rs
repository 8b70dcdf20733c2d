//! `obsflow observe`: flows that an agent keeps, that another server has, that a file has, or of this node as they happen.

mod empty;
mod file;
mod own;
mod remote;

#[cfg(test)]
mod empty_tests;
#[cfg(test)]
mod remote_tests;

use std::io::{self, Write};

use crate::api::hubble::Client;
use crate::config::{FlowsFrom, Observe, View, observe};
use crate::filter::{FilterSet, print_raw};
use crate::sinks::Selector;

pub(super) fn run(config: &Observe) -> anyhow::Result<()> {
    if config.print_filters {
        let text = print_raw(&config.wanted);
        return super::print(|out| out.write_all(text.as_bytes()));
    }
    match &config.from {
        FlowsFrom::Own => own::run(config),
        FlowsFrom::File(file) => file::run(config, file.as_deref()),
        FlowsFrom::Server(server) => {
            let client = Client::connect(server, config.limits.dial)?;
            remote::run(config, &client)
        }
        FlowsFrom::AgentIfThere => match Client::connect(&observe::agent(), config.limits.dial) {
            Ok(client) => remote::run(config, &client),
            Err(error) if error.is_absent() => own::run(config),
            Err(error) => Err(error.into()),
        },
    }
}

/// A view of this command's.
fn view(config: &Observe, selector: Selector, filters: FilterSet) -> View {
    View {
        selector,
        socket_state: filters.asks_for_socket_state(),
        filters,
        printer: config.printer,
    }
}

/// Says something on stderr, unless nobody wants to hear it. Nobody who reads it is no reason to end.
fn say(config: &Observe, what: impl std::fmt::Display) {
    if !config.silent {
        let _ = writeln!(io::stderr(), "obsflow: {what}");
    }
}

/// Says once what of the filters no flow of obsflow's can match.
fn say_unknowable(config: &Observe) {
    let unknowable = config.wanted.unknowable();
    if let [first, ..] = &unknowable[..] {
        let article = if first.starts_with(['a', 'e', 'i', 'o']) {
            "an"
        } else {
            "a"
        };
        say(
            config,
            format_args!(
                "obsflow's own flows have no {}: a filter that asks for {article} {first} matches none of them",
                unknowable.join(", no ")
            ),
        );
    }
}
