//! What a kernel's run showed: the hooks it carries, and whether obsflow called every step right.

use obsflow_vm_guest::Report;
use obsflow_vm_guest::scenario::{Call, Step};
use serde_json::Value;

use super::machine::Session;

/// A hook on one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hook {
    /// Name.
    pub(crate) name: String,
    /// `attached`, `unavailable` or `off`.
    pub(crate) state: String,
    /// Where it is attached, or why it is not.
    pub(crate) detail: String,
    /// What is not known without it; empty when it is attached.
    pub(crate) without: String,
}

/// A step of the scenario on one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Called {
    /// Which.
    pub(crate) step: Step,
    /// What obsflow said of it.
    pub(crate) call: Option<Call>,
}

/// One kernel's run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// `uname -r`.
    pub(crate) release: String,
    /// The hooks.
    pub(crate) hooks: Vec<Hook>,
    /// The steps.
    pub(crate) steps: Vec<Called>,
    /// What went wrong, a line each.
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    /// Judges what a machine said. Without `obsflow` only the traffic is judged.
    pub(crate) fn of(session: &Session, obsflow: bool) -> Self {
        let mut outcome = Self::default();
        let mut finished = false;
        let mut seen = Vec::new();
        let mut flows: Vec<Value> = Vec::new();
        for report in &session.reports {
            match report {
                Report::Started { release, .. } => outcome.release.clone_from(release),
                Report::ModuleFailed { module, error } => {
                    outcome.problem(format!("module {}: {error}", module.display()));
                }
                Report::Ran {
                    command,
                    code,
                    stdout,
                    stderr,
                    ..
                } => outcome.ran(command, *code, stdout, stderr),
                Report::Step { step, seen: what, .. } => seen.push((*step, what.as_str())),
                Report::Observed { line } => match serde_json::from_str(line) {
                    Ok(flow) => flows.push(flow),
                    Err(error) => outcome.problem(format!("a line of observe is no JSON: {error}: {line}")),
                },
                Report::Failed { error } => outcome.problem(format!("the guest: {error}")),
                Report::Finished { .. } => finished = true,
                Report::Attached { .. } => {}
            }
        }
        if !finished {
            outcome.problem(format!(
                "the guest did not come to its end: {}",
                session.console.display()
            ));
        }
        for step in Step::ALL {
            outcome.step(
                step,
                seen.iter().find(|(seen, _)| *seen == step).map(|(_, what)| *what),
            );
            if obsflow {
                outcome.call(step, &flows);
            }
        }
        outcome
    }

    fn problem(&mut self, line: String) {
        self.problems.push(line);
    }

    fn ran(&mut self, command: &str, code: Option<i32>, stdout: &str, stderr: &str) {
        if code != Some(0) {
            let code = code.map_or_else(|| "a signal".to_owned(), |code| code.to_string());
            self.problem(format!("obsflow {command} ended with {code}: {}", stderr.trim()));
        } else if command == "status" {
            match hooks(stdout) {
                Some(hooks) if !hooks.is_empty() => self.hooks = hooks,
                _ => self.problem(format!("no hooks in what status printed: {}", stdout.trim())),
            }
        }
    }

    fn step(&mut self, step: Step, seen: Option<&str>) {
        if seen != Some(step.expected()) {
            let seen = seen.unwrap_or("nothing");
            self.problem(format!(
                "{}: the process saw {seen}, not {}",
                step.title(),
                step.expected()
            ));
        }
    }

    fn call(&mut self, step: Step, flows: &[Value]) {
        let calls: Vec<Call> = flows.iter().filter_map(|flow| step.call(flow)).collect();
        match calls.as_slice() {
            [] => self.problem(format!("{}: obsflow said nothing", step.title())),
            [call] if call.wrong.is_empty() => {}
            [call] => self.problem(format!(
                "{}: {}: {}",
                step.title(),
                call.wrong.join(", "),
                call.said
            )),
            _ => self.problem(format!(
                "{}: obsflow had {} last words",
                step.title(),
                calls.len()
            )),
        }
        self.steps.push(Called {
            step,
            call: calls.into_iter().next(),
        });
    }
}

/// The hook table of `obsflow status -o json`.
fn hooks(json: &str) -> Option<Vec<Hook>> {
    let status: Value = serde_json::from_str(json).ok()?;
    let text = |hook: &Value, key: &str| hook[key].as_str().unwrap_or_default().to_owned();
    let hooks = status["hooks"].as_array()?;
    Some(
        hooks
            .iter()
            .map(|hook| Hook {
                name: text(hook, "name"),
                state: text(hook, "state"),
                detail: text(hook, "detail"),
                without: text(hook, "without"),
            })
            .collect(),
    )
}
