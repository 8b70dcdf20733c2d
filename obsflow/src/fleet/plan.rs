//! Whom to ask: pods lead to their nodes, nodes to their agents.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::model::answer::NotAsked;

/// A pod that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace.
    pub namespace: Arc<str>,
    /// Name.
    pub name: Arc<str>,
    /// Its node; `None` before it was given one.
    pub node: Option<Arc<str>>,
    /// Whether it has ended.
    pub ended: bool,
}

/// A pod of the agents' DaemonSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Name of the pod.
    pub name: Arc<str>,
    /// Its node.
    pub node: Arc<str>,
    /// How it is.
    pub state: AgentState,
    /// Its gRPC port.
    pub port: u16,
}

/// How an agent's pod is, the best last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AgentState {
    /// It does not run: `Pending`, `Failed`, or why its container waits.
    Down(Arc<str>),
    /// It is being deleted.
    Ending,
    /// It runs, and may not be ready.
    Running,
    /// It runs and is ready.
    Ready,
}

/// Who is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Agents to ask, by their node's name.
    pub agents: Vec<Agent>,
    /// Nodes that cannot be asked, by reason.
    pub not_asked: Vec<NotAsked>,
    /// Pods that were asked for, by node.
    pub pods: BTreeMap<Arc<str>, usize>,
}

/// Makes a plan. With `every` agent, those of nodes without such pods are asked, too.
#[must_use]
pub fn plan(pods: &[Pod], agents: Vec<Agent>, every: bool, namespace: &str) -> Plan {
    let mut plan = Plan::default();
    for node in pods.iter().filter_map(|pod| pod.node.as_ref()) {
        *plan.pods.entry(Arc::clone(node)).or_default() += 1;
    }
    let mut best: HashMap<Arc<str>, Agent> = HashMap::new();
    for agent in agents {
        if !every && !plan.pods.contains_key(&agent.node) {
            continue;
        }
        // While a DaemonSet is rolled out a node may have two, one of which ends.
        match best.get(&agent.node) {
            Some(known) if (&known.state, &known.name) >= (&agent.state, &agent.name) => {}
            _ => drop(best.insert(Arc::clone(&agent.node), agent)),
        }
    }
    for (node, pods) in &plan.pods {
        if !best.contains_key(node) {
            plan.not_asked.push(NotAsked {
                why: format!("no agent runs there, of those in the namespace {namespace}").into(),
                node: Arc::clone(node),
                agent: None,
                pods: *pods,
            });
        }
    }
    for agent in best.into_values() {
        match &agent.state {
            AgentState::Running | AgentState::Ready => plan.agents.push(agent),
            AgentState::Ending => plan.cannot(&agent, namespace, "its agent is being deleted"),
            AgentState::Down(why) => {
                let why = format!("its agent does not run ({why})");
                plan.cannot(&agent, namespace, &why);
            }
        }
    }
    plan.agents.sort_by(|a, b| a.node.cmp(&b.node));
    plan.not_asked.sort();
    plan
}

impl Plan {
    fn cannot(&mut self, agent: &Agent, namespace: &str, why: &str) {
        let not_asked = self.not_asked(agent, namespace, why);
        self.not_asked.push(not_asked);
    }

    /// An agent that could not be asked.
    #[must_use]
    pub fn not_asked(&self, agent: &Agent, namespace: &str, why: &str) -> NotAsked {
        NotAsked {
            why: why.into(),
            node: Arc::clone(&agent.node),
            agent: Some(format!("{namespace}/{}", agent.name).into()),
            pods: self.pods.get(&agent.node).copied().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: Option<&str>) -> Pod {
        Pod {
            namespace: "apps".into(),
            name: name.into(),
            node: node.map(Arc::from),
            ended: false,
        }
    }

    fn agent(name: &str, node: &str, state: AgentState) -> Agent {
        Agent {
            name: name.into(),
            node: node.into(),
            state,
            port: 4244,
        }
    }

    #[test]
    fn nodes_of_pods_are_asked_and_no_others() {
        let pods = [
            pod("a", Some("n1")),
            pod("b", Some("n1")),
            pod("c", Some("n2")),
            pod("d", Some("n3")),
            pod("e", None),
        ];
        let agents = vec![
            agent("o-new", "n1", AgentState::Ready),
            agent("o-old", "n1", AgentState::Ending),
            agent("o-2", "n2", AgentState::Down("Pending".into())),
            agent("o-9", "n9", AgentState::Ready),
        ];
        let made = plan(&pods, agents.clone(), false, "obsflow");
        let asked: Vec<&str> = made.agents.iter().map(|agent| &*agent.name).collect();
        assert_eq!(asked, ["o-new"]);
        let not: Vec<(&str, usize, &str)> = made
            .not_asked
            .iter()
            .map(|not| (&*not.node, not.pods, &*not.why))
            .collect();
        assert_eq!(
            not,
            [
                ("n2", 1, "its agent does not run (Pending)"),
                ("n3", 1, "no agent runs there, of those in the namespace obsflow"),
            ]
        );
        assert_eq!(made.not_asked[0].agent.as_deref(), Some("obsflow/o-2"));
        let all = plan(&pods, agents, true, "obsflow");
        let asked: Vec<&str> = all.agents.iter().map(|agent| &*agent.name).collect();
        assert_eq!(asked, ["o-new", "o-9"]);
    }
}
