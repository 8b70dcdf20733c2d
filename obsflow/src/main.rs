//! obsflow: why is my telemetry not arriving?

fn main() {}
