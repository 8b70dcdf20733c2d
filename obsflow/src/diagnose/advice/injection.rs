//! What to do where injection is missing: commands for this very object, made only of names that need no quoting.

use crate::diagnose::rules::Case;
use crate::model::cluster::{Inject, Owner};
use crate::model::injection::{ANNOTATION, Annotation, NotInjected, Why};

/// Languages that the operator leaves out unless it was started with a flag (`internal/config` of the operator).
const OFF_BY_DEFAULT: [&str; 2] = ["go", "nginx"];

pub(super) fn missing(case: &Case<'_>, advice: &mut Vec<String>) {
    let Some(missing) = case.container.injection.as_deref() else {
        return;
    };
    match missing.why {
        Some(Why::OnOwner) => on_owner(missing, advice),
        Some(Why::PodOlder) => advice.push(format!(
            "the operator acts when a pod is made: make the pod anew{}",
            command(again(missing))
        )),
        Some(Why::Lost) => lost(missing, advice),
        None => {
            advice.push(format!(
                "if the pod is older than the annotation, make it anew, since the operator acts when a pod is made{}",
                command(again(missing))
            ));
            lost(missing, advice);
        }
    }
}

fn on_owner(missing: &NotInjected, advice: &mut Vec<String>) {
    let Some(owner) = &missing.owner else { return };
    let what = "the operator reads the annotations of pods and namespaces: the annotation belongs on the pod template";
    match patch(missing, owner) {
        Some(command) => advice.push(format!("{what}, and new pods have it: {command}")),
        None if owner.kind.as_ref() == "Job" => advice.push(format!(
            "{what} (spec.template.metadata.annotations), which of a Job cannot be changed: make Job {} anew",
            owner.name
        )),
        None => advice.push(format!(
            "{what} (spec.template.metadata.annotations) of {} {}",
            owner.kind, owner.name
        )),
    }
}

/// The annotations, moved to where they belong.
fn patch(missing: &NotInjected, owner: &Owner) -> Option<String> {
    let kind = kind(owner)?;
    let annotations: Option<Vec<String>> = missing.asked.iter().map(pair).collect();
    let template = format!(
        "{{\"template\":{{\"metadata\":{{\"annotations\":{{{}}}}}}}}}",
        annotations?.join(",")
    );
    let spec = match kind {
        "job" => return None,
        "cronjob" => format!("{{\"jobTemplate\":{{\"spec\":{template}}}}}"),
        _ => template,
    };
    let (namespace, name) = (word(&missing.namespace)?, word(&owner.name)?);
    Some(format!(
        "kubectl -n {namespace} patch {kind} {name} -p '{{\"spec\":{spec}}}'"
    ))
}

fn pair(asked: &Inject) -> Option<String> {
    Some(format!(
        "\"{ANNOTATION}{}\":\"{}\"",
        asked.language,
        word(&asked.value)?
    ))
}

/// What makes the pods of an owner anew.
fn again(missing: &NotInjected) -> Option<String> {
    let namespace = word(&missing.namespace)?;
    match missing.owner.as_ref().map(|owner| (kind(owner), owner)) {
        Some((Some(kind @ ("deployment" | "statefulset" | "daemonset")), owner)) => {
            let name = word(&owner.name)?;
            Some(format!("kubectl -n {namespace} rollout restart {kind} {name}"))
        }
        Some(_) => Some(format!(
            "kubectl -n {namespace} delete pod {}",
            word(&missing.pod)?
        )),
        // Nobody would make it again.
        None => None,
    }
}

fn lost(missing: &NotInjected, advice: &mut Vec<String>) {
    let namespace = word(&missing.namespace);
    for asked in &missing.asked {
        let value = &*asked.value;
        let (of, name) = match value.split_once('/') {
            Some((namespace, name)) => (word(namespace), name),
            None => (namespace, value),
        };
        let get = of.map(|of| format!("kubectl -n {of} get instrumentation"));
        if value.eq_ignore_ascii_case("true") {
            advice.push(format!(
                "`true` means the only Instrumentation of namespace {}: there must be one, and no second{}",
                missing.namespace,
                command(get)
            ));
        } else {
            advice.push(format!(
                "see whether the Instrumentation {value} exists{}",
                command(get.zip(word(name)).map(|(get, name)| format!("{get} {name}")))
            ));
        }
        if OFF_BY_DEFAULT.contains(&&*asked.language) {
            advice.push(format!(
                "the operator injects {} only when it was started with --enable-{}-instrumentation",
                asked.language, asked.language
            ));
        }
    }
    advice.push(
        "see whether the operator runs, what it logged when the pod was made, and whether a namespaceSelector or \
         objectSelector of its webhook (path /mutate-v1-pod) leaves this pod out; when the webhook fails, pods are made \
         without: kubectl get mutatingwebhookconfigurations"
            .to_owned(),
    );
    if missing.on != Annotation::Owner
        && let Some(again) = again(missing)
    {
        advice.push(format!("then make the pods anew: {again}"));
    }
}

