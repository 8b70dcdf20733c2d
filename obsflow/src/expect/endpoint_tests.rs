//! What exporters make of what people write.

use proptest::prelude::*;

use super::*;

const HTTP: Form = Form {
    transport: Some(Transport::HttpProtobuf),
    signal: Some(Signal::Traces),
    is_base: true,
    insecure: None,
    language: Language::Unknown,
};

const GRPC: Form = Form {
    transport: Some(Transport::Grpc),
    ..HTTP
};

const OWN: Form = Form {
    is_base: false,
    ..HTTP
};

const UNKNOWN: Form = Form {
    transport: None,
    signal: None,
    ..HTTP
};

fn shape(text: &str, form: &Form) -> (String, Option<Misconfiguration>) {
    let reading = read(text, form);
    (
        reading
            .endpoint
            .map_or("-".to_owned(), |endpoint| endpoint.to_string()),
        reading.broken,
    )
}

#[test]
fn good_ones() {
    for (text, form, expected) in [
        ("http://collector:4318", HTTP, "http://collector:4318/v1/traces"),
        ("http://collector:4318/", HTTP, "http://collector:4318/v1/traces"),
        (" http://collector:4318 ", HTTP, "http://collector:4318/v1/traces"),
        (
            "http://collector:4318/a/b//",
            HTTP,
            "http://collector:4318/a/b/v1/traces",
        ),
        (
            "HTTP://Collector.Obs.:4318",
            HTTP,
            "http://collector.obs:4318/v1/traces",
        ),
        ("http://collector", HTTP, "http://collector:80/v1/traces"),
        ("https://collector", HTTP, "https://collector:443/v1/traces"),
        (
            "https://me:pass@collector:1?key=x#f",
            HTTP,
            "https://collector:1/v1/traces",
        ),
        ("http://[fd00::1]:4318", HTTP, "http://[fd00::1]:4318/v1/traces"),
        ("http://[fd00::1]", HTTP, "http://[fd00::1]:80/v1/traces"),
        ("http://[fe80::1%25eth0]:1", HTTP, "http://[fe80::1]:1/v1/traces"),
        (
            "http://[::ffff:10.0.0.1]:4318",
            HTTP,
            "http://10.0.0.1:4318/v1/traces",
        ),
        ("http://10.0.0.1:4318", HTTP, "http://10.0.0.1:4318/v1/traces"),
        (
            "http://my_collector:4318",
            HTTP,
            "http://my_collector:4318/v1/traces",
        ),
        // A signal's own endpoint is used as it is.
        ("http://collector:4318", OWN, "http://collector:4318/"),
        (
            "http://collector:4318/v1/traces",
            OWN,
            "http://collector:4318/v1/traces",
        ),
        (
            "http://collector:4318/opentelemetry/v1/traces/",
            OWN,
            "http://collector:4318/opentelemetry/v1/traces/",
        ),
        ("http://collector:4317", GRPC, "http://collector:4317"),
        ("https://collector:4317/v1/traces", GRPC, "https://collector:4317"),
        ("http://collector", GRPC, "http://collector:80"),
        (
            "http://collector",
            Form {
                language: Language::Go,
                ..GRPC
            },
            "http://collector:443",
        ),
        ("dns:///collector.obs:4317", GRPC, "https://collector.obs:4317"),
        (
            "dns:///collector.obs:4317",
            Form {
                insecure: Some(true),
                ..GRPC
            },
            "http://collector.obs:4317",
        ),
        (
            "dns://10.0.0.10/collector.obs:4317",
            GRPC,
            "https://collector.obs:4317",
        ),
        ("dns:collector.obs:4317", GRPC, "https://collector.obs:4317"),
        ("grpc://collector:4317", GRPC, "https://collector:4317"),
        (
            "collector:4317",
            Form {
                insecure: Some(true),
                ..GRPC
            },
            "http://collector:4317",
        ),
        ("http://collector:4317", UNKNOWN, "http://collector:4317"),
        ("http://collector:9000/in", UNKNOWN, "http://collector:9000"),
    ] {
        assert_eq!(shape(text, &form), (expected.to_owned(), None), "{text}");
    }
}

