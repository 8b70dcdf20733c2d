//! The environment of a process, as the kernel shows it: what of it is looked at, and whether it is still there.

use std::borrow::Cow;

/// Variables looked at besides `OTEL_*`. This is the complete list; `docs/privacy.md` says it, too, and a test compares
/// the two.
pub const OTHER_VARIABLES: &[&str] = &[
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "NODE_OPTIONS",
    "PYTHONPATH",
    "CORECLR_ENABLE_PROFILING",
    "DOTNET_STARTUP_HOOKS",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "grpc_proxy",
    "no_grpc_proxy",
];

/// The text of `/proc/<pid>/environ`, borrowed; nothing of it outlives the reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment<'a> {
    entries: Vec<(&'a [u8], &'a [u8])>,
    /// Something else was written over it, as `setproctitle` does: some variables are gone.
    pub(super) overwritten: bool,
}

impl<'a> Environment<'a> {
    /// Entries end with NUL. What the kernel put there at exec has no empty entry and only `KEY=VALUE`; a title written
    /// over it has no `=`, or blanks in its key, and NULs up to where the old text goes on.
    pub(super) fn new(text: &'a [u8]) -> Self {
        let mut environment = Self::default();
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        if text.is_empty() {
            return environment;
        }
        for (index, entry) in text.split(|b| *b == 0).enumerate() {
            let pair = entry.iter().position(|b| *b == b'=').map(|at| {
                (
                    entry.get(..at).unwrap_or_default(),
                    entry.get(at + 1..).unwrap_or_default(),
                )
            });
            match pair {
                Some((key, value)) if is_key(key) => environment.entries.push((key, value)),
                // Programs may be given entries of any kind; only the first one lies beside the arguments.
                _ => environment.overwritten |= index == 0 || entry.is_empty(),
            }
        }
        environment
    }

    /// The value of a variable that may be looked at; an empty one is as good as none (specification, "Parsing empty
    /// value").
    pub(super) fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        if !is_looked_at(name.as_bytes()) {
            return None;
        }
        self.named(name)
    }

    /// Whether a variable is set, to nothing.
    pub(super) fn is_empty(&self, name: &str) -> bool {
        let found = self.entries.iter().find(|(key, _)| *key == name.as_bytes());
        found.is_some_and(|(_, value)| value.is_empty())
    }

    /// The value of a variable that the exporter's own configuration file names for its endpoint.
    pub(super) fn named(&self, name: &str) -> Option<Cow<'a, str>> {
        let (_, value) = self.entries.iter().find(|(key, _)| *key == name.as_bytes())?;
        let value = String::from_utf8_lossy(value);
        (!value.trim().is_empty()).then_some(value)
    }

    /// What is looked at, without the values of headers.
    pub(super) fn looked_at(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.entries
            .iter()
            .filter(|(key, _)| is_looked_at(key))
            .map(|(key, value)| {
                (
                    *key,
                    if key.ends_with(b"_HEADERS") {
                        &[][..]
                    } else {
                        *value
                    },
                )
            })
    }
}

fn is_looked_at(key: &[u8]) -> bool {
    key.starts_with(b"OTEL_") || OTHER_VARIABLES.iter().any(|name| name.as_bytes() == key)
}

/// What a variable may be called; wider than POSIX, as shells and container runtimes are.
fn is_key(key: &[u8]) -> bool {
    !key.is_empty() && key.iter().all(|b| b.is_ascii_graphic() || *b >= 0x80) && !key.starts_with(b"[")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_found_and_empty_ones_are_none() {
        let environment = Environment::new(b"PATH=/bin\0OTEL_A=1\0OTEL_B=\0OTEL_C= \0NODE_OPTIONS=--x=y\0");
        assert_eq!(environment.get("OTEL_A").as_deref(), Some("1"));
        assert_eq!(environment.get("OTEL_B"), None);
        assert!(environment.is_empty("OTEL_B") && !environment.is_empty("OTEL_C"));
        assert!(!environment.is_empty("OTEL_A") && !environment.is_empty("OTEL_D"));
        assert_eq!(environment.get("OTEL_C"), None);
        assert_eq!(environment.get("NODE_OPTIONS").as_deref(), Some("--x=y"));
        assert!(!environment.overwritten);
    }

    #[test]
    fn no_other_variable_is_looked_at() {
        let environment = Environment::new(
            b"PATH=/bin\0AWS_SECRET_ACCESS_KEY=x\0OTEL_A=1\0OTEL_EXPORTER_OTLP_HEADERS=k=v\0",
        );
        assert_eq!(environment.get("AWS_SECRET_ACCESS_KEY"), None);
        let seen: Vec<_> = environment.looked_at().collect();
        assert_eq!(
            seen,
            [(&b"OTEL_A"[..], &b"1"[..]), (b"OTEL_EXPORTER_OTLP_HEADERS", b"")]
        );
    }

    #[test]
    fn a_title_written_over_it_is_noticed() {
        for (overwritten, text) in [
            // A short title that reaches into the first variable, and NULs behind it.
            (true, &b"rker [app]\0\0\0\0\0\0OTEL_B=2\0"[..]),
            // One that fills the first variable to its end.
            (true, b"worker [shop.wsgi]\0OTEL_B=2\0"),
            // A title that looks like a variable.
            (true, b"orker [a=b]\0OTEL_B=2\0"),
            // Everything is gone.
            (true, b"\0\0\0\0\0\0\0\0"),
            (true, b"gunicorn: worker [shop.wsgi:application-with-a-long-name]"),
            // An odd entry that somebody passed to execve.
            (false, b"OTEL_B=2\0odd\0"),
            (false, b"OTEL_B=2\0"),
            (false, b""),
        ] {
            let environment = Environment::new(text);
            assert_eq!(environment.overwritten, overwritten, "{}", text.escape_ascii());
        }
    }
}
