//! The specification's tables, and where SDKs differ from them.

use super::*;
use crate::expect::go::{GoBuild, GoExporter};
use crate::expect::profile::{Process, Profile, profile};

pub(crate) fn read(environ: &str, exe: &str, cmdline: &str, go: Option<&GoBuild>) -> Profile {
    let environ: Vec<u8> = environ
        .split_ascii_whitespace()
        .flat_map(|pair| [pair.as_bytes(), b"\0"].concat())
        .collect();
    profile(&Process {
        environ: &environ,
        cmdline: cmdline.replace(' ', "\0").as_bytes(),
        exe,
        go,
        file: &|_| Err("no files here".into()),
    })
}

fn go(modules: &[&str], reads_selection: bool) -> GoBuild {
    GoBuild {
        exporters: modules
            .iter()
            .map(|name| GoExporter {
                module: Arc::from(format!("go.opentelemetry.io/otel/exporters/otlp/{name}")),
                signal: Some(match name {
                    _ if name.contains("metric") => Signal::Metrics,
                    _ if name.contains("log") => Signal::Logs,
                    _ => Signal::Traces,
                }),
                transport: Some(if name.ends_with("grpc") {
                    Transport::Grpc
                } else {
                    Transport::HttpProtobuf
                }),
            })
            .collect(),
        reads_selection,
    }
}

/// `signal endpoint setting` of each.
fn lines(profile: &Profile) -> Vec<String> {
    profile
        .expectations
        .iter()
        .map(|it| {
            let signal = it.signal.map_or("any", Signal::name);
            let endpoint = it.endpoint.as_ref().map_or("-".to_owned(), |endpoint| {
                let transport = match endpoint.transport {
                    Transport::Grpc => "grpc",
                    Transport::HttpProtobuf => "http",
                    Transport::HttpJson => "json",
                    Transport::Other(dialect) => dialect.name(),
                    Transport::Unknown => "?",
                };
                format!("{endpoint} {transport}")
            });
            let setting = match &it.setting {
                Setting::On => "on".to_owned(),
                Setting::Off(why) => format!("off {why}"),
                Setting::Broken(why) => format!("broken {why:?}"),
            };
            format!("{signal} {endpoint} {setting}")
        })
        .collect()
}

#[test]
fn endpoints_by_the_specification() {
    for (environ, expected) in [
        ("PATH=/bin", &[][..]),
        ("OTEL_SERVICE_NAME=shop", &[]),
        // No variable says which signals there are; the conventional port says how.
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317",
            &["any http://c:4317 grpc on"],
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318",
            &["any http://c:4318 http on"],
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:9000",
            &["any http://c:9000 ? on"],
        ),
        ("OTEL_EXPORTER_OTLP_ENDPOINT=", &[]),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 OTEL_TRACES_EXPORTER=otlp",
            &["traces http://c:4318/v1/traces http on"],
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318/base/ OTEL_METRICS_EXPORTER=otlp,prometheus",
            &["metrics http://c:4318/base/v1/metrics http on"],
        ),
        // A signal's own endpoint is used as it is, and comes before the general one.
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318 OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t:4318/in",
            &["traces http://t:4318/in http on"],
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t:4318 OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=https://l",
            &["traces http://t:4318/ http on", "logs https://l:443/ ? on"],
        ),
        // The protocol, general and of one signal.
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4000 OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            &["any http://c:4000 grpc on"],
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4000 OTEL_EXPORTER_OTLP_PROTOCOL=grpc \
             OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=http/json OTEL_TRACES_EXPORTER=otlp OTEL_METRICS_EXPORTER=otlp",
            &[
                "traces http://c:4000 grpc on",
                "metrics http://c:4000/v1/metrics json on",
            ],
        ),
        // Selected, and nothing says where: the defaults.
        (
            "OTEL_TRACES_EXPORTER=otlp",
            &["traces http://localhost:4318/v1/traces http on"],
        ),
        (
            "OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            &["traces http://localhost:4317 grpc on"],
        ),
        (
            "OTEL_LOGS_EXPORTER=otlp_proto_grpc",
            &["logs http://localhost:4317 grpc on"],
        ),
        // Switched off, all of it or one signal.
        (
            "OTEL_SDK_DISABLED=True OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317",
            &["any - off OTEL_SDK_DISABLED=True"],
        ),
        (
            "OTEL_SDK_DISABLED=1 OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317",
            &["any http://c:4317 grpc on"],
        ),
        (
            "OTEL_METRICS_EXPORTER=none OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317",
            &[
                "metrics - off OTEL_METRICS_EXPORTER=none",
                "any http://c:4317 grpc on",
            ],
        ),
        (
            "OTEL_METRICS_EXPORTER=prometheus OTEL_TRACES_EXPORTER=otlp OTEL_LOGS_EXPORTER=console \
             OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317",
            &[
                "traces http://c:4317 grpc on",
                "metrics - off OTEL_METRICS_EXPORTER=prometheus",
                "logs - off OTEL_LOGS_EXPORTER=console",
            ],
        ),
        (
            "OTEL_TRACES_EXPORTER=none OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none \
             OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317",
            &[
                "traces - off OTEL_TRACES_EXPORTER=none",
                "metrics - off OTEL_METRICS_EXPORTER=none",
                "logs - off OTEL_LOGS_EXPORTER=none",
            ],
        ),
        // Other exporters of traces.
        (
            "OTEL_TRACES_EXPORTER=zipkin",
            &["traces http://localhost:9411/api/v2/spans zipkin on"],
        ),
        (
            "OTEL_TRACES_EXPORTER=jaeger,otlp OTEL_EXPORTER_JAEGER_ENDPOINT=http://j:14250",
            &[
                "traces http://j:14250/ jaeger on",
                "traces http://localhost:4318/v1/traces http on",
            ],
        ),
        // What cannot work.
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318",
            &["any collector:4318 http broken NoScheme"],
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://$(HOST_IP):4318",
            &["any - broken Unexpanded"],
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4318/v1/traces OTEL_TRACES_EXPORTER=otlp",
            &["traces http://c:4318/v1/traces/v1/traces http broken DoubledPath"],
        ),
    ] {
        assert_eq!(lines(&read(environ, "app", "app", None)), expected, "{environ}");
    }
}

