//! Resolving a name as the pod would, and as it might be meant.

use std::net::IpAddr;

use super::budget::Budget;
use super::dns::{self, Answer};
use super::pod::Files;

/// What became of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The full name that has the addresses; `None` when `/etc/hosts` has it.
    pub(super) full: Option<String>,
    pub(super) ips: Vec<IpAddr>,
    /// Names that were asked for in vain before.
    pub(super) in_vain: usize,
}

/// A search that found nothing: each name asked for, and the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NotFound(pub(super) Vec<(String, Answer)>);

impl NotFound {
    /// One line: names with the same answer together.
    pub(super) fn text(&self) -> String {
        let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
        for (name, answer) in &self.0 {
            let answer = answer.text();
            match groups.last_mut().filter(|(last, _)| *last == answer) {
                Some((_, names)) => names.push(name),
                None => groups.push((answer, vec![name])),
            }
        }
        if groups.is_empty() {
            return "no time was left to ask".to_owned();
        }
        let groups: Vec<String> = groups
            .iter()
            .map(|(answer, names)| format!("{answer} for {}", names.join(", ")))
            .collect();
        groups.join("; ")
    }

    /// Whether every answer was that there is no such name.
    pub(super) fn nobody_knows_it(&self) -> bool {
        !self.0.is_empty() && self.0.iter().all(|(_, answer)| *answer == Answer::NxDomain)
    }

    /// Whether name servers answered at all.
    pub(super) fn answered(&self) -> bool {
        self.0.iter().all(|(_, answer)| answer.answered())
    }
}

/// As the C library resolves it: `/etc/hosts`, then every name of the search.
pub(super) async fn as_configured(budget: &Budget, files: &Files, name: &str) -> Result<Resolved, NotFound> {
    let ips = files.hosts.of(name.trim_end_matches('.'));
    if !ips.is_empty() {
        return Ok(Resolved {
            full: None,
            ips,
            in_vain: 0,
        });
    }
    search(budget, files, files.resolv_conf.candidates(name)).await
}

/// The name itself, and the names that might be meant.
pub(super) async fn fully_qualified(
    budget: &Budget,
    files: &Files,
    name: &str,
    namespace: Option<&str>,
) -> Result<Resolved, NotFound> {
    search(budget, files, files.resolv_conf.qualified(name, namespace)).await
}

/// Asks for one name after the other until one has addresses, or the servers do not answer.
async fn search(budget: &Budget, files: &Files, names: Vec<String>) -> Result<Resolved, NotFound> {
    let mut tried = NotFound::default();
    let asking = async {
        for name in names {
            if !budget.name() {
                return None;
            }
            match dns::ask(&files.resolv_conf.servers, &name, budget.limits.query).await {
                Answer::Addresses(ips) => return Some((name, ips)),
                answer => {
                    let go_on = answer.answered();
                    tried.0.push((name, answer));
                    if !go_on {
                        return None;
                    }
                }
            }
        }
        None
    };
    let found = budget.within(budget.limits.resolve, asking).await;
    match found {
        Ok(Some((full, ips))) => Ok(Resolved {
            full: Some(full),
            ips,
            in_vain: tried.0.len(),
        }),
        Ok(None) => Err(tried),
        Err(_) => {
            if tried.0.is_empty() {
                tried.0.push(("every name".to_owned(), Answer::Silent));
            }
            Err(tried)
        }
    }
}
