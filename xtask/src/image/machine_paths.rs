//! A binary that names folders of the machine that built it would be another one on the next.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::build;

/// How much of what was found is shown.
const SHOWN: usize = 120;

/// Looks for paths of this machine.
///
/// # Errors
/// When there is one: it is part of the error.
pub(super) fn check(binary: &Path) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("cannot read {}", binary.display()))?;
    for (folder, _) in build::paths()? {
        if let Some(found) = find(&bytes, &format!("{folder}/")) {
            bail!(
                "{} names a folder of this machine: {found}; what wrote that down needs to be told another name",
                binary.display()
            );
        }
    }
    Ok(())
}

fn find(bytes: &[u8], text: &str) -> Option<String> {
    let at = bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())?;
    let end = bytes.len().min(at + SHOWN);
    let text: String = bytes[at..end]
        .iter()
        .take_while(|byte| byte.is_ascii_graphic())
        .map(|byte| char::from(*byte))
        .collect();
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_and_shown() {
        // This test's own binary was built without any replacement.
        let own = std::env::current_exe().unwrap();
        let error = check(&own).unwrap_err().to_string();
        assert!(error.contains("names a folder of this machine"), "{error}");
        assert_eq!(
            find(b"\0\0/home/x/y.rs\0", "/home/x/").as_deref(),
            Some("/home/x/y.rs")
        );
        assert_eq!(find(b"\0/home/y/", "/home/x/"), None);
    }
}
