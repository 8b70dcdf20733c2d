//! Command lines: what they mean, and what is wrong with them.

use clap::CommandFactory as _;
use std::time::Duration;

use jiff::Timestamp;

use super::args::Cli;
use super::{AttachArg, parse_from, time};
use crate::api::Address;
use crate::api::hubble::{ServerAddress, Tls};
use crate::config::{Command, FlowsFrom, Observe, Whom};
use crate::filter::Flag;
use crate::sinks::{Format, Selector};

fn now() -> Timestamp {
    "2026-01-02T15:04:05Z".parse().unwrap()
}

fn run(line: &str) -> Result<Command, String> {
    parse_from(std::iter::once("obsflow").chain(line.split_whitespace()), now())
        .map_err(|error| error.to_string())
}

fn error(line: &str) -> String {
    match run(line) {
        Ok(command) => panic!("{line} is accepted: {command:?}"),
        Err(error) => error,
    }
}

#[test]
fn clap_finds_nothing_wrong() {
    Cli::command().debug_assert();
    super::for_people().debug_assert();
}

#[test]
fn filters_keep_their_order() {
    use clap::Parser as _;
    let line = "obsflow observe --not --from-pod a/b -A --to-port 4317 --not --to-port 53 -4";
    let cli = Cli::try_parse_from(line.split(' ')).unwrap();
    let super::CommandArgs::Observe(args) = cli.command else {
        panic!("another command")
    };
    let flags: Vec<_> = args
        .filters
        .terms
        .iter()
        .map(|term| (term.flag, &*term.value))
        .collect();
    assert_eq!(
        flags,
        [
            (Flag::Not, ""),
            (Flag::FromPod, "a/b"),
            (Flag::AllNamespaces, ""),
            (Flag::ToPort, "4317"),
            (Flag::Not, ""),
            (Flag::ToPort, "53"),
            (Flag::Ipv4, ""),
        ]
    );
}

#[test]
fn defaults_are_those_of_the_design() {
    let Ok(Command::Observe(observe)) = run("observe") else {
        panic!("another command")
    };
    let live = &observe.live;
    assert_eq!(live.ports.len(), 14);
    assert!(live.ports.contains(&4317) && live.ports.contains(&8428));
    assert!(live.dns_ports.iter().eq(&[53]));
    assert!(live.tunnel_ports.iter().eq(&[4789, 6081, 8472]));
    assert_eq!(live.ring_bytes, 8 << 20);
    assert_eq!(live.attach, AttachArg::Auto);
    assert!(live.payload);
    assert_eq!(live.dns_timeout, Duration::from_secs(5));
    assert_eq!(live.kernel_log, log::LevelFilter::Off);
    let own = observe.part.own.as_ref().unwrap();
    assert_eq!(own.selector, Selector::default());
    assert!(own.notice.contains("until Ctrl-C"));
    assert_eq!(observe.printer.format, Format::Compact);
    assert!(observe.printer.ip_translation);
    assert_eq!(observe.from, FlowsFrom::AgentIfThere);
    assert_eq!(observe.part.kept.number, 20);
    assert_eq!(
        (observe.limits.dial, observe.limits.request),
        (Duration::from_secs(5), Duration::from_secs(12))
    );
}

fn observe(line: &str) -> Observe {
    match run(line) {
        Ok(Command::Observe(observe)) => *observe,
        other => panic!("{line}: {other:?}"),
    }
}