#[test]
fn languages_differ() {
    let otlp = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4000";
    let python =
        "PYTHONPATH=/otel-auto-instrumentation-python/opentelemetry/instrumentation/auto_instrumentation:/x";
    for (environ, exe, cmdline, expected) in [
        // Injected instrumentation has a default protocol; an SDK set up by the application may have any.
        (
            format!("{otlp} {python}"),
            "python3.11",
            "python",
            "any http://c:4000 grpc on",
        ),
        (
            otlp.to_owned(),
            "python3.11",
            "python app.py",
            "any http://c:4000 ? on",
        ),
        (
            format!("{otlp} NODE_OPTIONS=--require=@opentelemetry/auto-instrumentations-node/register"),
            "node",
            "node app.js",
            "any http://c:4000 http on",
        ),
        (
            otlp.to_owned(),
            "java",
            "java -javaagent:/a/opentelemetry-javaagent-1.32.0.jar -jar a.jar",
            "any http://c:4000 grpc on",
        ),
        (
            otlp.to_owned(),
            "java",
            "java -javaagent:/a/opentelemetry-javaagent-2.9.0.jar -jar a.jar",
            "any http://c:4000 http on",
        ),
        (
            otlp.to_owned(),
            "java",
            "java -javaagent:/a/opentelemetry-javaagent.jar -jar a.jar",
            "any http://c:4000 ? on",
        ),
        // The agent exports without being told.
        (
            String::new(),
            "java",
            "java -javaagent:opentelemetry-javaagent.jar A",
            "any http://localhost:4318 http on",
        ),
        (
            "OTEL_JAVAAGENT_ENABLED=false".to_owned(),
            "java",
            "java -javaagent:opentelemetry-javaagent.jar A",
            "any - off OTEL_JAVAAGENT_ENABLED=false",
        ),
        // Properties overrule the environment, the command line overrules option variables; arguments of the program
        // are its own.
        (
            format!("{otlp} JAVA_TOOL_OPTIONS=-Dotel.exporter.otlp.endpoint=http://t:4318"),
            "java",
            "java -cp x -Dotel.exporter.otlp.endpoint=http://p:4318 Main -Dotel.exporter.otlp.endpoint=http://m:4318",
            "any http://p:4318 http on",
        ),
        (
            format!("{otlp} JAVA_TOOL_OPTIONS=-Dotel.exporter.otlp.endpoint=http://t:4318"),
            "java",
            "java -jar a.jar",
            "any http://t:4318 http on",
        ),
        // Nobody but Java reads those.
        (
            format!("{otlp} JAVA_TOOL_OPTIONS=-Dotel.exporter.otlp.endpoint=http://t:4318"),
            "python3",
            "python3 a.py",
            "any http://c:4000 ? on",
        ),
        // gRPC targets without a scheme.
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=c:4317".to_owned(),
            "python3",
            "python3",
            "any https://c:4317 grpc broken NoScheme",
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=c:4317 OTEL_EXPORTER_OTLP_INSECURE=true".to_owned(),
            "python3",
            "python3",
            "any http://c:4317 grpc on",
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317 OTEL_EXPORTER_OTLP_INSECURE=false".to_owned(),
            "python3",
            "python3",
            "any https://c:4317 grpc on",
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=c:4317 OTEL_EXPORTER_OTLP_INSECURE=true".to_owned(),
            "java",
            "java",
            "any c:4317 grpc broken NoScheme",
        ),
    ] {
        assert_eq!(
            lines(&read(&environ, exe, cmdline, None)),
            [expected],
            "{environ} {cmdline}"
        );
    }
}

