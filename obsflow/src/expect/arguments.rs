//! What command lines and option variables tell: Java's system properties and agents, Node's and Python's preloads.

use std::collections::BTreeMap;

use super::environment::Environment;
use crate::model::expectation::Source;

/// Properties kept of one process; the rest is not OpenTelemetry's, or nonsense.
const MAX_PROPERTIES: usize = 256;

/// The arguments of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments<'a> {
    words: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    /// From the text of `/proc/<pid>/cmdline`; an argument that is not UTF-8 is left out.
    pub(super) fn new(text: &'a [u8]) -> Self {
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        Self {
            words: text
                .split(|b| *b == 0)
                .filter_map(|word| std::str::from_utf8(word).ok())
                .collect(),
        }
    }

    /// The name of the program as it was called, without its folder.
    pub(super) fn program(&self) -> &'a str {
        file_name(self.words.first().copied().unwrap_or_default())
    }

    /// Arguments without the program's name.
    pub(super) fn rest(&self) -> &[&'a str] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Whether `opentelemetry-instrument` is what runs; it replaces itself by the program it is to instrument.
    pub(super) fn is_instrumented_by_hand(&self) -> bool {
        self.words
            .iter()
            .take(3)
            .any(|word| file_name(word) == "opentelemetry-instrument")
    }
}

/// What Java was told.
#[derive(Clone, Debug, Default)]
pub(super) struct JavaOptions {
    /// `otel.*` properties by their variable's name.
    properties: BTreeMap<String, (String, Source)>,
    /// The file name of OpenTelemetry's agent.
    pub(super) agent: Option<String>,
}

impl JavaOptions {
    /// Later ones overrule: JAVA_TOOL_OPTIONS, JDK_JAVA_OPTIONS (which only the launcher reads), the command line up to
    /// the main class.
    pub(super) fn new(environment: &Environment<'_>, arguments: &Arguments<'_>, is_java: bool) -> Self {
        let mut options = Self::default();
        for variable in ["JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"] {
            if let Some(text) = environment.get(variable) {
                for word in words(&text) {
                    options.take(&word);
                }
            }
        }
        if is_java {
            for word in launcher_options(arguments.rest()) {
                options.take(word);
            }
        }
        options
    }

    /// The property for a variable of the specification.
    pub(super) fn get(&self, variable: &str) -> Option<(&str, &Source)> {
        let (value, source) = self.properties.get(variable)?;
        (!value.trim().is_empty()).then_some((value, source))
    }

    fn take(&mut self, word: &str) {
        if let Some(agent) = word.strip_prefix("-javaagent:") {
            let path = agent.split_once('=').map_or(agent, |(path, _)| path);
            let name = file_name(path);
            if is_opentelemetry(name) || is_opentelemetry(path) {
                self.agent = Some(name.to_owned());
            }
            return;
        }
        let Some(property) = word.strip_prefix("-D") else {
            return;
        };
        let (name, value) = property.split_once('=').unwrap_or((property, ""));
        if !name.starts_with("otel.") || self.properties.len() >= MAX_PROPERTIES {
            return;
        }
        // "otel.exporter.otlp.endpoint" is OTEL_EXPORTER_OTLP_ENDPOINT.
        let variable = name.to_ascii_uppercase().replace(['.', '-'], "_");
        let value = if variable.ends_with("_HEADERS") { "" } else { value };
        let source = Source::Argument(format!("-D{}", super::endpoint::shown(name, 96)).into());
        self.properties.insert(variable, (value.to_owned(), source));
    }
}

/// The options in front of the main class, which gets what follows it. Some take the next word as their value.
fn launcher_options<'a, 'b>(words: &'b [&'a str]) -> impl Iterator<Item = &'a str> + 'b {
    const WITH_VALUE: &[&str] = &[
        "-cp",
        "-classpath",
        "--class-path",
        "-p",
        "--module-path",
        "--upgrade-module-path",
        "--add-modules",
        "--limit-modules",
        "--add-exports",
        "--add-opens",
        "--add-reads",
        "--patch-module",
    ];
    let mut skip = false;
    words.iter().copied().take_while(move |word| {
        if std::mem::take(&mut skip) {
            return true;
        }
        skip = WITH_VALUE.contains(word);
        word.starts_with('-') && !matches!(*word, "-jar" | "-m" | "--module")
    })
}

/// Whether Node is told to load OpenTelemetry first, by its options or those on the command line: says by which.
pub(super) fn node_preload(environment: &Environment<'_>, arguments: &Arguments<'_>) -> Option<&'static str> {
    let options = environment.get("NODE_OPTIONS");
    if options.is_some_and(|options| preloads(words(&options).iter().map(String::as_str))) {
        return Some("NODE_OPTIONS");
    }
    let mut value = false;
    let own = arguments.rest().iter().copied().take_while(|word| {
        let is_value = std::mem::replace(&mut value, is_preload(word));
        is_value || word.starts_with('-')
    });
    preloads(own).then_some("--require")
}

fn is_preload(word: &str) -> bool {
    matches!(
        word,
        "-r" | "--require" | "--import" | "--loader" | "--experimental-loader"
    )
}

fn preloads<'a>(words: impl Iterator<Item = &'a str>) -> bool {
    let mut is_value = false;
    for word in words {
        let (option, value) = word.split_once('=').unwrap_or((word, word));
        let loads = is_preload(option) && option.len() < word.len();
        if (loads || is_value) && is_opentelemetry(value) {
            return true;
        }
        is_value = is_preload(word);
    }
    false
}

/// Whether a path or module is OpenTelemetry's, or a distribution of it, or what the operator injects.
pub(super) fn is_opentelemetry(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    [
        "opentelemetry",
        "splunk-otel",
        "otel-auto-instrumentation",
        "elastic-otel",
    ]
    .iter()
    .any(|name| text.contains(name))
}

/// Words of an option variable: blanks separate, quotation marks hold together.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut begun = false;
    let mut quote = None;
    for c in text.chars() {
        match quote {
            Some(mark) if c == mark => quote = None,
            Some(_) => word.push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                begun = true;
            }
            None if c.is_whitespace() => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                    begun = false;
                }
            }
            None => word.push(c),
        }
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    words
}

/// The last part of a path.
pub(super) fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