#[test]
fn bad_ones() {
    use Misconfiguration::{DoubledPath, NoScheme, Unexpanded, UnspecifiedAddress};
    let scheme = |name: &str| Misconfiguration::UnknownScheme(name.into());
    for (text, form, expected, broken) in [
        ("collector:4318", HTTP, "collector:4318/v1/traces", NoScheme),
        ("collector", HTTP, "-", NoScheme),
        ("localhost:4318", UNKNOWN, "localhost:4318", NoScheme),
        (
            "10.0.0.1:4318/v1/traces",
            OWN,
            "10.0.0.1:4318/v1/traces",
            NoScheme,
        ),
        ("[fd00::1]:4318", HTTP, "[fd00::1]:4318/v1/traces", NoScheme),
        // gRPC's own targets have no scheme: with TLS, unless it is told not to.
        ("collector:4317", GRPC, "https://collector:4317", NoScheme),
        ("collector", GRPC, "https://collector:443", NoScheme),
        (
            "collector:4317",
            Form {
                language: Language::Go,
                ..GRPC
            },
            "collector:4317",
            NoScheme,
        ),
        ("http://$(HOST_IP):4318", HTTP, "-", Unexpanded),
        ("$(OTEL_ENDPOINT)", HTTP, "-", Unexpanded),
        ("http://${HOST_IP}:4318", HTTP, "-", Unexpanded),
        ("http://$HOST_IP:4318", HTTP, "-", Unexpanded),
        ("http://$(HOST IP):4318", HTTP, "-", Unexpanded),
        (
            "http://collector:4318/v1/traces",
            HTTP,
            "http://collector:4318/v1/traces/v1/traces",
            DoubledPath,
        ),
        (
            "http://collector:4318/v1/metrics/",
            HTTP,
            "http://collector:4318/v1/metrics/v1/traces",
            DoubledPath,
        ),
        (
            "http://collector:4318/v1/traces",
            UNKNOWN,
            "http://collector:4318",
            DoubledPath,
        ),
        (
            "http://collector:4318/v1/traces/v1/traces",
            OWN,
            "http://collector:4318/v1/traces/v1/traces",
            DoubledPath,
        ),
        (
            "http://0.0.0.0:4318",
            HTTP,
            "http://0.0.0.0:4318/v1/traces",
            UnspecifiedAddress,
        ),
        ("http://[::]:4317", GRPC, "http://[::]:4317", UnspecifiedAddress),
        ("unix:///run/otel.sock", HTTP, "-", scheme("unix")),
        ("unix:/run/otel.sock", HTTP, "-", scheme("unix")),
        ("unix-abstract:otel", HTTP, "-", scheme("unix-abstract")),
        ("tcp://collector:4317", HTTP, "-", scheme("tcp")),
        ("grpc://collector:4317", HTTP, "-", scheme("grpc")),
    ] {
        assert_eq!(shape(text, &form), (expected.to_owned(), Some(broken)), "{text}");
    }
}

#[test]
fn a_path_that_no_request_can_be_read_of_is_not_remembered() {
    let long = format!("http://collector:4318/{}", "a".repeat(10_000));
    for form in [HTTP, OWN, UNKNOWN] {
        assert_eq!(shape(&long, &form), ("http://collector:4318".to_owned(), None));
    }
    assert!(written(&long).len() < 300);
}

#[test]
fn grpc_may_go_over_a_socket_of_this_machine() {
    for text in [
        "unix:///run/otel.sock",
        "unix:/run/otel.sock",
        "UNIX:otel.sock",
        "unix-abstract:otel",
        "vsock:2:4317",
    ] {
        for form in [GRPC, UNKNOWN] {
            assert_eq!(shape(text, &form), ("-".to_owned(), None), "{text}");
        }
    }
    // A name that only begins so.
    assert_eq!(shape("http://unix:4317", &GRPC).1, None);
    assert_eq!(shape("unixes:4317", &GRPC).1, Some(Misconfiguration::NoScheme));
}

