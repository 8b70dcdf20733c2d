//! Child processes: run, capture, and say what failed in one line.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The workspace's folder.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// The workspace's target folder.
pub(crate) fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// The pinned toolchain's cargo, in the workspace's folder, without standard input.
pub(crate) fn cargo() -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A command in the workspace's folder, without standard input: nothing here ever asks a person.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs with the terminal's output.
///
/// # Errors
/// When the command cannot start or does not end with success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = line(command);
    let status = command.status().with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Runs and returns standard output, trimmed.
///
/// # Errors
/// When the command cannot start or does not end with success; the error carries the last line of its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let done = command.output().with_context(|| format!("cannot run `{line}`"))?;
    if !done.status.success() {
        let errors = String::from_utf8_lossy(&done.stderr);
        let last = errors.trim().lines().last().unwrap_or_default();
        bail!("`{line}` failed ({}): {last}", done.status);
    }
    Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

/// Runs with the terminal's output, and hands each line of standard output and standard error to `look` too.
///
/// # Errors
/// When the command cannot start or does not end with success.
pub(crate) fn watch(command: &mut Command, mut look: impl FnMut(&str)) -> Result<()> {
    let line = line(command);
    let (read, write) = std::io::pipe().context("cannot make a pipe")?;
    command
        .stdout(write.try_clone().context("cannot make a pipe")?)
        .stderr(write);
    let mut child = command.spawn().with_context(|| format!("cannot run `{line}`"))?;
    // The command holds the write ends; the reader below ends only when every one of them is closed.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for text in BufReader::new(read).split(b'\n') {
        let text = text.with_context(|| format!("cannot read the output of `{line}`"))?;
        let text = String::from_utf8_lossy(&text);
        println!("{text}");
        look(&text);
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    Ok(())
}

/// Where a program is, by `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
}

/// Whether this process may do what root may.
///
/// # Errors
/// When the process's status cannot be read.
pub(crate) fn is_root() -> Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let me = std::fs::metadata("/proc/self").context("cannot read /proc/self")?;
    Ok(me.uid() == 0)
}

/// The command as a person would type it.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| {
            let word = word.to_string_lossy();
            if word.contains([' ', '(']) {
                format!("'{word}'")
            } else {
                word.into_owned()
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_seen_and_failure_names_the_command() {
        let mut seen = Vec::new();
        let failed = watch(
            command("/bin/sh").args(["-c", "echo one; echo two >&2; exit 3"]),
            |line| {
                seen.push(line.to_owned());
            },
        );
        assert_eq!(seen, ["one", "two"]);
        let text = failed.unwrap_err().to_string();
        assert_eq!(
            text,
            "`sh -c 'echo one; echo two >&2; exit 3'` failed (exit status: 3)"
        );
    }

    #[test]
    fn output_is_trimmed_and_errors_carry_the_last_line() {
        assert_eq!(output(command("echo").arg(" a ")).unwrap(), "a");
        let failed = output(command("/bin/sh").args(["-c", "echo no; echo why >&2; false"]));
        assert!(
            failed
                .unwrap_err()
                .to_string()
                .ends_with("failed (exit status: 1): why")
        );
    }
}
