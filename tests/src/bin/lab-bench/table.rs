//! Tables in Markdown, aligned so that they can be read as they are.

use std::fmt::Write as _;

/// A table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// With these column heads.
    pub(crate) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self::with(heads.map(str::to_owned).to_vec())
    }

    /// With these column heads.
    pub(crate) fn with(heads: Vec<String>) -> Self {
        Self { rows: vec![heads] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Markdown. The first column is text, the others are numbers.
    pub(crate) fn render(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0).max(3)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            text.push('|');
            for (column, width) in widths.iter().enumerate() {
                let cell = row.get(column).map_or("", String::as_str);
                // Writing to a string cannot fail.
                let _ = if column == 0 {
                    write!(text, " {cell:<width$} |")
                } else {
                    write!(text, " {cell:>width$} |")
                };
            }
            text.push('\n');
            if number == 0 {
                text.push('|');
                for (column, width) in widths.iter().enumerate() {
                    let dashes = "-".repeat(*width);
                    text += &if column == 0 {
                        format!(" {dashes} |")
                    } else {
                        format!(" {}: |", &dashes[1..])
                    };
                }
                text.push('\n');
            }
        }
        text
    }
}

/// A number with as many decimals as it needs to have three digits; a dash for none.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".into();
    }
    let decimals = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.decimals$}");
    // Thousands are easier to read apart.
    let (whole, rest) = text
        .split_once('.')
        .map_or((text.as_str(), String::new()), |(whole, rest)| {
            (whole, format!(".{rest}"))
        });
    let (sign, digits) = whole
        .strip_prefix('-')
        .map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// A ratio in percent.
pub(crate) fn percent(ratio: f64) -> String {
    if ratio.is_finite() {
        format!("{:.1} %", ratio * 100.0)
    } else {
        "-".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_thousands() {
        assert_eq!(number(1_234_567.8), "1,234,568");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(number(-0.5), "-0.50");
        assert_eq!(number(f64::NAN), "-");
        assert_eq!(percent(0.9512), "95.1 %");
    }

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(["what", "n"]);
        table.row(vec!["a".into(), "1,000".into()]);
        assert_eq!(
            table.render(),
            "| what |     n |\n| ---- | ----: |\n| a    | 1,000 |\n"
        );
    }
}
