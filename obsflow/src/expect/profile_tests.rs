//! One process: its language, what proves that it sends, and what is said of it.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::config::observe::VARIABLES;
use crate::expect::OTHER_VARIABLES;

fn read(environ: &str, exe: &str, cmdline: &str) -> Profile {
    profile(&Process {
        environ: environ.as_bytes(),
        cmdline: cmdline.replace(' ', "\0").as_bytes(),
        exe,
        go: None,
        file: &|_| Err("no files here".into()),
    })
}

#[test]
fn proofs() {
    let python = "PYTHONPATH=/otel-auto-instrumentation-python/opentelemetry/instrumentation/auto_instrumentation:/app";
    for (environ, exe, cmdline, expected) in [
        (
            python,
            "python3.11",
            "python3.11 app.py",
            "PYTHONPATH loads OpenTelemetry",
        ),
        // The variable of another language is no proof: environments are spread by envFrom.
        (python, "nginx", "nginx: master", ""),
        ("PYTHONPATH=/app/opentelemetry", "python3", "python3", ""),
        (
            "",
            "python3",
            "python3 /bin/opentelemetry-instrument gunicorn",
            "opentelemetry-instrument loads OpenTelemetry",
        ),
        (
            "",
            "java",
            "java -javaagent:/opentelemetry-javaagent.jar A",
            "it runs OpenTelemetry's Java agent",
        ),
        (
            "JAVA_TOOL_OPTIONS=-javaagent:/otel-auto-instrumentation-java/javaagent.jar",
            "java",
            "java A",
            "it runs OpenTelemetry's Java agent",
        ),
        (
            "JAVA_TOOL_OPTIONS=-javaagent:/opentelemetry-javaagent.jar",
            "sh",
            "sh",
            "",
        ),
        (
            "NODE_OPTIONS=--require @opentelemetry/x",
            "node",
            "node a.js",
            "NODE_OPTIONS loads OpenTelemetry",
        ),
        (
            "NODE_OPTIONS=--require @opentelemetry/x",
            "python3",
            "python3",
            "",
        ),
        (
            "CORECLR_ENABLE_PROFILING=1\0OTEL_DOTNET_AUTO_HOME=/otel",
            "Shop.Web",
            "Shop.Web",
            "CORECLR_ENABLE_PROFILING loads OpenTelemetry",
        ),
        ("CORECLR_ENABLE_PROFILING=1", "dotnet", "dotnet a.dll", ""),
        (
            "DOTNET_STARTUP_HOOKS=/otel/net/OpenTelemetry.AutoInstrumentation.StartupHook.dll",
            "dotnet",
            "dotnet a.dll",
            "DOTNET_STARTUP_HOOKS loads OpenTelemetry",
        ),
        // Configured by variables alone: nothing proves that anybody reads them.
        ("OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317", "nginx", "nginx", ""),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317",
            "python3",
            "python3 app.py",
            "",
        ),
    ] {
        let proofs: Vec<_> = read(environ, exe, cmdline)
            .proofs
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(proofs.join(", "), expected, "{environ} {exe}");
    }
}

#[test]
fn the_service() {
    for (environ, expected) in [
        ("OTEL_SERVICE_NAME=shop", Some("shop")),
        (
            "OTEL_RESOURCE_ATTRIBUTES=a=b, service.name = cart ,c=d",
            Some("cart"),
        ),
        (
            "OTEL_SERVICE_NAME=shop\0OTEL_RESOURCE_ATTRIBUTES=service.name=cart",
            Some("shop"),
        ),
        (
            "OTEL_SERVICE_NAME=\0OTEL_RESOURCE_ATTRIBUTES=service.name=cart",
            Some("cart"),
        ),
        ("OTEL_RESOURCE_ATTRIBUTES=service.name=,service.namespace=x", None),
        ("OTEL_SERVICE_NAME=a\u{1b}b", Some("a\\u{1b}b")),
        ("", None),
    ] {
        assert_eq!(
            read(environ, "app", "app").service.as_deref(),
            expected,
            "{environ}"
        );
    }
}

#[test]
fn with_a_configuration_file_the_variables_do_not_count() {
    for variable in ["OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"] {
        let environ = format!("{variable}=/etc/otel.yaml\0OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317");
        let profile = read(&environ, "app", "app");
        assert_eq!(profile.expectations, []);
        assert_eq!(
            profile.unreadable.as_deref(),
            Some(&*format!(
                "{variable}=/etc/otel.yaml: no files here; where it exports to is not known"
            ))
        );
    }
}