/// The kind as `kubectl` takes it, of those that have a template like a Deployment's.
fn kind(owner: &Owner) -> Option<&'static str> {
    Some(match &*owner.kind {
        "Deployment" => "deployment",
        "StatefulSet" => "statefulset",
        "DaemonSet" => "daemonset",
        "ReplicaSet" => "replicaset",
        "CronJob" => "cronjob",
        "Job" => "job",
        _ => return None,
    })
}

fn command(command: Option<String>) -> String {
    command.map_or_else(String::new, |command| format!(": {command}"))
}

/// A name that means the same to a shell, in JSON and to `kubectl`.
fn word(text: &(impl AsRef<str> + ?Sized)) -> Option<&str> {
    let text = text.as_ref();
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/');
    (!text.is_empty() && !text.starts_with('-') && text.bytes().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(kind: &str, why: Option<Why>, value: &str) -> NotInjected {
        NotInjected {
            namespace: "cxtm".into(),
            pod: "cxtm-webcron-79f4d98767-gzw6q".into(),
            owner: (!kind.is_empty()).then(|| Owner {
                kind: kind.into(),
                name: "cxtm-webcron".into(),
            }),
            on: if why == Some(Why::OnOwner) {
                Annotation::Owner
            } else {
                Annotation::Pod
            },
            asked: vec![Inject {
                language: "python".into(),
                value: value.into(),
            }],
            why,
            created: None,
            since: None,
        }
    }

    #[test]
    fn the_patch_that_moves_an_annotation() {
        let patched = |kind| {
            patch(
                &missing(kind, Some(Why::OnOwner), "cxtm-python-instrumentation"),
                &Owner {
                    kind: kind.into(),
                    name: "cxtm-webcron".into(),
                },
            )
        };
        assert_eq!(
            patched("Deployment").unwrap(),
            "kubectl -n cxtm patch deployment cxtm-webcron -p '{\"spec\":{\"template\":{\"metadata\":{\"annotations\":\
             {\"instrumentation.opentelemetry.io/inject-python\":\"cxtm-python-instrumentation\"}}}}}'"
        );
        for kind in ["StatefulSet", "CronJob"] {
            let command = patched(kind).unwrap();
            let json = command.split('\'').nth(1).unwrap();
            let json: serde_json::Value = serde_json::from_str(json).unwrap();
            let spec = match kind {
                "CronJob" => &json["spec"]["jobTemplate"]["spec"],
                _ => &json["spec"],
            };
            let annotations = &spec["template"]["metadata"]["annotations"];
            assert_eq!(
                annotations["instrumentation.opentelemetry.io/inject-python"],
                "cxtm-python-instrumentation"
            );
        }
        assert_eq!(patched("Job"), None);
        assert_eq!(patched("Rollout"), None);
    }

    #[test]
    fn no_command_is_made_of_what_a_shell_would_read() {
        let mut advice = Vec::new();
        for value in ["a'; rm -rf /", "$(reboot)", "a\"b", "-f", "a b", "ä"] {
            on_owner(&missing("Deployment", Some(Why::OnOwner), value), &mut advice);
            lost(&missing("Deployment", Some(Why::Lost), value), &mut advice);
        }
        for line in &advice {
            let command = line.split("kubectl").nth(1).unwrap_or_default();
            assert!(
                !command.contains(['$', ';', '"']) && !command.contains(" -f"),
                "{line}"
            );
        }
    }

    #[test]
    fn pods_are_made_anew_by_whoever_makes_them() {
        let again = |kind| again(&missing(kind, None, "true")).unwrap_or_default();
        assert_eq!(
            again("Deployment"),
            "kubectl -n cxtm rollout restart deployment cxtm-webcron"
        );
        assert_eq!(
            again("Rollout"),
            "kubectl -n cxtm delete pod cxtm-webcron-79f4d98767-gzw6q"
        );
        assert_eq!(
            again("ReplicaSet"),
            "kubectl -n cxtm delete pod cxtm-webcron-79f4d98767-gzw6q"
        );
        assert_eq!(again(""), "");
    }
}