/// What is asked of a server: Hubble's selectors and their defaults.
#[test]
fn selectors_mean_what_they_mean_in_hubble() {
    for (line, number, first, follow) in [
        ("observe", 20, false, false),
        ("observe flows", 20, false, false),
        ("observe --last 5", 5, false, false),
        ("observe --last 0", 20, false, false),
        ("observe --first 5", 5, true, false),
        ("observe --all", u64::MAX, false, false),
        ("observe --follow", 0, false, true),
        ("observe -f --last 7", 7, false, true),
        ("observe --since 2m", 0, false, false),
        ("observe --since 2m --last 3", 3, false, false),
        ("observe --until 2m", 0, false, false),
        ("observe --input-file x", 0, false, false),
    ] {
        let kept = observe(line).part.kept;
        assert_eq!(
            (kept.number, kept.first, kept.follow),
            (number, first, follow),
            "{line}"
        );
    }
    let kept = observe("observe --since 2m --until 1m").part.kept;
    assert_eq!(kept.since.unwrap().to_string(), "2026-01-02T15:02:05Z");
    assert_eq!(kept.until.unwrap().to_string(), "2026-01-02T15:03:05Z");
    // --follow has no end.
    assert_eq!(observe("observe -f --until 1m").part.kept.until, None);
}

#[test]
fn flows_come_from_whom_the_flags_name() {
    let server = |text: &str| FlowsFrom::Server(ServerAddress::parse(text).unwrap());
    for (line, from) in [
        (
            "observe --server unix:///run/x.sock",
            server("unix:///run/x.sock"),
        ),
        ("observe --server localhost:4245", server("localhost:4245")),
        ("observe --attach root", FlowsFrom::Own),
        ("observe --ports 4317", FlowsFrom::Own),
        ("observe --payload off", FlowsFrom::Own),
        ("observe --log-level info", FlowsFrom::AgentIfThere),
        (
            "observe --input-file f.json",
            FlowsFrom::File(Some("f.json".into())),
        ),
        ("observe --input-file -", FlowsFrom::File(None)),
    ] {
        assert_eq!(observe(line).from, from, "{line}");
    }
    let FlowsFrom::Server(server) = observe(
        "observe --server relay:443 --tls-client-cert-file c --tls-client-key-file k --tls-ca-cert-files a,b \
         --tls-server-name n --timeout 1s",
    )
    .from
    else {
        panic!("a server")
    };
    assert_eq!(
        server.tls,
        Some(Tls {
            ca_files: vec!["a".into(), "b".into()],
            client: Some(("c".into(), "k".into())),
            server_name: Some("n".to_owned()),
            allow_insecure: false,
        })
    );
}

#[test]
fn what_cannot_be_asked_is_one_line_that_says_what_to_do() {
    for (line, part) in [
        (
            "observe --server localhost",
            "--server: \"localhost\": after the host comes a port",
        ),
        (
            "observe --server http://x:1",
            "--server: \"http://x:1\" is no address of a server",
        ),
        ("observe --server x:1 --input-file f", "cannot be used with"),
        (
            "observe --server x:1 --attach root",
            "--server asks who watches already",
        ),
        (
            "observe --tls",
            "--tls is about a server: name one with --server tls://HOST:PORT",
        ),
        (
            "observe --server x:1 --tls-server-name n",
            "--tls-server-name says how to trust a server by TLS",
        ),
        (
            "observe --server unix:///x --tls",
            "--tls: a socket of this machine is asked without TLS",
        ),
        (
            "observe --server x:1 --tls-client-cert-file c",
            "--tls-client-key-file is missing: a client's certificate needs both",
        ),
        (
            "observe --server tls://x:1 --tls-allow-insecure --tls-ca-cert-files a",
            "cannot set both --tls-allow-insecure and --tls-ca-cert-files",
        ),
        (
            "observe --timeout never",
            "--timeout: \"never\" is not a duration",
        ),
        ("observe --field-mask time", "--field-mask is for -o json"),
        (
            "observe -o json --field-mask time,pod",
            "--field-mask: \"pod\" names no field of a flow",
        ),
        ("observe --allowlist {", "--allowlist: EOF while parsing"),
        ("observe --denylist {\"port\":[1]}", "--denylist: "),
        ("observe --input-file f --cel-expression true", "CEL"),
        ("observe --attach root --cel-expression true", "CEL"),
        (
            "observe --input-file f --last 1000001",
            "of a file at most 1000000 flows",
        ),
        ("observe agent-events", "agent and debug events are Cilium's own"),
        ("observe --port 99999", "--port: \"99999\" is not a port"),
        ("list nodes --server x", "after the host comes a port"),
        ("watch peers --tls", "--tls is about a server"),
    ] {
        let error = error(line);
        assert!(error.contains(part), "{line}: {error}");
    }
    // CEL is for a server to understand.
    assert!(
        observe("observe --server x:1 --cel-expression true")
            .filters
            .is_err()
    );
}

