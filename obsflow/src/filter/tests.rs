#[test]
fn every_flag_has_a_spec() {}
