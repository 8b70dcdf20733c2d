//! What a process's environment, arguments and program say of its exporters. Pure: files are handed in.

use std::borrow::Cow;
use std::hash::{BuildHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use super::Language;
use super::arguments::{self, Arguments, JavaOptions};
use super::environment::Environment;
use super::go::GoBuild;
use super::{otel_config, sdk};
use crate::model::expectation::{Expectation, SenderProof, Source};

/// Reads a file by its path; an error is a word for people.
pub type ReadFile<'a> = dyn Fn(&str) -> Result<Vec<u8>, Arc<str>> + 'a;

/// What is known of a process.
#[derive(Clone, Copy)]
pub struct Process<'a> {
    /// `/proc/<pid>/environ`.
    pub environ: &'a [u8],
    /// `/proc/<pid>/cmdline`.
    pub cmdline: &'a [u8],
    /// File name of its executable.
    pub exe: &'a str,
    /// Its Go build information, if it has any.
    pub go: Option<&'a GoBuild>,
    /// Reads a file as the process sees it.
    pub file: &'a ReadFile<'a>,
}

/// What a process is set to export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// `service.name`.
    pub service: Option<Arc<str>>,
    /// Why it is believed to send.
    pub proofs: Vec<SenderProof>,
    /// Its exporters.
    pub expectations: Vec<Expectation>,
    /// What could not be read, and what that hides.
    pub unreadable: Option<Arc<str>>,
    /// Something was written over its environment: what was there first is gone.
    pub overwritten: bool,
    /// What it is written in.
    pub language: Language,
}

impl Profile {
    /// Whether anything of it concerns telemetry: it exports, or would if its configuration could be read.
    #[must_use]
    pub fn concerns_telemetry(&self) -> bool {
        !self.expectations.is_empty() || !self.proofs.is_empty() || self.unreadable.is_some()
    }
}

/// What a profile is made of, for telling two processes apart without making it; `None` when a file is part of it.
pub(super) fn fingerprint(process: &Process<'_>, state: &impl BuildHasher) -> Option<u64> {
    let (settings, _) = Settings::new(process);
    if config_file(&settings).is_some() {
        return None;
    }
    let mut hasher = state.build_hasher();
    for pair in settings.environment.looked_at() {
        pair.hash(&mut hasher);
    }
    (settings.environment.overwritten, settings.language).hash(&mut hasher);
    if let Some(go) = process.go {
        go.hash(&mut hasher);
    }
    // Only there do arguments count.
    if matches!(
        settings.language,
        Language::Java | Language::Node | Language::Python
    ) {
        process.cmdline.hash(&mut hasher);
    }
    Some(hasher.finish())
}

/// A process's settings, each from the strongest source that has it.
pub(super) struct Settings<'a> {
    pub(super) environment: Environment<'a>,
    pub(super) java: JavaOptions,
    pub(super) language: Language,
    pub(super) go: Option<&'a GoBuild>,
}

impl<'a> Settings<'a> {
    pub(super) fn new(process: &Process<'a>) -> (Self, Arguments<'a>) {
        let environment = Environment::new(process.environ);
        let arguments = Arguments::new(process.cmdline);
        let language = language(process, &environment, &arguments);
        let java = JavaOptions::new(&environment, &arguments, language == Language::Java);
        let settings = Self {
            environment,
            java,
            language,
            go: process.go,
        };
        (settings, arguments)
    }

    /// A variable of the specification; Java's properties overrule the environment. Empty ones are as good as none.
    pub(super) fn get(&self, variable: &str) -> Option<(Cow<'_, str>, Source)> {
        if self.language == Language::Java
            && let Some((value, source)) = self.java.get(variable)
        {
            return Some((Cow::Borrowed(value), source.clone()));
        }
        let value = self.environment.get(variable)?;
        Some((value, Source::Environment(Arc::from(variable))))
    }

    /// The value alone, without blanks around it.
    pub(super) fn value(&self, variable: &str) -> Option<String> {
        Some(self.get(variable)?.0.trim().to_owned())
    }

    /// "true" in any case, and nothing else, is true (specification, "Boolean"); `None` when it is not set.
    pub(super) fn boolean(&self, variable: &str) -> Option<bool> {
        Some(self.value(variable)?.eq_ignore_ascii_case("true"))
    }
}

