//! Label selectors, as `k8s.io/apimachinery/pkg/labels` reads them.

use serde_json::Value;

/// One term of a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Term {
    Is(String, Vec<String>),
    IsNot(String, Vec<String>),
    Has(String),
    HasNot(String),
}

/// A label selector; the empty one leaves everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Labels(Vec<Term>);

impl Labels {
    /// Reads one.
    ///
    /// # Errors
    /// When it is none.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut depth = 0_u32;
        let terms = text.split(|c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        });
        terms
            .map(str::trim)
            .filter(|term| !term.is_empty())
            .map(|term| Term::parse(term).ok_or_else(|| format!("unable to parse requirement: {term}")))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether it leaves this object.
    #[must_use]
    pub(super) fn takes(&self, object: &Value) -> bool {
        let label = |key: &str| object["metadata"]["labels"][key].as_str();
        self.0.iter().all(|term| match term {
            Term::Is(key, values) => {
                label(key).is_some_and(|label| values.iter().any(|value| value == label))
            }
            // What has no such label has none of its values either.
            Term::IsNot(key, values) => {
                label(key).is_none_or(|label| values.iter().all(|value| value != label))
            }
            Term::Has(key) => label(key).is_some(),
            Term::HasNot(key) => label(key).is_none(),
        })
    }
}

impl Term {
    fn parse(text: &str) -> Option<Self> {
        let set = |values: &str| {
            let inner = values.trim().strip_prefix('(')?.strip_suffix(')')?;
            Some(inner.split(',').map(|value| value.trim().to_owned()).collect())
        };
        let word = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.contains([' ', '(', ')']));
        if let Some((key, values)) = text.split_once(" notin ") {
            return Some(Self::IsNot(word(key)?, set(values)?));
        }
        if let Some((key, values)) = text.split_once(" in ") {
            return Some(Self::Is(word(key)?, set(values)?));
        }
        if let Some((key, value)) = text.split_once("!=") {
            return Some(Self::IsNot(word(key)?, vec![word(value)?]));
        }
        if let Some((key, value)) = text.split_once('=') {
            return Some(Self::Is(word(key)?, vec![word(value.trim_start_matches('='))?]));
        }
        match text.strip_prefix('!') {
            Some(key) => Some(Self::HasNot(word(key)?)),
            None => Some(Self::Has(word(text)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_leave_what_they_say() {
        let object = json!({ "metadata": { "labels": { "app": "web", "tier": "front" } } });
        for (text, expected) in [
            ("", true),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=api", false),
            ("app!=api", true),
            ("env!=x", true),
            ("app in (api, web),tier", true),
            ("app notin (web)", false),
            ("env", false),
            ("!env", true),
            ("!app", false),
        ] {
            assert_eq!(Labels::parse(text).unwrap().takes(&object), expected, "{text}");
        }
        assert!(Labels::parse("app in web").is_err());
        assert!(Labels::parse("a b").is_err());
    }
}