/// What people read when they ask what there is.
#[test]
fn help_of_observe() {
    let mut command = super::for_people();
    let observe = command.find_subcommand_mut("observe").unwrap();
    insta::assert_snapshot!(observe.clone().term_width(100).render_help());
}

/// What people read when they got it wrong: one line each.
#[test]
fn errors_of_observe() {
    let lines = [
        "observe --ip 10.0.0.0/33",
        "observe --dns-query (",
        "observe --to-port 99999",
        "observe --to-pod a --to-namespace b",
        "observe --first 1 --last 1",
        "observe --not",
        "observe --since yesterday",
        "observe --label a=b=c",
        "observe --identity somebody",
        "observe --drop-reason-desc POLICY_DENYED",
        "observe --node-name a/b/c",
        "observe --http-header x",
        "observe --ip-version v5",
        "observe --ip-trace-id 0",
        "observe --allowlist {\"pod\":[\"a\"]}",
        "observe --server localhost",
        "observe --server unix://x",
        "observe --tls-ca-cert-files ca.pem",
        "observe --server x:1 --attach root",
        "observe -o table -f",
        "observe --field-mask time",
        "observe debug-events",
    ];
    let errors: Vec<String> = lines
        .iter()
        .map(|line| {
            format!(
                "$ obsflow {line}\n{}",
                error(line).lines().next().unwrap_or_default()
            )
        })
        .collect();
    insta::assert_snapshot!(errors.join("\n"));
}

#[test]
fn legacy_json_is_asked_for_by_the_environment_only() {
    assert_eq!(observe("observe -o json").printer.format, Format::Json);
    assert_eq!(observe("observe -o jsonpb").printer.format, Format::Json);
}

#[test]
fn live_last_and_first_are_the_next_ones() {
    for line in [
        "observe --last 3",
        "observe --first 3",
        "observe -o table --last 3",
    ] {
        let own = observe(line).part.own.unwrap();
        assert_eq!(own.selector.number, Some(3));
        assert!(!own.selector.newest);
        assert!(!own.notice.contains("Ctrl-C"));
    }
    let own = observe("observe --follow --last 3 --until 2020-01-01")
        .part
        .own
        .unwrap();
    assert_eq!(own.selector, Selector::default());
    let own = observe("observe --since 2m").part.own.unwrap();
    assert!(own.notice.contains("history begins now"));
    // What only makes sense with an agent is no error until there is none.
    assert!(observe("observe --until 2m").part.own.is_err());
    assert!(observe("observe -o table").part.own.is_err());
}

#[test]
fn a_file_has_a_past() {
    let Ok(Command::Replay(replay)) =
        run("replay f --last 3 --since 2m --until 2026-01-02T15:04:00Z -o json --numeric")
    else {
        panic!("another command")
    };
    let selector = replay.view.selector;
    assert_eq!((selector.number, selector.newest), (Some(3), true));
    assert_eq!(selector.since.unwrap().to_string(), "2026-01-02T15:02:05Z");
    assert_eq!(selector.until.unwrap().to_string(), "2026-01-02T15:04:00Z");
    assert_eq!(replay.view.printer.format, Format::Json);
    assert!(!replay.view.printer.ip_translation);
    let Ok(Command::Replay(replay)) = run("replay f") else {
        panic!("another command")
    };
    assert_eq!(replay.view.selector, Selector::default());
}

