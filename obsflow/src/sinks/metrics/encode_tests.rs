use super::*;

#[test]
fn what_is_asked_for_is_answered() {
    let of = Format::accepted;
    // Prometheus 2.42 and 3.
    let two = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
               text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let three = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
    assert_eq!(of(two), Format::OpenMetrics);
    assert_eq!(of(three), Format::OpenMetrics);
    assert_eq!(of(""), Format::Text);
    assert_eq!(of("*/*"), Format::Text);
    assert_eq!(of("text/plain;version=0.0.4"), Format::Text);
    assert_eq!(of("application/openmetrics-text;q=0"), Format::Text);
    assert_eq!(
        of("application/openmetrics-text; q=0.2, text/plain; q=0.9"),
        Format::Text
    );
    assert_eq!(of("application/openmetrics-text;version=0.0.1"), Format::Text);
    assert_eq!(
        of("Application/OpenMetrics-Text; version=\"1.0.0\""),
        Format::OpenMetrics
    );
    assert_eq!(of(";;,=q,application/openmetrics-text;q=two"), Format::Text);
}

#[test]
fn names_of_families_are_written_as_each_format_has_them() {
    let open = "# HELP x_bytes Sum.\n# TYPE x_bytes counter\n# UNIT x_bytes bytes\nx_bytes_total{a=\"# b\"} 1\n\
                # HELP y Now.\n# TYPE y gauge\ny 2.5\n# HELP z Is.\n# TYPE z info\nz_info{v=\"1\"} 1\n# EOF\n";
    let text = "# HELP x_bytes_total Sum.\n# TYPE x_bytes_total counter\nx_bytes_total{a=\"# b\"} 1\n\
                # HELP y Now.\n# TYPE y gauge\ny 2.5\n# HELP z_info Is.\n# TYPE z_info gauge\nz_info{v=\"1\"} 1\n";
    // However it is cut into pieces.
    for size in [1, 2, 7, open.len()] {
        let mut classic = Classic::default();
        let letters: Vec<char> = open.chars().collect();
        for piece in letters.chunks(size) {
            classic.write_str(&piece.iter().collect::<String>()).unwrap();
        }
        assert_eq!(classic.text, text);
    }
}
