//! Builds the kernel side for the bpf target and leaves the object in `OUT_DIR`, beside the code of the gRPC API.

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    // SAFETY: a build script's main has one thread. The nested build of the kernel side needs unstable
    // flags (`-Z build-std=core`); the variable reaches only this process and its child. Quiet, because every line the
    // child prints becomes a warning here: what remains are its warnings and errors.
    unsafe {
        std::env::set_var("RUSTC_BOOTSTRAP", "1");
        std::env::set_var("CARGO_TERM_QUIET", "true");
    }
    api().context("compiling the gRPC API")?;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../obsflow-ebpf");
    aya_build::build_ebpf(
        [aya_build::Package {
            name: "obsflow-ebpf",
            root_dir: root,
            no_default_features: false,
            features: &["programs"],
        }],
        aya_build::Toolchain::Custom("1.95.0"),
    )
    .context("building the kernel side; `cargo xtask setup` installs what it needs")
}

/// The messages, the client and the server of `proto/`, without a protoc of the system.
fn api() -> anyhow::Result<()> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    println!("cargo::rerun-if-changed={dir}");
    let files = protox::compile(["obsflow/v1/diagnosis.proto"], [dir])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
