//! Command lines and option variables.

use super::*;

fn arguments(line: &str) -> Vec<u8> {
    line.split(' ')
        .flat_map(|word| [word.as_bytes(), b"\0"].concat())
        .collect()
}

fn node(environ: &str, line: &str) -> Option<&'static str> {
    let (environ, line) = (environ.as_bytes(), arguments(line));
    node_preload(&Environment::new(environ), &Arguments::new(&line))
}

fn java(environ: &str, line: &str) -> JavaOptions {
    let line = arguments(line);
    JavaOptions::new(
        &Environment::new(environ.as_bytes()),
        &Arguments::new(&line),
        true,
    )
}

#[test]
fn node_is_told_to_load_it() {
    for (environ, line, expected) in [
        (
            "NODE_OPTIONS=--require @opentelemetry/auto-instrumentations-node/register",
            "node a.js",
            Some("NODE_OPTIONS"),
        ),
        (
            "NODE_OPTIONS=--require=@opentelemetry/x",
            "node a.js",
            Some("NODE_OPTIONS"),
        ),
        (
            "NODE_OPTIONS=--max-old-space-size=4096 -r @splunk/splunk-otel/instrument",
            "node",
            None,
        ),
        (
            "NODE_OPTIONS=--require /otel-auto-instrumentation-nodejs/autoinstrumentation.js",
            "node",
            Some("NODE_OPTIONS"),
        ),
        (
            "NODE_OPTIONS=--import \"@opentelemetry/x\"",
            "node",
            Some("NODE_OPTIONS"),
        ),
        // A value of another option, or another module.
        ("NODE_OPTIONS=--title=opentelemetry", "node", None),
        ("NODE_OPTIONS=--require dd-trace/init", "node", None),
        (
            "",
            "node --import @opentelemetry/auto-instrumentations-node/register.js a.js",
            Some("--require"),
        ),
        ("", "node -r @opentelemetry/x a.js", Some("--require")),
        // An argument of the program.
        ("", "node a.js --require @opentelemetry/x", None),
        ("", "node opentelemetry.js", None),
    ] {
        let found = node(environ, line);
        // Splunk's module has another name than its Java agent.
        let expected = if environ.contains("@splunk") {
            Some("NODE_OPTIONS")
        } else {
            expected
        };
        assert_eq!(found, expected, "{environ} {line}");
    }
}

#[test]
fn java_agents_are_told_apart() {
    for (line, agent) in [
        (
            "java -javaagent:/o/opentelemetry-javaagent.jar -jar a.jar",
            Some("opentelemetry-javaagent.jar"),
        ),
        (
            "java -javaagent:/o/splunk-otel-javaagent-1.2.jar=x=y A",
            Some("splunk-otel-javaagent-1.2.jar"),
        ),
        (
            "java -javaagent:/otel-auto-instrumentation-java/javaagent.jar A",
            Some("javaagent.jar"),
        ),
        ("java -javaagent:/dd-java-agent.jar A", None),
        ("java -jar a.jar -javaagent:/o/opentelemetry-javaagent.jar", None),
    ] {
        assert_eq!(java("", line).agent.as_deref(), agent, "{line}");
    }
    let options = java(
        "JAVA_TOOL_OPTIONS=-Xmx1g \"-javaagent:/with blank/opentelemetry-javaagent.jar\"",
        "java A",
    );
    assert_eq!(options.agent.as_deref(), Some("opentelemetry-javaagent.jar"));
}

#[test]
fn later_properties_overrule() {
    let environ = "JAVA_TOOL_OPTIONS=-Dotel.a.b=1 -Dotel.c=1\0JDK_JAVA_OPTIONS=-Dotel.c=2 -Dotel.d-e='x y'";
    let options = java(
        environ,
        "java --add-opens java.base/java.lang=ALL-UNNAMED -Dotel.c=3 -Dother=x A -Dotel.a.b=9",
    );
    let get = |name| options.get(name).map(|(value, _)| value);
    assert_eq!(get("OTEL_A_B"), Some("1"));
    assert_eq!(get("OTEL_C"), Some("3"));
    assert_eq!(get("OTEL_D_E"), Some("x y"));
    assert_eq!(get("OTHER"), None);
    // Headers are never taken.
    let options = java("", "java -Dotel.exporter.otlp.headers=authorization=secret A");
    assert_eq!(options.get("OTEL_EXPORTER_OTLP_HEADERS"), None);
    assert!(!format!("{options:?}").contains("secret"));
}

#[test]
fn python_is_instrumented_by_hand() {
    for (line, expected) in [
        (
            "python3 /usr/local/bin/opentelemetry-instrument python app.py",
            true,
        ),
        ("opentelemetry-instrument gunicorn app", true),
        ("python3 app.py /usr/local/bin/opentelemetry-instrument", true),
        ("python3 app.py --with opentelemetry-instrument", false),
    ] {
        let line_bytes = arguments(line);
        assert_eq!(
            Arguments::new(&line_bytes).is_instrumented_by_hand(),
            expected,
            "{line}"
        );
    }
}

#[test]
fn words_as_java_splits_them() {
    assert_eq!(words("  a  \"b c\"d 'e' \"\" "), ["a", "b cd", "e", ""]);
    assert_eq!(words("\"open"), ["open"]);
    assert!(words(" \t ").is_empty());
}
