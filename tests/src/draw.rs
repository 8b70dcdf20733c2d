//! A dashboard drawn as SVG from what its queries were answered: to be looked at, and to see that no panel is empty.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

/// Pixels of a column and of a row of Grafana's grid.
const COLUMN: f64 = 62.0;
const ROW: f64 = 34.0;
/// Between panels.
const GAP: f64 = 6.0;
/// Lines of text.
const LINE: f64 = 13.0;
const COLORS: [&str; 10] = [
    "#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642",
    "#cca300",
];

/// The answers to a panel's queries: what a series is called, and its values over time.
pub type Answers = Vec<(String, Value)>;

/// Where a panel is on the page.
struct Place {
    x: f64,
    y: f64,
    w: f64,
    h: f64,
}

/// Draws the panels, each with its answers.
#[must_use]
pub fn dashboard(panels: &[(&Value, Answers)]) -> String {
    let bottom = |panel: &Value| number(&panel["gridPos"]["y"]) + number(&panel["gridPos"]["h"]);
    let height = panels.iter().map(|(panel, _)| bottom(panel)).fold(0.0, f64::max) * ROW;
    let width = 24.0 * COLUMN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"10\">\n<rect width=\"100%\" height=\"100%\" fill=\"#111217\"/>\n"
    );
    for (panel, answers) in panels {
        let grid = &panel["gridPos"];
        let place = Place {
            x: number(&grid["x"]) * COLUMN + GAP / 2.0,
            y: number(&grid["y"]) * ROW + GAP / 2.0,
            w: number(&grid["w"]) * COLUMN - GAP,
            h: number(&grid["h"]) * ROW - GAP,
        };
        one(&mut svg, panel, answers, &place);
    }
    svg + "</svg>\n"
}

fn one(svg: &mut String, panel: &Value, answers: &Answers, place: &Place) {
    let title = panel["title"].as_str().unwrap_or_default();
    if panel["type"] == "row" {
        text(
            svg,
            place.x + 4.0,
            place.y + 18.0,
            "#ffffff",
            &format!("▾ {title}"),
        );
        return;
    }
    let Place { x, y, w, h } = place;
    let _ = writeln!(
        svg,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" fill=\"#181b1f\" stroke=\"#2c3235\"/>"
    );
    text(svg, x + 8.0, y + 15.0, "#d8d9da", title);
    if answers.is_empty() {
        text(svg, x + w / 2.0 - 20.0, y + h / 2.0, "#e24d42", "No data");
        return;
    }
    match panel["type"].as_str() {
        Some("stat") => numbers(svg, answers, place),
        Some("table") => table(svg, answers, place),
        _ => lines(svg, panel, answers, place),
    }
}

fn numbers(svg: &mut String, answers: &Answers, place: &Place) {
    for (at, (name, series)) in (0_u32..).zip(answers) {
        let value = last(series).unwrap_or(f64::NAN);
        let x = place.x + 20.0 + f64::from(at) * 90.0;
        let _ = writeln!(
            svg,
            "<text x=\"{x}\" y=\"{}\" fill=\"#73bf69\" font-size=\"34\">{value}</text>",
            place.y + place.h / 2.0 + 18.0
        );
        text(svg, x, place.y + place.h - 12.0, "#8e8e8e", name);
    }
}

fn table(svg: &mut String, answers: &Answers, place: &Place) {
    let mut columns: BTreeSet<&str> = BTreeSet::new();
    for (_, series) in answers {
        columns.extend(
            series["metric"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.as_str()),
        );
    }
    let columns: Vec<&str> = columns.into_iter().collect();
    let step = (place.w - 16.0) / (f64::from(u32::try_from(columns.len()).unwrap_or(1)) + 1.0);
    let column = |at: usize| place.x + 8.0 + f64::from(u32::try_from(at).unwrap_or(0)) * step;
    let mut y = place.y + 34.0;
    for (at, name) in columns.iter().chain(&["value"]).enumerate() {
        text(svg, column(at), y, "#6e9fff", name);
    }
    for (_, series) in answers {
        y += LINE;
        if y > place.y + place.h - 4.0 {
            text(svg, place.x + 8.0, place.y + place.h - 3.0, "#8e8e8e", "…");
            return;
        }
        for (at, name) in columns.iter().enumerate() {
            let value = series["metric"][name].as_str().unwrap_or_default();
            let color = match value {
                "critical" => "#f2495c",
                "warning" => "#ff9830",
                "ok" => "#73bf69",
                _ => "#d8d9da",
            };
            // What does not fit its column is cut off.
            let fits = value.chars().take((step / 5.6) as usize).collect::<String>();
            text(svg, column(at), y, color, &fits);
        }
        let value = last(series).unwrap_or(f64::NAN);
        text(svg, column(columns.len()), y, "#d8d9da", &value.to_string());
    }
}

