//! `cargo xtask demo`, once everything is built.

fn main() -> anyhow::Result<()> {
    obsflow_tests::demo::run()
}
