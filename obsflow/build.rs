//! Builds the kernel side for the bpf target and leaves the object in `OUT_DIR`, beside the code of the gRPC API.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

fn main() -> anyhow::Result<()> {
    // SAFETY: a build script's main has one thread. The nested build of the kernel side needs unstable
    // flags (`-Z build-std=core`); the variable reaches only this process and its child. Quiet, because every line the
    // child prints becomes a warning here: what remains are its warnings and errors.
    unsafe {
        std::env::set_var("RUSTC_BOOTSTRAP", "1");
        std::env::set_var("CARGO_TERM_QUIET", "true");
        // File names are part of the object's BTF, which stays in: without this, folders of the machine that built it.
        std::env::set_var("CARGO_UNSTABLE_TRIM_PATHS", "true");
        std::env::set_var("CARGO_PROFILE_RELEASE_TRIM_PATHS", "all");
        // What the binary is made with is no matter of the programs, which verifiers of many kernels have seen as they are.
        std::env::set_var("CARGO_PROFILE_RELEASE_LTO", "thin");
        std::env::set_var("CARGO_PROFILE_RELEASE_STRIP", "none");
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
    .context("building the kernel side; `cargo xtask setup` installs what it needs")?;
    strip_debug()
}

/// Takes DWARF out of the object: the linker made BTF from it, and nothing reads it any more. It is four fifths of the object,
/// and the object is in the binary.
fn strip_debug() -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).with_context(|| format!("cargo sets {name}"));
    let object = Path::new(&variable("OUT_DIR")?).join("obsflow-programs");
    let sysroot = Command::new(variable("RUSTC")?)
        .args(["--print", "sysroot"])
        .output()
        .context("running rustc")?;
    let sysroot = PathBuf::from(String::from_utf8(sysroot.stdout)?.trim());
    let objcopy = sysroot
        .join("lib/rustlib")
        .join(variable("HOST")?)
        .join("bin/rust-objcopy");
    // It comes with rustc and finds its LLVM beside it, when told where that is.
    let status = Command::new(&objcopy)
        .arg("--strip-debug")
        .arg(&object)
        .env("LD_LIBRARY_PATH", sysroot.join("lib"))
        .status()
        .with_context(|| {
            format!(
                "running {}: the toolchain must come from rustup",
                objcopy.display()
            )
        })?;
    if !status.success() {
        bail!("{} failed ({status})", objcopy.display());
    }
    Ok(())
}

/// The messages of `proto/`: obsflow's own and Hubble's with client and server, the container runtime's with a client; without a
/// protoc of the system. Servers tell whoever asks for reflection what is in `api.bin`.
fn api() -> anyhow::Result<()> {
    const SERVED: [&str; 3] = [
        "obsflow/v1/diagnosis.proto",
        "observer/observer.proto",
        "peer/peer.proto",
    ];
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/proto");
    println!("cargo::rerun-if-changed={dir}");
    let files = protox::compile(SERVED, [dir])?;
    tonic_prost_build::configure()
        .boxed(".observer.GetFlowsResponse.response_types.flow")
        .compile_fds(files)?;
    let mut described = protox::Compiler::new([dir])?;
    described.include_imports(true).open_files(SERVED)?;
    let out = std::env::var("OUT_DIR").context("cargo sets OUT_DIR")?;
    std::fs::write(
        Path::new(&out).join("api.bin"),
        described.encode_file_descriptor_set(),
    )?;
    let files = protox::compile(["runtime/v1/cri.proto"], [dir])?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_fds(files)?;
    Ok(())
}