fn lines(svg: &mut String, panel: &Value, answers: &Answers, place: &Place) {
    let stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal";
    let rows = f64::from(u32::try_from(answers.len().min(4)).unwrap_or(4));
    let (x, y) = (place.x + 46.0, place.y + 26.0);
    let (w, h) = (place.w - 56.0, place.h - 44.0 - rows * LINE);
    let mut series: Vec<Vec<(f64, f64)>> = answers.iter().map(|(_, series)| points(series)).collect();
    if stacked {
        stack(&mut series);
    }
    let all = || series.iter().flatten();
    let first = all().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let span = (all().map(|point| point.0).fold(0.0, f64::max) - first).max(1.0);
    let top = all().map(|point| point.1).fold(0.0, f64::max);
    let scale = if top > 0.0 { top * 1.05 } else { 1.0 };
    for part in [0.0, 0.5, 1.0] {
        let at = y + h - part * h;
        let _ = writeln!(svg, "<path d=\"M{x:.0} {at:.0}h{w:.0}\" stroke=\"#2c3235\"/>");
        text(svg, place.x + 6.0, at + 3.0, "#8e8e8e", &short(part * scale));
    }
    for (at, series) in series.iter().enumerate() {
        let color = COLORS[at % COLORS.len()];
        let mut path = String::new();
        for (point, (time, value)) in series.iter().enumerate() {
            let (px, py) = (x + (time - first) / span * w, y + h - value / scale * h);
            let _ = write!(path, "{}{px:.1} {py:.1}", if point == 0 { "M" } else { "L" });
        }
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.4\"/>"
        );
    }
    for (at, (name, series)) in answers.iter().enumerate().take(4) {
        let more = answers.len().saturating_sub(4);
        let more = if at == 3 && more > 0 {
            format!("   and {more} more")
        } else {
            String::new()
        };
        let line = f64::from(u32::try_from(at).unwrap_or(0));
        let value = last(series).map_or_else(String::new, short);
        text(
            svg,
            place.x + 8.0,
            place.y + place.h - (rows - line) * LINE + 8.0,
            COLORS[at % COLORS.len()],
            &format!("{name}  {value}{more}"),
        );
    }
}

/// Each series on top of those before it, where they have the same times.
fn stack(series: &mut [Vec<(f64, f64)>]) {
    for upper in 1..series.len() {
        let (below, above) = series.split_at_mut(upper);
        let (Some(below), Some(above)) = (below.last(), above.first_mut()) else {
            return;
        };
        for (time, value) in above.iter_mut() {
            let under = below.iter().find(|point| (point.0 - *time).abs() < 0.5);
            *value += under.map_or(0.0, |point| point.1);
        }
    }
}

/// Times and values of a series, those that are no numbers left out.
fn points(series: &Value) -> Vec<(f64, f64)> {
    let values = series["values"]
        .as_array()
        .cloned()
        .unwrap_or_else(|| vec![series["value"].clone()]);
    values
        .iter()
        .filter_map(|pair| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?)))
        .filter(|(_, value): &(f64, f64)| value.is_finite())
        .collect()
}

/// The last value of a series; `None` where it has none but those that are no numbers.
#[must_use]
pub fn last(series: &Value) -> Option<f64> {
    points(series).last().map(|point| point.1)
}

fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1e6 => format!("{:.1}M", value / 1e6),
        v if v >= 1e3 => format!("{:.1}k", value / 1e3),
        v if v >= 10.0 || v == 0.0 => format!("{value:.0}"),
        v if v >= 0.01 => format!("{value:.2}"),
        _ => format!("{:.0}µ", value * 1e6),
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_default()
}

fn text(svg: &mut String, x: f64, y: f64, color: &str, text: &str) {
    let escaped = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.0}\" y=\"{y:.0}\" fill=\"{color}\">{escaped}</text>"
    );
}
