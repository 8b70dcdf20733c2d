//! Where obsflow cannot begin: one line that says what to do, exit code 1, and nothing else.

use std::process::Command;

use anyhow::Result;
use obsflow_tests::process::run;
use obsflow_tests::{Lab, tool};

/// Checks that a command fails with one line that has all these words.
fn fails(command: Command, words: &[&str]) -> Result<()> {
    let what = format!("{command:?}");
    let (code, out, err) = run(command)?;
    assert_eq!((code, out.as_str()), (Some(1), ""), "{what}: {err}");
    assert_eq!(err.lines().count(), 1, "{what}: {err}");
    assert!(err.starts_with("obsflow: "), "{what}: {err}");
    for word in words {
        assert!(err.contains(word), "{what}: {err}");
    }
    Ok(())
}

/// Runs a command by way of other words, such as those of `setpriv`.
fn by_way_of(words: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(words[0]);
    outer
        .args(&words[1..])
        .arg(command.get_program())
        .args(command.get_args());
    outer
}

/// Runs a command in a mount namespace of its own, after a script.
fn after(script: &str, command: &Command) -> Command {
    let script = format!("{script} && exec \"$0\" \"$@\"");
    by_way_of(&["unshare", "-m", "sh", "-ec", &script], command)
}

#[test]
fn without_root() -> Result<()> {
    let lab = Lab::new()?;
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    fails(
        by_way_of(&nobody, &lab.obsflow_command("observe")?),
        &["needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN", "sudo"],
    )
}

#[test]
fn without_the_capability() -> Result<()> {
    let lab = Lab::new()?;
    // CAP_SYS_ADMIN stands in for CAP_BPF, so both have to go.
    for (caps, named) in [
        ("-bpf,-sys_admin", "CAP_BPF"),
        ("-perfmon,-sys_admin", "CAP_PERFMON"),
        (
            "-bpf,-perfmon,-net_admin,-sys_admin",
            "CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN",
        ),
    ] {
        let (bounding, inheritable) = (format!("--bounding-set={caps}"), format!("--inh-caps={caps}"));
        let needs = format!("needs root, or {named} in addition");
        fails(
            by_way_of(
                &["setpriv", &bounding, &inheritable],
                &lab.obsflow_command("observe")?,
            ),
            &[&needs, "to the container's capabilities"],
        )?;
    }
    Ok(())
}

#[test]
fn without_cgroup2() -> Result<()> {
    let lab = Lab::new()?;
    fails(
        after("umount -l -a -t cgroup2", &lab.obsflow_command("observe")?),
        &["no cgroup2 file system is mounted", "mount -t cgroup2"],
    )
}

/// No types: what needs them is refused when it is asked for, and done without when it is not.
#[test]
fn without_btf() -> Result<()> {
    let hide = "mount -t tmpfs none /sys/kernel/btf";
    without_types(hide, "the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)")
}

#[test]
fn locked_down() -> Result<()> {
    let lock = "mount -t tmpfs none /sys/kernel/security && \
                echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown";
    without_types(lock, "locked down (confidentiality mode)")
}

fn without_types(script: &str, reason: &str) -> Result<()> {
    let lab = Lab::new()?;
    let mut observe = lab.obsflow_command("observe")?;
    let (code, out, err) = run(after(script, &lab.obsflow_command("status")?))?;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let line = |hook: &str| {
        out.lines()
            .find(|line| line.starts_with(hook))
            .unwrap_or_default()
            .to_owned()
    };
    for hook in ["tcp ", "drops ", "socket-errors ", "processes "] {
        assert!(line(hook).contains("unavailable"), "{out}");
        assert!(line(hook).contains(reason), "{out}");
    }
    for hook in ["sock-ops ", "connect ", "packets "] {
        assert!(line(hook).contains(" attached "), "{out}");
    }
    observe.args(["--last", "1", "--hook", "drops"]);
    fails(
        after(script, &observe),
        &["hook drops was asked for and cannot run", reason],
    )
}

#[test]
fn a_second_one() -> Result<()> {
    let lab = Lab::new()?;
    let obsflow = lab.observe(&[])?;
    let mut second = lab.obsflow_command("observe")?;
    second.args(["--last", "1"]);
    fails(second, &["another obsflow watches", "--attach"])?;
    // Looking is allowed, and says so.
    let (code, out, err) = run(lab.obsflow_command("status")?)?;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("another obsflow watches this cgroup, too"), "{out}");
    // The first one is none the worse for it.
    obsflow.sentinel()?;
    obsflow.stop()
}

#[test]
fn what_is_not_there() -> Result<()> {
    let lab = Lab::new()?;
    let mut nowhere = Command::new(tool::binary("obsflow")?);
    nowhere.args(["observe", "--attach", "/nowhere", "--last", "1"]);
    fails(nowhere, &["/nowhere", "--attach"])?;
    let mut fexit = lab.obsflow_command("observe")?;
    fexit.args(["--last", "1", "--without-hook", "btf", "--hook", "connect-exit"]);
    fails(
        fexit,
        &[
            "hook connect-exit was asked for",
            "left out by --without-hook btf",
        ],
    )
}

/// Lines of the kernel side come when they are asked for.
#[test]
fn kernel_log_lines() -> Result<()> {
    use obsflow_tests::scenario::{Echo, connect};
    use obsflow_tests::wait::SOON;
    for (args, program) in [
        (&["--kernel-log", "trace"][..], "tcp"),
        (
            &["--kernel-log", "trace", "--without-hook", "tcp"][..],
            "sock_ops",
        ),
    ] {
        let lab = Lab::new()?;
        let echo = Echo::start(&lab, 4318)?;
        let pod = lab.pod("checkout")?;
        let obsflow = lab.observe(args)?;
        assert_eq!(connect(&pod, echo.v4(), 5000)?["result"], "established");
        let attempt = format!("obsflow_programs::programs::{program}: attempt to port 4318");
        for said in [
            attempt.as_str(),
            "obsflow_programs::programs::connect: connect to port 4318 asked for",
        ] {
            let found = obsflow
                .process()
                .err()
                .find(SOON, |line| line.contains(said).then_some(()));
            assert!(
                found.is_some(),
                "no {said:?} in {:?}",
                obsflow.process().err().all()
            );
        }
        obsflow.stop()?;
    }
    Ok(())
}
