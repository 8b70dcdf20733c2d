//! The part of `docs/kernels.md` that is written by `cargo xtask vm --write-docs`.

use std::fs;

use anyhow::{Context as _, Result};

use crate::sh;

const FILE: &str = "docs/kernels.md";
const BEGIN: &str = "<!-- written by `cargo xtask vm --write-docs` -->\n";
const END: &str = "<!-- end of what is written -->\n";

/// Replaces the tables in the documentation.
///
/// # Errors
/// When the file is not there or has no place for them.
pub(crate) fn write(tables: &str) -> Result<()> {
    let path = sh::root().join(FILE);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {FILE}"))?;
    let text = replaced(&text, tables).with_context(|| format!("{FILE} has no place for the tables"))?;
    fs::write(&path, text).with_context(|| format!("writing {FILE}"))
}

fn replaced(text: &str, tables: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tables_change() {
        let text = format!("before\n{BEGIN}old\n{END}after\n");
        assert_eq!(
            replaced(&text, "new\n"),
            Some(format!("before\n{BEGIN}\nnew\n\n{END}after\n"))
        );
        assert_eq!(replaced("no place", "new\n"), None);
    }
}
