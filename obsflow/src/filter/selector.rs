//! Selectors of labels, as Kubernetes writes them.

use std::sync::Arc;

use super::error::{FilterError, Origin};

/// Requirements on labels, all of which must hold. A flow whose endpoint has no labels at all is matched by none: nothing is
/// known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    values: Values,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Values {
    Any,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    pub(super) fn parse(at: impl Into<Origin>, text: &str) -> Result<Self, FilterError> {
        let bad = |reason| FilterError::Selector {
            at: at.into(),
            value: text.to_owned(),
            reason,
        };
        let requirements = parts(text)
            .and_then(|parts| parts.into_iter().map(requirement).collect::<Result<Vec<_>, _>>())
            .map_err(bad)?;
        Ok(Self(requirements))
    }

    /// Whether labels, written `key=value`, fulfil it.
    #[must_use]
    pub fn matches(&self, labels: &[Arc<str>]) -> bool {
        !labels.is_empty() && self.0.iter().all(|requirement| requirement.holds(labels))
    }
}

impl Requirement {
    fn holds(&self, labels: &[Arc<str>]) -> bool {
        let mut values = labels.iter().filter_map(|label| {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            is_key(key, &self.key).then_some(value)
        });
        match &self.values {
            Values::Any => values.next().is_some(),
            Values::Absent => values.next().is_none(),
            Values::In(wanted) => values.any(|value| wanted.iter().any(|wanted| wanted == value)),
            Values::NotIn(not) => values.all(|value| not.iter().all(|not| not != value)),
        }
    }
}

/// Cilium writes where a label comes from in front of it: `k8s:app`. Who does not ask for that means any.
fn is_key(key: &str, wanted: &str) -> bool {
    key == wanted
        || key
            .split_once(':')
            .is_some_and(|(_, key)| key == wanted.strip_prefix("any:").unwrap_or(wanted))
}

/// Requirements, which commas part that are in no parentheses.
fn parts(text: &str) -> Result<Vec<&str>, &'static str> {
    let (mut parts, mut from, mut inside) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' if inside => return Err("a parenthesis in parentheses"),
            b'(' => inside = true,
            b')' if !inside => return Err("a parenthesis is closed that was not opened"),
            b')' => inside = false,
            b',' if !inside => {
                parts.extend(text.get(from..at));
                from = at + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err("a parenthesis is not closed");
    }
    parts.extend(text.get(from..));
    Ok(parts)
}

fn requirement(text: &str) -> Result<Requirement, &'static str> {
    let text = text.trim();
    let new = |key: &str, values| {
        let key = key.trim();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
        if key.is_empty() {
            return Err("a key is missing");
        }
        if !key.chars().all(allowed) {
            return Err("a key has letters, digits, - _ . / and a source before a colon");
        }
        Ok(Requirement {
            key: key.to_owned(),
            values,
        })
    };
    if let Some(key) = text.strip_prefix('!') {
        return new(key, Values::Absent);
    }
    if let Some((key, value)) = text.split_once("!=") {
        return new(key, Values::NotIn(vec![one(value)?]));
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return new(key, Values::In(vec![one(value)?]));
    }
    if let Some((front, list)) = text.split_once('(') {
        let list = list.strip_suffix(')').ok_or("something follows a parenthesis")?;
        let values = list.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
        let mut words = front.split_whitespace();
        return match (words.next(), words.next(), words.next()) {
            (Some(key), Some("in"), None) => new(key, Values::In(values)),
            (Some(key), Some("notin"), None) => new(key, Values::NotIn(values)),
            _ => Err("before a list comes a key, and in or notin"),
        };
    }
    new(text, Values::Any)
}

fn one(value: &str) -> Result<String, &'static str> {
    let value = value.trim();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !value.chars().all(allowed) {
        return Err("a value has letters, digits, - _ and .");
    }
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(selector: &str, labels: &[&str]) -> bool {
        let labels: Vec<Arc<str>> = labels.iter().map(|label| Arc::from(*label)).collect();
        Selector::parse(Origin::Field("source_label"), selector)
            .unwrap()
            .matches(&labels)
    }

    #[test]
    fn every_kind_of_requirement() {
        let labels = [
            "k8s:app=web",
            "k8s:io.kubernetes.pod.namespace=shop",
            "tier=front",
        ];
        for selector in [
            "app=web",
            "app==web",
            "k8s:app=web",
            "any:app=web",
            "app",
            "app in (api, web)",
            "app!=api",
            "!gone",
            "app notin (api)",
            "app=web,tier=front",
            "gone!=x",
            "io.kubernetes.pod.namespace=shop",
        ] {
            assert!(matches(selector, &labels), "{selector}");
        }
        for selector in [
            "app=api",
            "reserved:app=web",
            "gone",
            "app in (api)",
            "app!=web",
            "!app",
            "app notin (api,web)",
            "app=web,tier=back",
            "app=",
        ] {
            assert!(!matches(selector, &labels), "{selector}");
        }
    }

    #[test]
    fn of_what_has_no_labels_nothing_is_known() {
        for selector in ["app=web", "!app", "app!=web", "app notin (web)"] {
            assert!(!matches(selector, &[]), "{selector}");
        }
    }

    #[test]
    fn what_is_no_selector_says_why() {
        for (selector, reason) in [
            ("", "a key is missing"),
            ("app=web,", "a key is missing"),
            ("app in (web", "not closed"),
            ("app in web)", "not opened"),
            ("app in ((web))", "in parentheses"),
            ("app in (web) x", "follows"),
            ("app within (web)", "in or notin"),
            ("a b", "letters"),
            ("app=we b", "a value has"),
        ] {
            let error = Selector::parse(Origin::Field("source_label"), selector)
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("source_label: ") && error.contains(reason),
                "{error}"
            );
        }
    }
}