/// Reads a process.
#[must_use]
pub fn profile(process: &Process<'_>) -> Profile {
    let (settings, arguments) = Settings::new(process);
    let mut profile = Profile {
        service: service(&settings),
        proofs: proofs(&settings, &arguments),
        overwritten: settings.environment.overwritten,
        language: settings.language,
        ..Profile::default()
    };
    match config_file(&settings) {
        Some((variable, path)) => {
            let path = path.trim();
            match (process.file)(path).and_then(|text| otel_config::read(&text, path, &settings)) {
                Ok(found) => {
                    profile.expectations = found.expectations;
                    profile.service = found.service.or(profile.service);
                }
                Err(why) => {
                    let path = super::endpoint::shown(path, 128);
                    profile.unreadable = Some(Arc::from(format!(
                        "{variable}={path}: {why}; where it exports to is not known"
                    )));
                }
            }
        }
        None => profile.expectations = sdk::expectations(&settings, &profile.proofs),
    }
    profile
}

/// The specification's name, and the one that SDKs had before it was settled.
fn config_file<'a>(settings: &'a Settings<'_>) -> Option<(&'static str, Cow<'a, str>)> {
    ["OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"]
        .into_iter()
        .find_map(|name| Some((name, settings.get(name)?.0)))
}

fn service(settings: &Settings<'_>) -> Option<Arc<str>> {
    let named = settings.value("OTEL_SERVICE_NAME").or_else(|| {
        let attributes = settings.value("OTEL_RESOURCE_ATTRIBUTES")?;
        attributes.split(',').find_map(|attribute| {
            let (key, value) = attribute.split_once('=')?;
            (key.trim() == "service.name" && !value.trim().is_empty()).then(|| value.trim().to_owned())
        })
    })?;
    Some(super::endpoint::shown(&named, 128))
}

fn language(process: &Process<'_>, environment: &Environment<'_>, arguments: &Arguments<'_>) -> Language {
    if process.go.is_some() {
        return Language::Go;
    }
    for name in [process.exe, arguments.program()] {
        let version = |c: char| c.is_ascii_digit() || c == '.';
        let found = match name.trim_end_matches(version) {
            "python" | "pypy" | "uwsgi" => Language::Python,
            "node" | "nodejs" => Language::Node,
            "java" => Language::Java,
            "dotnet" => Language::DotNet,
            _ => continue,
        };
        return found;
    }
    // A .NET program may have an executable of its own.
    if is_dotnet_injected(environment).is_some() {
        return Language::DotNet;
    }
    Language::Unknown
}

fn proofs(settings: &Settings<'_>, arguments: &Arguments<'_>) -> Vec<SenderProof> {
    let environment = &settings.environment;
    let mut proofs = Vec::new();
    if let Some(go) = settings.go {
        proofs.extend(
            go.exporters
                .iter()
                .map(|exporter| SenderProof::GoModule(Arc::clone(&exporter.module))),
        );
    }
    match settings.language {
        Language::Java if settings.java.agent.is_some() => proofs.push(SenderProof::JavaAgent),
        Language::Node => proofs.extend(
            arguments::node_preload(environment, arguments).map(|by| SenderProof::Injected(Arc::from(by))),
        ),
        Language::Python => {
            let injected = environment.get("PYTHONPATH").is_some_and(|path| {
                path.split(':')
                    .any(|folder| folder.contains("opentelemetry/instrumentation/auto_instrumentation"))
            });
            if injected {
                proofs.push(SenderProof::Injected(Arc::from("PYTHONPATH")));
            } else if arguments.is_instrumented_by_hand() {
                proofs.push(SenderProof::Injected(Arc::from("opentelemetry-instrument")));
            }
        }
        Language::DotNet => proofs.extend(
            is_dotnet_injected(environment).map(|variable| SenderProof::Injected(Arc::from(variable))),
        ),
        _ => {}
    }
    proofs
}

/// The variable by which .NET loads OpenTelemetry's automatic instrumentation. A profiler alone may be anybody's.
fn is_dotnet_injected(environment: &Environment<'_>) -> Option<&'static str> {
    let hooks = environment.get("DOTNET_STARTUP_HOOKS");
    if hooks.is_some_and(|hooks| hooks.contains("OpenTelemetry.AutoInstrumentation")) {
        return Some("DOTNET_STARTUP_HOOKS");
    }
    let profiles = environment
        .get("CORECLR_ENABLE_PROFILING")
        .is_some_and(|value| value.trim() == "1");
    (profiles && environment.get("OTEL_DOTNET_AUTO_HOME").is_some()).then_some("CORECLR_ENABLE_PROFILING")
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
