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
