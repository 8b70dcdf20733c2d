//! Writes `fuzz/seeds`: small good inputs of every target, so that fuzzing starts behind the first checks.

use std::io::Result;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use obsflow::capture::{FileHeader, Options, Writer};
use obsflow::decode::sample::{self, Who};
use obsflow::model::Clock;

fn main() -> Result<()> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        let folder = seeds.join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    };
    let who = Who {
        at_ns: 1_000_000_000,
        cgroup: 7,
        cookie: 9,
        netns: 5,
        pid: 100,
    };
    let local = SocketAddr::from(([10, 244, 1, 5], 40_000));
    let server = SocketAddr::from(([10, 96, 0, 10], 53));
    let ips = [
        IpAddr::from([10, 100, 0, 1]),
        IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]),
    ];
    let query = sample::dns_query(1, "otel.obs.svc.cluster.local", 1);
    let response = sample::dns_response(1, "otel.obs.svc.cluster.local", 1, 0, &ips);

    write("dns_message", "query", &query)?;
    write("dns_message", "response", &response)?;
    write(
        "dns_message",
        "nxdomain",
        &sample::dns_response(2, "otel.obs", 28, 3, &[]),
    )?;

    // Each segment: flags, jump, length, bytes; the stream's own prefix before the message.
    let mut segments = vec![0];
    for message in [&query, &response] {
        let len = u8::try_from(message.len()).unwrap_or(0);
        segments.extend_from_slice(&[0, 0, 2, 0, len, 0, 0, len]);
        segments.extend_from_slice(message);
    }
    write("dns_stream", "two", &segments)?;

    // Each segment: flags, jump, length, bytes.
    let post: &[u8] = b"POST /v1/traces?a=b HTTP/1.1\r\nHost: u:p@otel:4318\r\nUser-Agent: sdk/1\r\nContent-Length: 2\r\n\r\n{}";
    let ok: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    let no: &[u8] =
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 30\r\n\r\nunsupported path requested: \"/\"";
    let preface: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 64, 0];
    for (name, said) in [
        ("exchange", [(0, post), (1, ok)]),
        ("refused", [(0, post), (1, no)]),
        ("late", [(16, post), (17, ok)]),
        ("mismatch", [(0, preface), (1, no)]),
        ("other_mismatch", [(1, settings), (0, post)]),
    ] {
        let mut segments = Vec::new();
        for (flags, bytes) in said {
            segments.extend_from_slice(&[flags, 0, u8::try_from(bytes.len()).unwrap_or(u8::MAX)]);
            segments.extend_from_slice(bytes);
        }
        write("http1", name, &segments)?;
    }
    // Each frame: flags, type, its flags, stream, length, body. RFC 7541, C.4.1 and C.6.1.
    let ask: &[u8] = &[
        0x83, 0x86, 0x84, 0x41, 0x8c, 0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
    ];
    let answer: &[u8] = &[0x88];
    let mut frames = Vec::new();
    for (way, kind, flags, body) in [
        (0, 1, 4, ask),
        (0, 0, 1, post),
        (1, 1, 4, answer),
        (1, 0, 0, ok),
        (1, 1, 5, &[0x40, 2, b'a', b'b', 1, b'0'][..]),
    ] {
        frames.extend_from_slice(&[way, kind, flags, 1, u8::try_from(body.len()).unwrap_or(u8::MAX)]);
        frames.extend_from_slice(body);
    }
    write("http2", "exchange", &frames)?;
    // Each record: flags, content type, length, bytes.
    let mut hello = vec![1, 0, 0, 80, 3, 3];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0x13, 1, 1, 0, 0, 17, 0, 0, 0, 13, 0, 11, 0, 0, 8]);
    hello.extend_from_slice(b"otel.obs");
    let mut answered = vec![2, 0, 0, 80, 3, 3];
    answered.extend_from_slice(&[7; 32]);
    answered.extend_from_slice(&[0, 0x13, 1, 0]);
    for (name, last) in [
        ("failed", &[1, 1, 2, 2, 48][..]),
        ("established", &[0, 3, 60, 1][..]),
    ] {
        let mut records = vec![0, 2, u8::try_from(hello.len()).unwrap_or(u8::MAX)];
        records.extend_from_slice(&hello);
        records.extend_from_slice(&[1, 2, u8::try_from(answered.len()).unwrap_or(u8::MAX)]);
        records.extend_from_slice(&answered);
        records.extend_from_slice(last);
        write("tls", name, &records)?;
    }

    let mut records = vec![
        ("drop", sample::drop(who, (local, server), 17, &query)),
        ("drop_tcp", sample::drop(who, (local, server), 6, &[])),
        ("cgroup", sample::cgroup(who, b"/kubepods/burstable/pod1/c1")),
        ("name", sample::name(who, 1, 8, "NETFILTER_DROP")),
    ];
    let names = ["query", "query6", "answer", "answer6"];
    let traffic = sample::traffic(40, 1);
    for (name, record) in names.iter().zip(&traffic) {
        records.push((name, record.to_vec()));
    }
    for (name, record) in ["payload", "established", "close", "attempt"]
        .iter()
        .zip(traffic.iter().rev())
    {
        records.push((name, record.to_vec()));
    }
    for (name, record) in &records {
        write("decode", name, record)?;
    }

    for (name, program, environ, cmdline) in [
        (
            "java",
            0u8,
            "JAVA_TOOL_OPTIONS=-javaagent:/opentelemetry-javaagent-2.9.0.jar\0OTEL_SERVICE_NAME=shop\0",
            "java\0-Dotel.exporter.otlp.endpoint=http://c:4318\0-jar\0a.jar\0",
        ),
        (
            "node",
            1,
            "NODE_OPTIONS=--require @opentelemetry/x\0OTEL_TRACES_EXPORTER=otlp,zipkin\0http_proxy=http://me:pw@p:3128\0no_proxy=.svc,10.0.0.0/8\0",
            "node\0a.js\0",
        ),
        (
            "python",
            2,
            "OTEL_EXPORTER_OTLP_ENDPOINT=http://me:pw@[fd00::1]:4317/v1/traces?k=v\0OTEL_EXPORTER_OTLP_TIMEOUT=10000\0OTEL_EXPORTER_OTLP_PROTOCOL=grpc\0",
            "python3\0opentelemetry-instrument\0",
        ),
        (
            "titled",
            4,
            "worker [app]\0\0\0OTEL_METRICS_EXPORTER=none\0OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=dns:///c:4317\0OTEL_SDK_DISABLED=false\0",
            "app\0",
        ),
    ] {
        let mut bytes = vec![program];
        for part in [environ, cmdline] {
            bytes.extend_from_slice(part.as_bytes());
            bytes.extend_from_slice(&[0xff, 0xfe]);
        }
        bytes.extend_from_slice(&go_build());
        write("environment", name, &bytes)?;
    }
    write("otel_config", "whole", OTEL_CONFIG.as_bytes())?;

    let header = FileHeader {
        clock: Clock { offset_ns: 0 },
        hostname: "node".into(),
        kernel: "6.18".into(),
    };
    let folder = seeds.join("replay");
    std::fs::create_dir_all(&folder)?;
    let options = Options {
        payload: true,
        overwrite: true,
    };
    let all = records.iter().map(|(_, record)| record.as_slice());
    for (name, records) in [
        ("kinds", all.collect::<Vec<_>>()),
        ("traffic", traffic.iter().map(|r| &r[..]).collect()),
    ] {
        let mut writer =
            Writer::create(&folder.join(name), &header, options).map_err(std::io::Error::other)?;
        for record in records {
            writer.write(record).map_err(std::io::Error::other)?;
        }
        writer.finish().map_err(std::io::Error::other)?;
    }
    Ok(())
}