#[test]
fn go_exports_what_it_was_built_with() {
    let both = go(&["otlptrace/otlptracegrpc", "otlpmetric/otlpmetrichttp"], false);
    // Nothing is set: the defaults, and the source says what proves the exporter.
    let profile = read("PATH=/bin", "app", "app", Some(&both));
    assert_eq!(
        lines(&profile),
        [
            "traces http://localhost:4317 grpc on",
            "metrics http://localhost:4318/v1/metrics http on"
        ]
    );
    assert_eq!(
        profile.expectations[0].source,
        Source::Default("go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc".into())
    );
    assert_eq!(profile.proofs.len(), 2);
    // Go's SDK reads neither of these.
    let profile = read(
        "OTEL_SDK_DISABLED=true OTEL_TRACES_EXPORTER=none OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf \
         OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317",
        "app",
        "app",
        Some(&go(&["otlptrace/otlptracegrpc"], false)),
    );
    assert_eq!(lines(&profile), ["traces http://c:4317 grpc on"]);
    // With `autoexport` it reads the selection.
    let profile = read(
        "OTEL_TRACES_EXPORTER=none",
        "app",
        "app",
        Some(&go(&["otlptrace/otlptracegrpc"], true)),
    );
    assert_eq!(lines(&profile), ["traces - off OTEL_TRACES_EXPORTER=none"]);
    // A program with both of a signal goes by the protocol.
    let either = go(&["otlptrace/otlptracegrpc", "otlptrace/otlptracehttp"], false);
    let profile = read(
        "OTEL_EXPORTER_OTLP_PROTOCOL=grpc OTEL_EXPORTER_OTLP_ENDPOINT=http://c:80",
        "app",
        "app",
        Some(&either),
    );
    assert_eq!(lines(&profile), ["traces http://c:80 grpc on"]);
}

