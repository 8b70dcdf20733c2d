//! What the kernel's refusals mean to people.

use aya::programs::ProgramError;

use super::{LoadError, Loaded};
use crate::kernel::hooks::{Attach, State};
use crate::kernel::privileges;

/// Whether the kernel is known to be locked down so far that no program may read its memory.
pub(super) fn locked_down() -> bool {
    std::fs::read_to_string("/sys/kernel/security/lockdown")
        .is_ok_and(|modes| modes.contains("[confidentiality]"))
}

/// Why a program does not attach. Tracing a function needs more of a kernel than tracepoints do, and some refuse it to
/// everybody: that is no fault of the user's.
pub(super) fn explain(how: Attach, error: &ProgramError) -> String {
    let brief = brief(error);
    match how {
        Attach::FunctionExit(function) if denied(&brief) && rustix::process::geteuid().is_root() => format!(
            "this kernel refuses to have the function {function} traced, even by root (Operation not permitted): kernels \
             built to be locked down do; nothing to mend"
        ),
        _ => brief,
    }
}

/// The one line of an error that a person can use: the system's answer, and the last thing the verifier said.
fn brief(error: &ProgramError) -> String {
    if let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    {
        let log = verifier_log.to_string();
        let last = log
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty() && !line.starts_with("processed "))
            .unwrap_or_default();
        tracing::debug!("verifier: {log}");
        return if last.is_empty() {
            format!("the kernel refused the program: {io_error}")
        } else {
            format!("the kernel refused the program: {io_error} ({})", last.trim())
        };
    }
    chain(error)
}

/// An error and its causes on one line.
pub(in crate::kernel) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

pub(super) fn object_error(error: &aya::EbpfError) -> LoadError {
    let text = chain(error);
    if denied(&text) {
        privilege_error()
    } else {
        LoadError::Object(text)
    }
}

pub(super) fn nothing(loaded: &Loaded) -> LoadError {
    let reasons: Vec<String> = loaded
        .hooks
        .iter()
        .filter_map(|(hook, state)| match state {
            State::Unavailable(reason) => Some(format!("{hook}: {reason}")),
            _ => None,
        })
        .collect();
    let text = reasons.join("; ");
    if denied(&text) {
        privilege_error()
    } else {
        LoadError::Nothing(text)
    }
}

/// Whether an error is EPERM or EACCES.
pub(super) fn denied(text: &str) -> bool {
    text.contains("Operation not permitted") || text.contains("Permission denied")
}

/// EPERM has two causes that people mend differently.
fn privilege_error() -> LoadError {
    if locked_down() && rustix::process::geteuid().is_root() {
        LoadError::Lockdown
    } else {
        LoadError::Permission(privileges::refusal())
    }
}
