//! `obsflow doctor --probe`: active checks of what fails.

use std::io::{self, Write as _};

use crate::api::Client;
use crate::model::probe::Findings;
use crate::model::verdict::Export;
use crate::probe::{self, Limits, Request};
use crate::session::Stop;
use crate::sinks::doctor::{Probes, View};

/// Destinations that are checked: one takes up to a quarter of a minute.
const MOST: usize = 5;

/// Who checks.
pub(super) enum Prober<'a> {
    /// The agent.
    Agent(&'a mut Client),
    /// This process.
    Own,
}

impl Prober<'_> {
    fn check(&mut self, export: &Export) -> anyhow::Result<Findings> {
        Ok(match self {
            Self::Agent(client) => client.probe(&export.id, |_| ())?,
            Self::Own => {
                let request = Request::of(export, probe::PROC.as_ref())?;
                probe::run(&request, &Limits::default(), |_| ())?
            }
        })
    }

    /// Checks what fails in `view`, one after the other. What cannot be checked says why.
    pub(super) fn check_all(mut self, view: &View<'_>, stop: &Stop) -> Probes {
        let failing = view.failing().count();
        let chosen = view.to_probe(MOST);
        let _ = writeln!(
            io::stderr(),
            "Checking {} of {failing} failing exporters from inside their pods: this sends look-ups, connections and empty exports.",
            chosen.len(),
        );
        let mut probes = Probes::new();
        for export in chosen {
            if stop.is_stopped() {
                break;
            }
            let findings = self.check(export).unwrap_or_else(|error| Findings {
                conclusion: vec![format!("Nothing was checked: {error:#}.").into()],
                ..Findings::default()
            });
            probes.insert(export.id.clone(), findings);
        }
        probes
    }
}