#[test]
fn record_takes_payload_only_when_asked() {
    let Ok(Command::Record(record)) = run("record f --duration 1m30s --ring-bytes 65536 --attach /lab")
    else {
        panic!("another command")
    };
    assert!(!record.live.payload && !record.force);
    assert_eq!(record.duration, Some(Duration::from_secs(90)));
    assert_eq!(record.live.ring_bytes, 65536);
    assert_eq!(record.live.attach, AttachArg::Path("/lab".into()));
    let Ok(Command::Record(record)) = run("record f --payload --force") else {
        panic!("another command")
    };
    assert!(record.live.payload && record.force);
}

#[test]
fn each_mistake_is_one_line_that_says_what_to_do() {
    for (line, wanted) in [
        ("observe --first 1 --last 1", "cannot set both --first and --last"),
        ("observe --first 1 --all", "cannot set both --first and --all"),
        (
            "observe --first 1 --follow",
            "cannot set both --first and --follow",
        ),
        ("observe --last 1 --all", "cannot set both --last and --all"),
        (
            "replay f --first 1 --last 1",
            "cannot set both --first and --last",
        ),
        (
            "observe -o table -f",
            "table output is not compatible with follow mode: its columns are known at the end only; use -o compact",
        ),
        (
            "observe -o table --attach root",
            "table output needs an end, because its columns are known there only: add --last N or --first N",
        ),
        (
            "observe --since yesterday",
            "--since: \"yesterday\" is not a time; write a duration (2m, 1h43m), a day (2026-01-02) or RFC 3339",
        ),
        (
            "observe --until 2m --attach root",
            "--until: 2m is over, and flows are kept only while an agent runs; leave it out, or start an agent first",
        ),
        ("replay f --since 1m --until 2m", "--since must be before --until"),
        (
            "observe --ring-bytes 5000",
            "--ring-bytes: \"5000\" is not a power of two from 4096 (4KiB) to 1073741824 (1GiB)",
        ),
        (
            "observe --ring-bytes 8GiB",
            "--ring-bytes: \"8GiB\" is not a power of two from 4096 (4KiB) to 1073741824 (1GiB)",
        ),
        (
            "observe --log-level loud",
            "--log-level: unknown level \"loud\"; one of off, error, warn, info, debug, trace",
        ),
        (
            "observe --dns-timeout 5",
            "--dns-timeout: \"5\" is not a duration; write 300ms, 30s or 1h30m",
        ),
        (
            "record f --duration 0s",
            "--duration: \"0s\" is not a duration; write 300ms, 30s or 1h30m",
        ),
        (
            "observe --ports 53",
            "port 53 is given both in --ports and in --dns-ports; a port is one or the other",
        ),
        ("observe --dns-ports 0", "--dns-ports: 0 is not a port to watch"),
        (
            "observe --hook drops --without-hook drops",
            "hook \"drops\" is given both in --hook and in --without-hook",
        ),
        (
            "observe --hook kprobes",
            "--hook: unknown hook \"kprobes\"; one of tcp, sock-ops, connect, connect-exit, packets, socket-errors, drops, \
             cgroups, processes, tunnels",
        ),
        (
            "observe --to-port http",
            "--to-port: \"http\" is not a port; give a number from 0 to 65535 (port names are not looked up)",
        ),
    ] {
        let error = error(line);
        assert_eq!(error, format!("error: {wanted}\n"), "{line}");
    }
    for (line, part) in [
        (
            "observe --no-such-filter x",
            "unexpected argument '--no-such-filter'",
        ),
        ("observe -o yaml", "one of compact, dict, table, json, jsonpb"),
        ("observe --time-format Kitchen", "one of YearMonthDay,"),
        ("observe --color pink", "invalid value 'pink'"),
        ("observe --ports http", "invalid value 'http' for '--ports"),
        ("replay", "<FILE>"),
    ] {
        let error = error(line);
        assert!(error.contains(part), "{line}: {error}");
    }
}

