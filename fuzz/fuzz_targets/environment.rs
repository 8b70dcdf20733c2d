//! Any bytes as a process's environment, arguments and build information: what comes out is bounded, fit for a terminal,
//! and without credentials. The input is a byte that says which program it is, and three parts between bytes 0xff 0xfe.
#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use obsflow::expect::{GoBuild, Process, profile};
use obsflow::model::expectation::Setting;

fuzz_target!(|data: &[u8]| {
    let Some((program, data)) = data.split_first() else {
        return;
    };
    let mut parts = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(2).position(|pair| pair == [0xff, 0xfe]) {
        parts.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    parts.push(rest);
    let part = |index: usize| parts.get(index).copied().unwrap_or_default();
    let build = GoBuild::parse(part(2));
    let profile = profile(&Process {
        environ: part(0),
        cmdline: part(1),
        exe: ["java", "node", "python3.11", "dotnet", "app"][usize::from(*program) % 5],
        go: build.as_ref(),
        file: &|_| Err("no files here".into()),
    });
    assert!(profile.expectations.len() <= 32);
    for it in &profile.expectations {
        assert!(it.written.len() <= 256 && !it.written.contains('@'));
        assert!(!it.written.chars().any(char::is_control));
        assert!(it.endpoint.is_some() || it.setting != Setting::On);
        // Sums of a few of them must not overflow.
        let most = Duration::from_secs(86_400);
        assert!(it.interval <= most && it.timeout.is_none_or(|timeout| timeout <= most));
    }
    if let Some(service) = &profile.service {
        assert!(service.len() <= 128 && !service.chars().any(char::is_control));
    }
});