/// The section of a Go program that has an exporter.
fn go_build() -> Vec<u8> {
    let modules = "dep\tgo.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc\tv1.40.0\n";
    let mut out = b"\xff Go buildinf:\x08\x02".to_vec();
    out.resize(32, 0);
    out.extend_from_slice(b"\x04go1.");
    // A length of two bytes in seven bits each.
    let len = modules.len() + 32;
    out.extend_from_slice(&[(len & 0x7f) as u8 | 0x80, (len >> 7) as u8]);
    out.extend_from_slice(&[0x30; 16]);
    out.extend_from_slice(modules.as_bytes());
    out.extend_from_slice(&[0x30; 16]);
    out
}

const OTEL_CONFIG: &str = "
disabled: ${OTEL_SDK_DISABLED:-false}
resource: {attributes: [{name: service.name, value: shop}]}
tracer_provider:
  processors:
    - batch: {schedule_delay: 2000, exporter: {otlp_http: {endpoint: 'http://${NODE_IP}:4318/v1/traces', timeout: 3000}}}
    - simple: &s {exporter: {otlp: {protocol: grpc, endpoint: c:4317, insecure: true}}}
meter_provider: {readers: [{periodic: {interval: 15000, exporter: {otlp_grpc: }}}]}
logger_provider: {processors: [{simple: *s}]}
";
