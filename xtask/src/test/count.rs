//! Test counts, read from what the runners print last.

use std::fmt;

/// Tests of all stages so far.
#[derive(Default, Debug, PartialEq, Eq)]
pub(crate) struct Count {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl Count {
    /// A line of nextest: `Summary [  1.2s] 30 tests run: 28 passed (1 slow), 1 failed, 1 timed out, 2 skipped`.
    /// Tests outside a stage's filter are "skipped" for nextest; another stage runs those.
    pub(crate) fn nextest(&mut self, line: &str) {
        if !line.trim_start().starts_with("Summary [") {
            return;
        }
        self.passed += before(line, "passed");
        self.failed += before(line, "failed") + before(line, "timed out") + before(line, "exec failed");
    }

    /// A line of libtest: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    pub(crate) fn libtest(&mut self, line: &str) {
        if !line.starts_with("test result: ") {
            return;
        }
        self.passed += before(line, "passed");
        self.failed += before(line, "failed");
        self.skipped += before(line, "ignored");
    }
}

/// The number before `word`, 0 when there is none.
fn before(line: &str, word: &str) -> u32 {
    line.find(word)
        .and_then(|at| line[..at].split_whitespace().last())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} ignored", self.skipped)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up() {
        let mut count = Count::default();
        count.nextest("        PASS [   0.004s] xtask passed::in_a_name");
        count.nextest(
            "     Summary [   1.202s] 30 tests run: 28 passed (1 slow), 1 failed, 1 timed out, 2 skipped",
        );
        count.libtest(
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        assert_eq!(count.to_string(), "31 passed, 2 failed, 1 ignored");
    }

    #[test]
    fn a_clean_summary_has_no_failures() {
        let mut count = Count::default();
        count.nextest("     Summary [   0.010s] 6 tests run: 6 passed, 0 skipped");
        assert_eq!(
            count,
            Count {
                passed: 6,
                failed: 0,
                skipped: 0
            }
        );
    }
}
