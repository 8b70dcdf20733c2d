//! `cargo xtask manifests`: the files of `deploy/` that are made from others, so that each thing is written once.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::sh;

mod dashboard;

/// Head of the rules for the Prometheus Operator.
const RULE: &str = "\
# Made of deploy/prometheus/obsflow.rules.yaml by `cargo xtask manifests`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: obsflow
  namespace: obsflow
  labels:
    app.kubernetes.io/name: obsflow
    app.kubernetes.io/component: rules
spec:
";

/// Head of the installation in one file.
const INSTALL: &str = "\
# The whole installation: `kubectl apply -f install.yaml`. Made of deploy/base by `cargo xtask manifests`.
";

/// Writes them.
///
/// # Errors
/// When kubectl cannot render the base, or a file cannot be read or written.
pub(crate) fn run() -> Result<()> {
    for (path, text) in made()? {
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            println!("{}: as it was", path.display());
            continue;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}: written", path.display());
    }
    Ok(())
}

/// What each of them should say.
fn made() -> Result<Vec<(PathBuf, String)>> {
    let deploy = sh::root().join("deploy");
    let rules = deploy.join("prometheus/obsflow.rules.yaml");
    let rules = fs::read_to_string(&rules).with_context(|| format!("cannot read {}", rules.display()))?;
    let install = sh::output(sh::command("kubectl").args(["kustomize", "deploy/base"]))
        .context("kubectl cannot render deploy/base (`cargo xtask setup` installs one)")?;
    Ok(vec![
        (
            deploy.join("components/monitoring/prometheusrule.yaml"),
            rule(&rules),
        ),
        (
            deploy.join("components/monitoring/obsflow.json"),
            format!("{:#}\n", dashboard::dashboard()),
        ),
        (deploy.join("install.yaml"), format!("{INSTALL}{install}\n")),
    ])
}

/// The same groups, one level deeper; what introduces the plain file is left out.
fn rule(rules: &str) -> String {
    let groups = rules.lines().skip_while(|line| line.starts_with('#'));
    let deeper = groups.map(|line| {
        if line.is_empty() {
            String::new()
        } else {
            format!("  {line}")
        }
    });
    std::iter::once(RULE.to_owned())
        .chain(deeper.map(|line| line + "\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_what_is_there() {
        for (path, text) in made().unwrap() {
            let there = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                there == text,
                "{} is not what it is made of: run `cargo xtask manifests`",
                path.display()
            );
        }
    }

    #[test]
    fn rules_are_moved_and_not_changed() {
        let text = rule("# About.\n# More.\ngroups:\n  - name: x\n\n    # Why.\n");
        assert_eq!(
            text.strip_prefix(RULE),
            Some("  groups:\n    - name: x\n\n      # Why.\n")
        );
    }
}