#[test]
fn headers_and_foreign_variables_leave_no_trace() {
    let profile = read(
        "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317\0OTEL_EXPORTER_OTLP_HEADERS=api-key=s3cret\0\
         OTEL_EXPORTER_OTLP_TRACES_HEADERS=x=s3cret\0DATABASE_URL=postgres://me:s3cret@db/x\0\
         http_proxy=http://me:s3cret@proxy:3128\0JAVA_TOOL_OPTIONS=-Dpassword=s3cret",
        "python3",
        "python3 --password s3cret",
    );
    assert_eq!(profile.expectations.len(), 1);
    assert!(!format!("{profile:?}").contains("s3cret"));
}

#[test]
fn the_same_settings_have_the_same_fingerprint() {
    let state = std::hash::RandomState::new();
    let of = |environ: &str, exe, cmdline: &str| {
        fingerprint(
            &Process {
                environ: environ.as_bytes(),
                cmdline: cmdline.as_bytes(),
                exe,
                go: None,
                file: &|_| Err("no files here".into()),
            },
            &state,
        )
    };
    let otlp = "OTEL_EXPORTER_OTLP_ENDPOINT=http://c:4317\0";
    let with = |more: &str| format!("{otlp}{more}");
    assert_eq!(of(otlp, "a", "a"), of(&with("HOSTNAME=pod-1"), "b", "b x"));
    assert_eq!(
        of(&with("OTEL_EXPORTER_OTLP_HEADERS=a=b"), "a", "a"),
        of(&with("OTEL_EXPORTER_OTLP_HEADERS=a=c"), "a", "a")
    );
    assert_ne!(of(otlp, "a", "a"), of(otlp, "python3", "a"));
    assert_ne!(of(otlp, "java", "java -Dotel.a=b"), of(otlp, "java", "java"));
    assert_ne!(of(otlp, "a", "a"), of(&with("OTEL_SERVICE_NAME=x"), "a", "a"));
    // What a file says may differ from one container to the next.
    assert_eq!(of("OTEL_CONFIG_FILE=/x", "a", "a"), None);
}

#[test]
fn the_documentation_lists_what_is_looked_at() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/privacy.md");
    let text = std::fs::read_to_string(docs).unwrap();
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    for name in OTHER_VARIABLES.iter().chain(&VARIABLES) {
        assert!(
            quoted.contains(name),
            "docs/privacy.md does not say that {name} is looked at"
        );
    }
    let is_variable = |name: &str| {
        let upper = name.len() > 4 && name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        upper || name.ends_with("_proxy")
    };
    for name in quoted.into_iter().filter(|name| is_variable(name)) {
        assert!(
            name.starts_with("OTEL_") || OTHER_VARIABLES.contains(&name) || VARIABLES.contains(&name),
            "docs/privacy.md says that {name} is looked at, and it is not"
        );
    }
}

proptest! {
    #[test]
    fn any_environment_and_arguments_are_read(
        environ in proptest::collection::vec(any::<u8>(), 0..400),
        cmdline in proptest::collection::vec(any::<u8>(), 0..200),
        exe in prop_oneof!["java", "node", "python3", "dotnet", "app"],
    ) {
        let profile = profile(&Process {
            environ: &environ,
            cmdline: &cmdline,
            exe: &exe,
            go: None,
            file: &|_| Err("no files here".into()),
        });
        prop_assert!(profile.expectations.len() <= 64);
    }

    #[test]
    fn any_values_are_read(
        values in proptest::collection::vec(("(TRACES|METRICS|LOGS)_", "(ENDPOINT|PROTOCOL|TIMEOUT|INSECURE)", "\\PC{0,40}"), 0..8),
        list in "((otlp|none|zipkin|jaeger|console|x|),?){0,5}",
        exe in prop_oneof!["java", "node", "python3", "app"],
    ) {
        let mut environ = format!("OTEL_TRACES_EXPORTER={list}\0");
        for (index, (signal, name, value)) in values.iter().enumerate() {
            let signal = if index % 2 == 0 { signal } else { "" };
            environ.push_str(&format!("OTEL_EXPORTER_OTLP_{signal}{name}={value}\0"));
        }
        for it in read(&environ, &exe, &exe).expectations {
            prop_assert!(it.written.len() <= 256 && !it.written.chars().any(char::is_control));
            prop_assert!(it.endpoint.is_some() || it.setting != crate::model::expectation::Setting::On);
        }
    }
}
