//! Declarative configuration files.

use super::*;
use crate::expect::profile::{Process, Profile, profile};

fn read_file(text: &str, environ: &str) -> Profile {
    let environ = format!("OTEL_CONFIG_FILE=/etc/otel.yaml\0{environ}");
    profile(&Process {
        environ: environ.as_bytes(),
        cmdline: b"app",
        exe: "app",
        go: None,
        file: &|path| {
            assert_eq!(path, "/etc/otel.yaml");
            Ok(text.as_bytes().to_vec())
        },
    })
}

fn lines(profile: &Profile) -> Vec<String> {
    profile
        .expectations
        .iter()
        .map(|it| {
            let signal = it.signal.map_or("any", Signal::name);
            let endpoint = it.endpoint.as_ref().map_or("-".to_owned(), ToString::to_string);
            let transport = it.endpoint.as_ref().map(|endpoint| endpoint.transport);
            let setting = match &it.setting {
                Setting::On => "on".to_owned(),
                other => format!("{other:?}"),
            };
            format!(
                "{signal} {endpoint} {transport:?} {:?}/{:?} {setting}",
                it.interval,
                it.timeout.unwrap()
            )
        })
        .collect()
}

const WHOLE: &str = "
file_format: \"1.0\"
disabled: false
resource:
  attributes:
    - name: service.name
      value: shop
    - {name: replicas, value: [1, 2], type: int_array}
attribute_limits:
  attribute_count_limit: 128
propagator:
  composite: [{tracecontext: }, {baggage: }]
tracer_provider:
  processors:
    - batch:
        schedule_delay: 2000
        exporter:
          otlp_http:
            endpoint: http://collector:4318/v1/traces
            headers: [{name: api-key, value: s3cret}]
            timeout: 3000
    - simple:
        exporter:
          console:
meter_provider:
  readers:
    - pull:
        exporter:
          prometheus/development:
            port: 9464
    - periodic:
        interval: 15000
        exporter:
          otlp_grpc:
            endpoint: https://collector:4317
logger_provider:
  processors:
    - batch:
        exporter:
          otlp_http:
instrumentation/development:
  general: {}
";

#[test]
fn a_whole_file() {
    let profile = read_file(
        WHOLE,
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://ignored:1\0OTEL_SERVICE_NAME=ignored",
    );
    assert_eq!(profile.unreadable, None);
    assert_eq!(
        lines(&profile),
        [
            "traces http://collector:4318/v1/traces Some(HttpProtobuf) 2s/3s on",
            "logs http://localhost:4318/v1/logs Some(HttpProtobuf) 1s/10s on",
            "metrics https://collector:4317 Some(Grpc) 15s/10s on",
        ]
    );
    assert_eq!(profile.service.as_deref(), Some("shop"));
    assert_eq!(
        profile.expectations[0].source,
        Source::OtelConfig("/etc/otel.yaml".into())
    );
    assert!(!format!("{profile:?}").contains("s3cret"));
}

#[test]
fn variables_stand_in_it() {
    let file = "
tracer_provider:
  processors:
    - batch:
        schedule_delay: ${OTEL_BSP_SCHEDULE_DELAY:-5000}
        exporter:
          otlp_http:
            endpoint: http://${NODE_IP}:${env:PORT:-4318}/v1/traces
            timeout: ${SECRET:-7000}
meter_provider:
  readers:
    - periodic:
        exporter:
          otlp_http:
            endpoint: ${NOWHERE}
";
    let profile = read_file(file, "NODE_IP=10.0.0.7\0OTEL_BSP_SCHEDULE_DELAY=250\0SECRET=1");
    assert_eq!(
        lines(&profile),
        [
            // Only an endpoint may name a variable that is not looked at otherwise.
            "traces http://10.0.0.7:4318/v1/traces Some(HttpProtobuf) 250ms/7s on",
            "metrics http://localhost:4318/v1/metrics Some(HttpProtobuf) 60s/10s on",
        ]
    );
}

#[test]
fn substitution_by_the_specification() {
    let variable = |name: &str| (name == "A").then(|| "1".to_owned());
    for (text, expected) in [
        ("x", "x"),
        ("${A}", "1"),
        ("${env:A}", "1"),
        ("a${A}b${A}", "a1b1"),
        ("${B}", ""),
        ("${B:-c}", "c"),
        ("${A:-c}", "1"),
        ("${B:-a:-b}", "a:-b"),
        ("$${A}", "${A}"),
        ("$$$${A}", "$${A}"),
        ("$A $(A) ${1} ${A", "$A $(A) ${1} ${A"),
        ("$", "$"),
    ] {
        assert_eq!(substitute(text, &variable), expected, "{text}");
    }
}

#[test]
fn former_formats() {
    let file = "
tracer_provider:
  processors:
    - batch:
        exporter:
          otlp:
            protocol: http/protobuf
            endpoint: http://collector:4318
            insecure: false
    - batch:
        exporter:
          otlp:
            protocol: grpc
            endpoint: collector:4317
            insecure: true
    - simple:
        exporter:
          zipkin:
resource:
  attributes:
    service.name: shop
";
    assert_eq!(
        lines(&read_file(file, "")),
        [
            "traces http://collector:4318/v1/traces Some(HttpProtobuf) 5s/10s on",
            "traces http://collector:4317 Some(Grpc) 5s/10s on",
            "traces http://localhost:9411/api/v2/spans Some(Other(Zipkin)) 5s/10s on",
        ]
    );
}

#[test]
fn disabled_and_broken_ones() {
    assert_eq!(
        lines(&read_file(
            "disabled: ${OTEL_SDK_DISABLED:-false}",
            "OTEL_SDK_DISABLED=true"
        )),
        ["any - None 60s/10s Off(\"disabled: true\")"]
    );
    let file =
        "tracer_provider: {processors: [{batch: {exporter: {otlp_http: {endpoint: collector:4318}}}}]}";
    assert_eq!(
        lines(&read_file(file, "")),
        ["traces collector:4318/ Some(HttpProtobuf) 5s/10s Broken(NoScheme)"]
    );
    assert_eq!(read_file("file_format: '1.0'", "").expectations, []);
}

#[test]
fn what_is_no_such_file_says_where_and_shows_nothing_of_it() {
    let hidden = "tracer_provider:\n  processors:\n    - batch: s3cret\n";
    let profile = read_file(hidden, "");
    assert_eq!(
        profile.unreadable.as_deref(),
        Some(
            "OTEL_CONFIG_FILE=/etc/otel.yaml: line 3 is not what the schema says; where it exports to is not known"
        )
    );
    for text in ["\u{0}", "[", "a: b: c", "- x", "&a [*a, *a]"] {
        assert!(read_file(text, "").unreadable.is_some(), "{text:?}");
    }
    let long = "#".repeat(MAX_FILE);
    assert!(
        read_file(&long, "")
            .unreadable
            .unwrap()
            .contains("longer than 256 KiB")
    );
}

#[test]
fn aliases_that_multiply_and_deep_nesting_stop() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        let refs = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
    }
    bomb.push_str("resource: {attributes: *a9}\n");
    assert!(read_file(&bomb, "").expectations.is_empty());
    let deep = format!("tracer_provider: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(read_file(&deep, "").unreadable.is_some());
}