#[test]
fn unreadable_ones_say_why() {
    for (text, why) in [
        ("http://", "it names no host"),
        ("http://:4318", "it names no host"),
        ("http:///v1/traces", "it names no host"),
        ("http://collector:", "its port is not a number from 1 to 65535"),
        ("http://collector:0", "its port is not a number from 1 to 65535"),
        (
            "http://collector:65536",
            "its port is not a number from 1 to 65535",
        ),
        ("http://collector:+80", "its port is not a number from 1 to 65535"),
        (
            "http://fd00::1:4318",
            "a colon too many: an IPv6 address must stand in brackets",
        ),
        ("http://[fd00::1", "the bracket of an IPv6 address is not closed"),
        (
            "http://[collector]:1",
            "what stands in brackets is no IPv6 address",
        ),
        (
            "http://[::1]4318",
            "something other than a port follows the IPv6 address",
        ),
        (
            "http://a,b:4318",
            "its host name has a character that no name may have",
        ),
        ("\"http://collector:4318\"", "it begins with a quotation mark"),
        (
            "http://col lector:4318",
            "it has blanks or control characters in it",
        ),
        (
            "http://collector\u{1b}[31m:4318",
            "it has blanks or control characters in it",
        ),
        ("http:collector:4318", "`//` is missing behind `http:`"),
        ("https:/collector", "`//` is missing behind `https:`"),
        ("://collector", "what stands before `://` is no scheme"),
        ("1http://collector", "what stands before `://` is no scheme"),
    ] {
        let expected = Misconfiguration::Unreadable(why.into());
        assert_eq!(shape(text, &HTTP), ("-".to_owned(), Some(expected)), "{text}");
    }
    let long = format!("http://{}:4318", "a".repeat(10_000));
    let why = "its host name is longer than 253 bytes";
    assert_eq!(
        read(&long, &HTTP).broken,
        Some(Misconfiguration::Unreadable(why.into()))
    );
    assert_eq!(written(&long).len(), 256);
    // A long path is a path all the same.
    let long = format!("http://collector:4318/{}", "a".repeat(10_000));
    assert_eq!(read(&long, &HTTP).broken, None);
}

#[test]
fn credentials_are_cut() {
    for (text, shown) in [
        ("http://me:s3cret@collector:4318/a", "http://collector:4318/a"),
        ("http://me:s3/cr?t#@collector:4318/a", "http://collector:4318/a"),
        ("http://me:s3cr@t@collector:4318", "http://collector:4318"),
        ("me:s3cret@collector:4318", "collector:4318"),
        ("https://collector/in?api-key=s3cret", "https://collector/in"),
        ("https://collector/in#s3cret", "https://collector/in"),
        ("http://$(HOST):4318", "http://$(HOST):4318"),
        ("a\u{7}b\n", "a\\u{7}b"),
    ] {
        assert_eq!(&*written(text), shown, "{text:?}");
    }
}

#[test]
fn what_is_cut_ends_between_characters() {
    assert_eq!(&*shown("ab", 2), "ab");
    assert_eq!(&*shown("abcdef", 5), "ab…");
    for max in 3..20 {
        assert!(shown("ä€😀ä€😀ä€😀", max).len() <= max);
    }
}

proptest! {
    #[test]
    fn any_text_is_read_and_shown(text in "\\PC*", base: bool, insecure: Option<bool>) {
        for form in [HTTP, GRPC, OWN, UNKNOWN] {
            let reading = read(&text, &Form { is_base: base, insecure, ..form });
            prop_assert!(reading.endpoint.is_some() || reading.broken.is_some());
        }
    }

    #[test]
    fn whatever_is_shown_is_short_and_fit_for_a_terminal(text in any::<String>()) {
        let shown = written(&text);
        prop_assert!(shown.len() <= 256);
        prop_assert!(!shown.chars().any(char::is_control));
    }

    #[test]
    fn a_password_is_never_shown(
        user in "[a-z]{1,8}",
        password in "[A-Z/?#@:$]{8,16}",
        host in "[a-z]{1,8}",
        port in 1u16..,
    ) {
        let text = format!("http://{user}:{password}@{host}:{port}/in");
        prop_assert_eq!(&*written(&text), format!("http://{host}:{port}/in"));
        let reading = format!("{:?}", read(&text, &HTTP));
        prop_assert!(!reading.contains(&password), "{}", reading);
    }

    #[test]
    fn a_good_url_is_read_as_it_stands(
        name in "[a-z][a-z0-9-]{0,20}(\\.[a-z][a-z0-9]{0,9}){0,4}",
        port in 1u16..,
        tls: bool,
    ) {
        let scheme = if tls { "https" } else { "http" };
        let text = format!("{scheme}://{name}:{port}");
        let reading = read(&text, &GRPC);
        prop_assert_eq!(reading.broken, None);
        prop_assert_eq!(reading.endpoint.map(|it| it.to_string()), Some(text));
    }
}