#[test]
fn usage_errors_exit_with_2_and_help_with_0() {
    let code = |line: &str| {
        let args = std::iter::once("obsflow").chain(line.split(' '));
        parse_from(args, now()).unwrap_err().exit_code()
    };
    assert_eq!(code("observe --to-port http"), i32::from(super::EXIT_USAGE));
    assert_eq!(code("observe --nonsense"), i32::from(super::EXIT_USAGE));
    assert_eq!(code("observe --help"), i32::from(super::EXIT_OK));
    assert_eq!(code("--version"), i32::from(super::EXIT_OK));
}

#[test]
fn durations_and_moments_as_go_writes_them() {
    let ms = |text| time::duration(text).map(|d| d.as_millis());
    assert_eq!(ms("1h43m"), Some(103 * 60_000));
    assert_eq!(ms("1.5s"), Some(1500));
    assert_eq!(ms("300ms"), Some(300));
    assert_eq!(time::duration("2µs"), Some(Duration::from_micros(2)));
    assert_eq!(ms("0"), Some(0));
    for text in [
        "",
        "5",
        "m",
        "1d",
        "1h-2m",
        "-1s",
        "1..5s",
        ".s",
        "1e3s",
        "99999999h",
    ] {
        assert_eq!(ms(text), None, "{text}");
    }
    let at = |text| time::moment(text, now()).map(|t| t.to_string());
    let is = |text: &str| Some(text.to_owned());
    assert_eq!(at("2m"), is("2026-01-02T15:02:05Z"));
    assert_eq!(at("2026-01-01"), is("2026-01-01T00:00:00Z"));
    assert_eq!(at("2026-01-01T15Z"), is("2026-01-01T15:00:00Z"));
    assert_eq!(at("2026-01-01T15+02:00"), is("2026-01-01T13:00:00Z"));
    assert_eq!(at("2026-01-01T15:30-01:30"), is("2026-01-01T17:00:00Z"));
    assert_eq!(at("2026-01-01T15:30:01.25Z"), is("2026-01-01T15:30:01.25Z"));
    assert_eq!(at("2026-01-01T15:30:01+01:00"), is("2026-01-01T14:30:01Z"));
    assert_eq!(at("Thu, 01 Jan 2026 15:30:01 -0700"), is("2026-01-01T22:30:01Z"));
    // As lines have it: the year is the one that makes it no later than now.
    assert_eq!(at("Jan  2 15:04:05.000"), is("2026-01-02T15:04:05Z"));
    assert_eq!(at("Jan  2 15:04:05.001"), is("2025-01-02T15:04:05.001Z"));
    assert_eq!(at("Sep 30 10:15:11.403"), is("2025-09-30T10:15:11.403Z"));
    for text in [
        "",
        "yesterday",
        "2026-13-01",
        "2026-01-01T25Z",
        "15:30",
        "é",
        "2026-01-01T15",
        "Foo  2 15:04:05.000",
        "Feb 30 15:04:05.000",
    ] {
        assert_eq!(at(text), None, "{text}");
    }
}