#[test]
fn times() {
    let seconds = Duration::from_secs;
    for (environ, exe, interval, timeout, broken) in [
        ("OTEL_TRACES_EXPORTER=otlp", "app", seconds(5), seconds(10), false),
        ("OTEL_LOGS_EXPORTER=otlp", "app", seconds(1), seconds(10), false),
        (
            "OTEL_METRICS_EXPORTER=otlp",
            "app",
            seconds(60),
            seconds(10),
            false,
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317",
            "app",
            seconds(60),
            seconds(10),
            false,
        ),
        (
            "OTEL_TRACES_EXPORTER=otlp OTEL_BSP_SCHEDULE_DELAY=500",
            "app",
            Duration::from_millis(500),
            seconds(10),
            false,
        ),
        (
            "OTEL_LOGS_EXPORTER=otlp OTEL_BLRP_SCHEDULE_DELAY=2000",
            "app",
            seconds(2),
            seconds(10),
            false,
        ),
        (
            "OTEL_METRICS_EXPORTER=otlp OTEL_METRIC_EXPORT_INTERVAL=15000",
            "app",
            seconds(15),
            seconds(10),
            false,
        ),
        (
            "OTEL_METRICS_EXPORTER=otlp OTEL_METRIC_EXPORT_INTERVAL=15s",
            "app",
            seconds(60),
            seconds(10),
            false,
        ),
        (
            "OTEL_METRICS_EXPORTER=otlp OTEL_METRIC_EXPORT_INTERVAL=15s",
            "java",
            seconds(15),
            seconds(10),
            false,
        ),
        (
            "OTEL_METRICS_EXPORTER=otlp OTEL_METRIC_EXPORT_INTERVAL=-1",
            "app",
            seconds(60),
            seconds(10),
            false,
        ),
        (
            "OTEL_METRICS_EXPORTER=otlp OTEL_METRIC_EXPORT_INTERVAL=99999999999999999",
            "app",
            LONGEST,
            seconds(10),
            false,
        ),
        (
            "OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_TIMEOUT=3000",
            "app",
            seconds(5),
            seconds(3),
            false,
        ),
        (
            "OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_TIMEOUT=3000 OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=2000",
            "app",
            seconds(5),
            seconds(2),
            false,
        ),
        (
            "OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_TIMEOUT=0",
            "app",
            seconds(5),
            LONGEST,
            false,
        ),
        // Python's exporters read seconds.
        (
            "OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_TIMEOUT=30",
            "python3",
            seconds(5),
            seconds(30),
            false,
        ),
        (
            "OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_TIMEOUT=0.5",
            "python3",
            seconds(5),
            Duration::from_millis(500),
            false,
        ),
        (
            "OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_TIMEOUT=10000",
            "python3",
            seconds(5),
            seconds(10_000),
            true,
        ),
        (
            "OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_TIMEOUT=1e300",
            "python3",
            seconds(5),
            seconds(10),
            false,
        ),
        (
            "OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_TIMEOUT=nan",
            "python3",
            seconds(5),
            seconds(10),
            false,
        ),
    ] {
        let profile = read(environ, exe, exe, None);
        let it = &profile.expectations[0];
        assert_eq!(
            (it.interval, it.timeout),
            (interval, Some(timeout)),
            "{environ} {exe}"
        );
        let is_broken = matches!(it.setting, Setting::Broken(Misconfiguration::TimeoutUnit { .. }));
        assert_eq!(is_broken, broken, "{environ} {exe}");
        if broken {
            assert!(it.endpoint.is_some(), "where it sends is known all the same");
        }
    }
}

#[test]
fn a_source_is_named() {
    let source = |environ, exe, cmdline| {
        read(environ, exe, cmdline, None).expectations[0]
            .source
            .to_string()
    };
    assert_eq!(
        source("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", "app", "app"),
        "environment OTEL_EXPORTER_OTLP_ENDPOINT"
    );
    assert_eq!(
        source("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=http://c:4317", "app", "app"),
        "environment OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
    );
    assert_eq!(
        source("OTEL_TRACES_EXPORTER=otlp", "app", "app"),
        "environment OTEL_TRACES_EXPORTER"
    );
    assert_eq!(
        source("", "java", "java -Dotel.exporter.otlp.endpoint=http://c:4317 A"),
        "argument -Dotel.exporter.otlp.endpoint"
    );
    assert_eq!(
        source("", "java", "java -javaagent:splunk-otel-javaagent.jar A"),
        "OpenTelemetry's default (it runs OpenTelemetry's Java agent)"
    );
}

#[test]
fn an_empty_endpoint_is_as_good_as_none_but_for_grpc_in_python() {
    let traces = |more: &str, exe: &str| {
        let environ = format!("OTEL_TRACES_EXPORTER=otlp OTEL_EXPORTER_OTLP_PROTOCOL={more}");
        lines(&read(&environ, exe, exe, None))
    };
    for (more, exe, expected) in [
        (
            "http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT=",
            "python3.11",
            "traces http://localhost:4318/v1/traces http on",
        ),
        (
            "grpc OTEL_EXPORTER_OTLP_ENDPOINT=",
            "node",
            "traces http://localhost:4317 grpc on",
        ),
        ("grpc", "python3.11", "traces http://localhost:4317 grpc on"),
        (
            "grpc OTEL_EXPORTER_OTLP_ENDPOINT= OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://c:4317",
            "python3.11",
            "traces http://c:4317 grpc on",
        ),
    ] {
        assert_eq!(traces(more, exe), [expected], "{more} {exe}");
    }
    let broken = traces("grpc OTEL_EXPORTER_OTLP_ENDPOINT=", "python3.11");
    assert!(
        broken[0].starts_with("traces - broken Unreadable(\"it is empty"),
        "{broken:?}"
    );
}
