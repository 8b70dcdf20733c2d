//! Licences and copyright notices of everything in the binary, as those licences ask for: one text file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use spdx::Expression;

use super::packages::{Kind, Shipped};

/// How files with licences and notices begin, in lower case.
const NAMES: &[&str] = &["licen", "copying", "copyright", "notice", "unlicense", "authors"];
const RULE: &str = "--------------------------------------------------------------------------------";

const HEAD: &str = "obsflow is licensed under MIT or Apache-2.0, as you like: LICENSE-MIT and LICENSE-APACHE beside this file.\n\n\
    The binary contains the works listed here, each under the licence beside it. The texts below are those that the works\n\
    come with. One of them, btf-rs, is under the LGPL-2.1-or-later: the source of obsflow, from which the binary can be\n\
    linked again with another version of that library, is what whoever passes on the binary passes on or points to.\n";

/// The file.
///
/// # Errors
/// When a crate's files cannot be read, or its licence is no SPDX expression.
pub(super) fn text(shipped: &[Shipped]) -> Result<Vec<u8>> {
    let others = || shipped.iter().filter(|part| part.kind != Kind::Own);
    let mut text = HEAD.to_owned();
    text.push('\n');
    for part in others() {
        let (name, version) = &part.id;
        let place = part.repository.as_deref().unwrap_or_default();
        writeln!(
            text,
            "{}",
            format!("{name} {version}  {}  {place}", part.licence).trim_end()
        )?;
    }
    // Hundreds of crates share a few texts.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in others() {
        let name = format!("{} {}", part.id.0, part.id.1);
        for found in of(part).with_context(|| format!("licences of {name}"))? {
            let names = texts.entry(found).or_default();
            if !names.contains(&name) {
                names.push(name.clone());
            }
        }
    }
    for (body, names) in texts {
        write!(text, "\n{RULE}\n{}\n{RULE}\n\n{body}\n", wrapped(&names))?;
    }
    Ok(text.into_bytes())
}

fn wrapped(names: &[String]) -> String {
    let mut lines = vec![String::new()];
    for (index, name) in names.iter().enumerate() {
        let name = if index + 1 < names.len() {
            format!("{name},")
        } else {
            name.clone()
        };
        match lines.last_mut() {
            Some(line) if line.is_empty() => *line = name,
            Some(line) if line.len() + name.len() < RULE.len() => {
                line.push(' ');
                line.push_str(&name);
            }
            _ => lines.push(name),
        }
    }
    lines.join("\n")
}

/// The texts that a work comes with, or, where it comes with none, that of a licence it may be had under.
fn of(part: &Shipped) -> Result<Vec<String>> {
    let found = match &part.kind {
        Kind::Own => Vec::new(),
        Kind::Crate(folder) => in_folder(folder)?,
        Kind::Toolchain(Some(file)) => vec![plain(&read(file)?)],
        Kind::Toolchain(None) => Vec::new(),
    };
    if found.is_empty() {
        standard(part)
    } else {
        Ok(found)
    }
}

fn in_folder(folder: &Path) -> Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_lowercase();
        if entry.path().is_file() && NAMES.iter().any(|begin| name.starts_with(begin)) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    paths.iter().map(|path| Ok(tidy(&read(path)?))).collect()
}

fn read(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Without what differs between two copies of a text: ends of lines, empty lines around it.
fn tidy(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_matches('\n').to_owned()
}

/// A page without its markup. The toolchain's repeats whole licences for each crate: each is kept once.
fn plain(page: &str) -> String {
    let mut text = String::with_capacity(page.len());
    let mut in_tag = false;
    for character in page.chars() {
        match character {
            '<' => in_tag = true,
            '>' if in_tag => in_tag = false,
            _ if !in_tag => text.push(character),
            _ => {}
        }
    }
    for (entity, character) in [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ] {
        text = text.replace(entity, character);
    }
    let mut kept = String::with_capacity(text.len());
    let mut was_empty = true;
    for line in text.lines().map(str::trim_end) {
        if !(line.is_empty() && was_empty) {
            kept.push_str(line);
            kept.push('\n');
        }
        was_empty = line.is_empty();
    }
    tidy(&kept)
}

/// The standard texts of the fewest licences that the expression is content with, with whom it belongs to.
fn standard(part: &Shipped) -> Result<Vec<String>> {
    let expression = Expression::parse(&part.licence)?;
    let ids: Vec<_> = expression
        .requirements()
        .filter_map(|asked| asked.req.license.id())
        .collect();
    let enough = ids
        .iter()
        .find(|id| expression.evaluate(|asked| asked.license.id() == Some(**id)));
    let chosen = match enough {
        Some(one) => vec![*one],
        None => ids,
    };
    let authors = part.authors.join(", ");
    let owner = if authors.is_empty() {
        format!("the authors of {}", part.id.0)
    } else {
        authors
    };
    Ok(chosen
        .iter()
        .map(|id| format!("Copyright (c) {owner}\n\n{}", tidy(id.text())))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::image::packages;
    use crate::setup::rust::Arch;

    fn part(licence: &str) -> Shipped {
        Shipped {
            id: ("some".to_owned(), "1.0.0".to_owned()),
            licence: licence.to_owned(),
            description: None,
            repository: None,
            authors: vec!["Ada".to_owned()],
            checksum: None,
            kind: Kind::Toolchain(None),
            uses: BTreeSet::new(),
        }
    }

    #[test]
    fn standard_texts_where_a_work_has_none() {
        let one = of(&part("Apache-2.0 OR MIT")).unwrap();
        assert_eq!(one.len(), 1);
        let both = of(&part("MIT AND Zlib")).unwrap();
        assert_eq!(both.len(), 2);
        assert!(both[0].starts_with("Copyright (c) Ada\n\n"), "{}", both[0]);
        assert!(both[0].contains("Permission is hereby granted"), "{}", both[0]);
        assert!(of(&part("no licence")).is_err());
    }

    #[test]
    fn markup_goes_and_text_stays() {
        assert_eq!(
            plain("<html><b>A &#60;a@b&#62;</b>\n\n\n\n<i>&amp;lt;</i></html>"),
            "A <a@b>\n\n&lt;"
        );
    }

    #[test]
    fn every_crate_is_named_and_has_a_text() {
        let shipped = packages::shipped(Arch::Amd64).unwrap();
        let text = String::from_utf8(text(&shipped).unwrap()).unwrap();
        for part in shipped.iter().filter(|part| part.kind != Kind::Own) {
            let name = format!("{} {}", part.id.0, part.id.1);
            // In the list, and above a text.
            assert!(text.matches(&name).count() >= 2, "{name}");
        }
        assert!(text.contains("GNU LESSER GENERAL PUBLIC LICENSE"));
        assert!(text.contains("Rich Felker"));
    }
}