#[test]
fn completions_and_man_pages_name_every_command_and_filter() {
    let mut script = Vec::new();
    super::completions(clap_complete::Shell::Bash, &mut script).unwrap();
    let script = String::from_utf8(script).unwrap();
    for spec in crate::filter::SPECS {
        assert!(script.contains(&format!("--{}", spec.name)), "{}", spec.name);
    }
    let mut page = Vec::new();
    super::man(None, &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    for word in ["obsflow\\-observe(1)", "Exit codes"] {
        assert!(page.contains(word), "{word} is missing in {page}");
    }
}

#[test]
fn help_shows_flags_without_values_as_such() {
    for line in [
        "observe --help",
        "replay -h",
        "help observe",
        "observe --not --port 1 --not --help",
    ] {
        let help = error(line);
        assert!(
            help.contains("-A, --all-namespaces\n") || help.contains("-A, --all-namespaces  "),
            "{line}: {help}"
        );
        assert!(help.contains("Usage: obsflow "), "{line}: {help}");
    }
}

#[test]
fn status_asks_an_agent_unless_something_else_is_asked_for() {
    let whom = |line: &str| match run(line) {
        Ok(Command::Status(status)) => status.whom,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(whom("status"), Whom::AgentIfThere);
    assert_eq!(whom("status -o json --log-level debug"), Whom::AgentIfThere);
    for own in [
        "status --cost",
        "status --attach root",
        "status --without-hook drops",
    ] {
        assert_eq!(whom(own), Whom::Own, "{own}");
    }
    let address = Address::parse("unix:///run/x.sock").unwrap();
    assert_eq!(whom("status --server unix:///run/x.sock"), Whom::Agent(address));
    assert!(error("status --server http://1.2.3.4:5").contains("write unix:///PATH"));
    assert!(
        error("status --server unix:///run/x.sock --cost").contains("cannot set both --server and --cost")
    );
    assert!(
        error("status --server unix:///run/x.sock --ports 1").contains("--server asks who watches already")
    );
    let Ok(Command::Status(status)) = run("status --server tls://node-7:4244") else {
        panic!("another command")
    };
    let server = status.server.unwrap().address;
    assert_eq!(
        (server.to_string().as_str(), server.tls),
        ("tls://node-7:4244", Some(Tls::default()))
    );
}

#[test]
fn doctor_watches_everything_for_a_while() {
    let Ok(Command::Doctor(doctor)) = run("doctor") else {
        panic!("another command")
    };
    assert!(doctor.workloads.is_all() && !doctor.watch);
    assert_eq!((doctor.watch_for, doctor.whom), (None, Whom::AgentIfThere));
    let Ok(Command::Doctor(doctor)) = run("doctor shop/checkout nginx --for 2m --watch --log-level info")
    else {
        panic!("another command")
    };
    assert!(!doctor.workloads.is_all() && doctor.watch);
    assert_eq!(doctor.whom, Whom::AgentIfThere);
    assert_eq!(doctor.watch_for, Some(Duration::from_secs(120)));
    // Who says where to attach is not answered by an agent that attached elsewhere.
    for line in [
        "doctor --attach root",
        "doctor --ports 4317",
        "doctor --without-hook drops",
    ] {
        let Ok(Command::Doctor(doctor)) = run(line) else {
            panic!("another command")
        };
        assert_eq!(doctor.whom, Whom::Own, "{line}");
    }
}

#[test]
fn doctor_takes_the_rules_of_a_configuration_file() {
    let dir = crate::testing::TempDir::new();
    let path = dir.path().join("agent.toml");
    let rule =
        "[[exporter]]\nnamespace = \"monitoring\"\nendpoint = \"http://mimir.monitoring:9009/api/v1/push\"\n";
    std::fs::write(&path, format!("ports = [4317]\n{rule}")).unwrap();
    let line = format!("doctor --config {}", path.display());
    let Ok(Command::Doctor(doctor)) = run(&line) else {
        panic!("another command")
    };
    assert_eq!((doctor.rules.len(), doctor.whom), (1, Whom::Own));
    std::fs::write(&path, "prots = [4317]\n").unwrap();
    assert!(error(&line).contains("unknown key `prots`"));
    assert!(error("doctor --config /nowhere/agent.toml").contains("/nowhere/agent.toml"));
}

#[test]
fn doctor_says_what_is_wrong_with_its_arguments() {
    for (line, part) in [
        ("doctor deploy/checkout", "NAMESPACE/checkout"),
        ("doctor a/b/c", "more than one slash"),
        ("doctor --for never", "--for: \"never\" is not a duration"),
        ("doctor --for 0s", "is not a duration"),
        ("doctor --watch --probe", "cannot set both --watch and --probe"),
        ("doctor -o yaml", "possible values: table, wide, json"),
        ("doctor --server host:4317", "unix:///"),
    ] {
        let error = error(line);
        assert!(error.contains(part), "{line}: {error}");
    }
}
