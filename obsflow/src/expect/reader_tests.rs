//! Files of a container, and what they must not lead to.

use std::os::unix::fs::symlink;

use rustix::fs::Mode;

use super::*;
use crate::testing::TempDir;

/// A folder like `/proc` with one process, 7, and a root of its own.
fn proc() -> (TempDir, Reader) {
    let folder = TempDir::new();
    let process = folder.path().join("7");
    fs::create_dir_all(process.join("root/etc")).unwrap();
    let reader = Reader::new(folder.path().to_owned());
    (folder, reader)
}

#[test]
fn a_file_is_read_below_the_containers_root() {
    let (folder, reader) = proc();
    let root = folder.path().join("7/root");
    fs::write(root.join("etc/otel.yaml"), "inside").unwrap();
    symlink("/etc/otel.yaml", root.join("etc/link.yaml")).unwrap();
    symlink("/etc", folder.path().join("7/cwd")).unwrap();
    assert_eq!(reader.file_of(7, "/etc/otel.yaml").unwrap(), b"inside");
    assert_eq!(reader.file_of(7, "/etc/link.yaml").unwrap(), b"inside");
    assert_eq!(reader.file_of(7, "otel.yaml").unwrap(), b"inside");
}

#[test]
fn no_link_leads_out_of_it() {
    let (folder, reader) = proc();
    let root = folder.path().join("7/root");
    let outside = folder.path().join("outside");
    fs::write(&outside, "host").unwrap();
    symlink(&outside, root.join("etc/absolute")).unwrap();
    symlink("../../../outside", root.join("etc/relative")).unwrap();
    for path in ["/etc/absolute", "/etc/relative", "/../../outside"] {
        assert_eq!(
            reader.file_of(7, path).unwrap_err().as_ref(),
            "there is no such file in the container",
            "{path}"
        );
    }
}

#[test]
fn what_is_no_regular_file_holds_nobody_up() {
    let (folder, reader) = proc();
    let root = folder.path().join("7/root");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        root.join("etc/fifo"),
        rustix::fs::FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    for path in ["/etc/fifo", "/etc"] {
        assert_eq!(
            reader.file_of(7, path).unwrap_err().as_ref(),
            "it is no regular file",
            "{path}"
        );
    }
    let long = vec![b'#'; otel_config::MAX_FILE + 5];
    fs::write(root.join("etc/long"), long).unwrap();
    assert_eq!(
        reader.file_of(7, "/etc/long").unwrap().len(),
        otel_config::MAX_FILE
    );
}

#[test]
fn an_sdk_that_is_mapped_is_found() {
    let (folder, reader) = proc();
    let maps = folder.path().join("7/maps");
    for (text, expected) in [
        (
            "7f0 r-xp 0 08:01 1 /usr/lib/libopentelemetry_exporter_otlp_grpc.so.1\n",
            Some("libopentelemetry_exporter_otlp_grpc.so.1"),
        ),
        (
            "7f0 r--p 0 08:01 1 /app/OpenTelemetry.Exporter.OpenTelemetryProtocol.dll\n",
            Some("OpenTelemetry.Exporter.OpenTelemetryProtocol.dll"),
        ),
        (
            "7f0 r--p 0 08:01 1 /app/opentelemetry/export/other.so\n7f0 r-xp 0 08:01 1 /grpc/cygrpc.so\n",
            None,
        ),
        ("7f0 rw-p 0 00:00 0 [heap]\n", None),
    ] {
        fs::write(&maps, text).unwrap();
        assert_eq!(reader.loaded_sdk(7).as_deref(), expected);
    }
    assert_eq!(reader.loaded_sdk(8), None);
}

#[test]
fn python_has_loaded_it_when_protobuf_comes_from_beside_it() {
    let (folder, reader) = proc();
    let process = folder.path().join("7");
    let maps = process.join("maps");
    let map = |packages: &str, file: &str| {
        let line = format!("7f0 r-xp 0 08:01 1 {packages}{file}\n");
        fs::write(&maps, line.repeat(3)).unwrap();
    };
    let packages = "/usr/lib/python3.11/site-packages";
    let upb = "/google/_upb/_message.abi3.so";
    map(packages, upb);
    assert_eq!(reader.loaded_sdk(7), None, "protobuf alone is anybody's");
    fs::create_dir_all(process.join(format!("root{packages}/opentelemetry/exporter/otlp"))).unwrap();
    assert_eq!(
        reader.loaded_sdk(7).as_deref(),
        Some("protobuf beside opentelemetry/exporter/otlp")
    );
    map("/opt/venv/lib/python3.11/site-packages", upb);
    assert_eq!(reader.loaded_sdk(7), None, "installed elsewhere");
    map(packages, "/grpc/_cython/cygrpc.cpython-311-x86_64-linux-gnu.so");
    assert_eq!(reader.loaded_sdk(7), None, "gRPC is anybody's, too");
}

#[test]
fn this_process_is_read_and_others_are_gone() {
    let mut reader = Reader::new("/proc".into());
    let Outcome::Read(raw) = reader.read(std::process::id()) else {
        panic!("this process cannot be read");
    };
    assert!(!raw.exe.is_empty() && raw.go.is_none());
    assert!(
        raw.cmdline
            .starts_with(std::env::args().next().unwrap().as_bytes())
    );
    assert!(matches!(reader.read(u32::MAX), Outcome::Gone));
}
