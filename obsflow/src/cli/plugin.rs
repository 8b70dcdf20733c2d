//! obsflow as a plugin of kubectl: `kubectl obsflow …` starts what is called `kubectl-obsflow` on the path.

use std::ffi::OsString;
use std::path::Path;

/// What kubectl looks for; it takes an underscore for a dash.
const NAMES: [&str; 2] = ["kubectl-obsflow", "kubectl_obsflow"];
/// The command that a plugin is for.
const DOCTOR: &str = "doctor";
/// What clap answers by itself.
const ASK_FOR_HELP: [&str; 4] = ["-h", "--help", "-V", "--version"];

/// Whether this process was started as a plugin.
pub(super) fn is(args: &[OsString]) -> bool {
    args.first()
        .and_then(|program| Path::new(program).file_name()?.to_str())
        .is_some_and(|name| NAMES.contains(&name))
}

/// Adds the command where a plugin's arguments leave it out: `kubectl obsflow deploy/x`, `kubectl obsflow -n apps`. A word
/// without a slash stays a command, so that one that is written wrong is said.
pub(super) fn complete(args: &mut Vec<OsString>) {
    let is_of_doctor = |word: &str| {
        (word.starts_with('-') && !ASK_FOR_HELP.contains(&word))
            || (word.contains('/') && !word.starts_with('-'))
    };
    if is(args)
        && args
            .get(1)
            .and_then(|word| word.to_str())
            .is_some_and(is_of_doctor)
    {
        args.insert(1, DOCTOR.into());
    }
}

/// The command as its user calls it.
pub(super) fn named(command: clap::Command, args: &[OsString]) -> clap::Command {
    if is(args) {
        command.bin_name("kubectl obsflow")
    } else {
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> String {
        let mut args: Vec<OsString> = line.split_whitespace().map(Into::into).collect();
        complete(&mut args);
        let words: Vec<&str> = args.iter().filter_map(|word| word.to_str()).collect();
        words.join(" ")
    }

    #[test]
    fn a_plugin_may_leave_its_command_out() {
        for (line, expected) in [
            ("kubectl-obsflow deploy/x", "kubectl-obsflow doctor deploy/x"),
            (
                "/bin/kubectl-obsflow -n apps",
                "/bin/kubectl-obsflow doctor -n apps",
            ),
            ("kubectl_obsflow -A", "kubectl_obsflow doctor -A"),
            ("kubectl-obsflow doctor x", "kubectl-obsflow doctor x"),
            ("kubectl-obsflow docter", "kubectl-obsflow docter"),
            ("kubectl-obsflow --help", "kubectl-obsflow --help"),
            ("kubectl-obsflow", "kubectl-obsflow"),
            ("obsflow deploy/x", "obsflow deploy/x"),
        ] {
            assert_eq!(completed(line), expected);
        }
    }
}
