//! Any bytes as OpenTelemetry's configuration file: exporters or a word, in bounded memory and time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use obsflow::expect::{Process, profile};

fuzz_target!(|data: &[u8]| {
    let profile = profile(&Process {
        environ: b"OTEL_CONFIG_FILE=/etc/otel.yaml\0NODE_IP=10.0.0.7\0OTEL_BSP_SCHEDULE_DELAY=250\0",
        cmdline: b"app\0",
        exe: "app",
        go: None,
        file: &|_| Ok(data.to_vec()),
    });
    assert!(profile.expectations.len() <= 32);
    for it in &profile.expectations {
        assert!(it.written.len() <= 256 && !it.written.chars().any(char::is_control));
    }
    if let Some(why) = &profile.unreadable {
        assert!(why.len() < 256 && profile.expectations.is_empty());
    }
});
