//! What workloads are called, and which names are near another.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::model::Workload;

/// What a person calls it: `namespace/pod`, a unit, a container or a cgroup.
#[must_use]
pub fn workload(workload: &Workload) -> Cow<'_, str> {
    let pod = match (&workload.namespace, &workload.pod) {
        (Some(namespace), Some(pod)) => Some(format!("{namespace}/{pod}")),
        (None, Some(pod)) => Some(pod.to_string()),
        (_, None) => workload.pod_uid.as_ref().map(|uid| format!("pod {uid}")),
    };
    if let Some(pod) = pod {
        return pod.into();
    }
    if let Some(unit) = &workload.unit {
        return (&**unit).into();
    }
    match (&workload.container, &workload.container_id, &workload.cgroup_path) {
        (Some(name), ..) => format!("container {name}").into(),
        // As every runtime's tools print and take it.
        (None, Some(id), _) => format!("container {}", id.get(..12).unwrap_or(id)).into(),
        (None, None, Some(path)) => (&**path).into(),
        (None, None, None) => "unknown".into(),
    }
}

/// The names of workloads, each once, in an order in which pods of different owners come first.
pub(super) fn spread<'a>(workloads: impl Iterator<Item = &'a Workload>) -> Vec<Cow<'a, str>> {
    let mut names: Vec<_> = workloads.map(workload).collect();
    names.sort_unstable();
    names.dedup();
    let mut seen = HashMap::<String, usize>::new();
    let mut ranked: Vec<(usize, Cow<'a, str>)> = names
        .into_iter()
        .map(|name| {
            // What a controller appends to the name of its pods.
            let owner = name
                .rsplit_once('-')
                .map_or(&*name, |(owner, _)| owner)
                .to_owned();
            let rank = seen.entry(owner).or_default();
            *rank += 1;
            (*rank, name)
        })
        .collect();
    ranked.sort();
    ranked.into_iter().map(|(_, name)| name).collect()
}

/// Most names that are suggested.
const SUGGESTIONS: usize = 3;

/// The names that `wrong` may have been meant to be, the nearest first. Names that go on where it ends count as near.
#[must_use]
pub fn near<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    if wrong.is_empty() {
        return Vec::new();
    }
    let most = (wrong.chars().count() / 3).clamp(1, 4);
    let mut found: Vec<(usize, &str)> = names
        .filter_map(|name| Some((distance(wrong, name), name)).filter(|(distance, _)| *distance <= most))
        .collect();
    found.sort_unstable();
    found.dedup_by_key(|(_, name)| *name);
    found
        .into_iter()
        .take(SUGGESTIONS)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Edits between `wrong` and the beginning of `name` that fits it best; 0 when it is a part of it.
fn distance(wrong: &str, name: &str) -> usize {
    const SLACK: usize = 2;
    if wrong.chars().count() > 2 && name.contains(wrong) {
        return 0;
    }
    let length = wrong.chars().count();
    let ends = name
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .skip(length.saturating_sub(SLACK + 1))
        .take(2 * SLACK + 1)
        .filter(|end| *end >= SLACK)
        .chain([name.len()]);
    ends.filter_map(|end| name.get(..end))
        .map(|beginning| strsim::damerau_levenshtein(wrong, beginning))
        .min()
        .unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_typos_beginnings_and_parts() {
        let names = [
            "dns-nxdomain",
            "dns-failure",
            "refused",
            "healthy",
            "shop/checkout-5d9-abcde",
        ];
        let near = |wrong| near(wrong, names.into_iter());
        assert_eq!(near("nxdomain"), ["dns-nxdomain"]);
        assert_eq!(near("dns-nxdomian"), ["dns-nxdomain"]);
        assert_eq!(near("shop/chekout"), ["shop/checkout-5d9-abcde"]);
        assert_eq!(near("refuse"), ["refused"]);
        assert!(near("blackholed").is_empty());
        assert!(near("").is_empty());
    }
}
