//! Asking many agents side by side, once or for as long as somebody watches.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::access::Access;
use super::error::FleetError;
use super::find::{Group, Question, agents};
use super::forward::{Following, PATIENCE, ask};
use super::plan::{Agent, Plan, plan};
use super::put::{Heard, put};
use crate::api::Reported;
use crate::model::answer::{Answer, Chosen};
use crate::model::verdict::Export;

/// Agents that the way is made to at a time.
const AT_ONCE: usize = 16;
/// How often a watcher looks for pods and agents that came and went.
const LOOK: Duration = Duration::from_secs(10);
/// How soon after an agent is gone.
const LOOK_SOON: Duration = Duration::from_secs(2);
/// Reports of many nodes come one after the other: how long the first waits for more.
const GATHER: Duration = Duration::from_millis(300);
/// How often a wait looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(200);
/// What nodes say that was not taken in yet.
const WAITING: usize = 64;

/// A cluster, and what is asked of it.
#[derive(Clone)]
pub struct Fleet {
    access: Access,
    question: Question,
}

/// What the API server says of a question.
pub(super) struct Found {
    pub(super) groups: Vec<Group>,
    pub(super) chosen: Chosen,
    pub(super) plan: Plan,
}

impl Fleet {
    /// A question to a cluster.
    #[must_use]
    pub fn new(access: Access, question: Question) -> Self {
        Self { access, question }
    }

    /// Pods, their nodes, and the agents of these.
    async fn find(&self) -> Result<Found, FleetError> {
        let Question { agents: whom, .. } = &self.question;
        let groups = self.question.groups(&self.access).await?;
        let mut pods: Vec<_> = groups.iter().flat_map(|group| &group.pods).cloned().collect();
        pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        // Two targets may have the same pods.
        pods.dedup();
        let every = self.question.is_everything();
        let mut nodes = pods.iter().filter_map(|pod| pod.node.as_deref());
        let only = nodes
            .next()
            .filter(|first| !every && nodes.all(|node| node == *first));
        let mut found = agents(&self.access, whom, only).await?;
        if found.is_empty() && only.is_some() {
            found = agents(&self.access, whom, None).await?;
        }
        if found.is_empty() {
            return Err(FleetError::NoAgents {
                namespace: whom.namespace.clone(),
                selector: whom.selector.clone(),
            });
        }
        Ok(Found {
            chosen: self.question.chosen(&self.access, &groups),
            plan: plan(&pods, found, every, &whom.namespace),
            groups,
        })
    }

    fn put(&self, found: &Found, heard: &BTreeMap<Arc<str>, Heard>) -> Answer {
        put(
            &self.access.context,
            &self.question.agents.namespace,
            found,
            heard,
        )
    }

    /// Asks every agent concerned once.
    ///
    /// # Errors
    /// When the API server cannot be asked, or there is no agent at all. An agent that cannot be asked is part of the answer.
    pub async fn ask(&self) -> Result<Answer, FleetError> {
        let found = self.find().await?;
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut asking = JoinSet::new();
        for agent in &found.plan.agents {
            let (fleet, places, agent) = (self.clone(), Arc::clone(&places), agent.clone());
            asking.spawn(async move {
                let _place = places.acquire().await;
                let namespace = &fleet.question.agents.namespace;
                let said = ask(&fleet.access, namespace, &agent).await;
                (agent, said)
            });
        }
        let mut heard = BTreeMap::new();
        while let Some(done) = asking.join_next().await {
            // A task that panicked is a node that is missing: it is named as one that did not answer.
            if let Ok((agent, said)) = done {
                let said = said.map(|mut reported| {
                    let is_of_use = |export: &Export| {
                        export.verdict.is_failure() || found.chosen.matches(&export.workload)
                    };
                    reported.report.exports.retain(is_of_use);
                    reported
                });
                heard.insert(Arc::clone(&agent.node), Heard { agent, said });
            }
        }
        Ok(self.put(&found, &heard))
    }

    /// Asks every agent concerned, and goes on: `publish` gets an answer now and on every change, until it has enough or
    /// `is_over` says so. Gives the last answer. Agents that end are asked again, and those that come are asked as well.
    ///
    /// # Errors
    /// When the API server cannot be asked at the beginning, there is no agent at all, or publishing fails.
    pub async fn watch(
        &self,
        mut is_over: impl FnMut() -> bool,
        mut publish: impl FnMut(&Answer) -> io::Result<ControlFlow<()>>,
    ) -> anyhow::Result<Answer> {
        let (news, mut incoming) = mpsc::channel(WAITING);
        let mut watching = Watching {
            fleet: self.clone(),
            found: self.find().await?,
            heard: BTreeMap::new(),
            tasks: HashMap::new(),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            news,
        };
        watching.follow();
        let mut glance = interval(GLANCE);
        glance.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let began = Instant::now();
        let mut look = began + LOOK;
        // Until every agent was heard of, an answer would only say so.
        let mut due = Some(began + PATIENCE);
        let mut published = false;
        loop {
            tokio::select! {
                Some((agent, said)) = incoming.recv() => {
                    if said.is_err() {
                        look = look.min(Instant::now() + LOOK_SOON);
                    }
                    watching.hear(agent, said);
                    if published {
                        due = due.or(Some(Instant::now() + GATHER));
                    } else if watching.is_complete() {
                        due = Some(Instant::now());
                    }
                }
                _ = glance.tick() => {}
            }
            let now = Instant::now();
            if is_over() {
                if published {
                    break;
                }
                return Err(FleetError::Interrupted.into());
            }
            if now >= look {
                look = now + LOOK;
                if watching.look_again().await {
                    due = due.or(Some(now));
                }
            }
            if due.is_some_and(|due| now >= due) || (!published && watching.is_complete()) {
                due = None;
                published = true;
                if publish(&watching.answer())?.is_break() {
                    break;
                }
            }
        }
        Ok(watching.answer())
    }
}

type News = (Agent, Result<Reported, String>);

/// Agents that are followed.
struct Watching {
    fleet: Fleet,
    found: Found,
    heard: BTreeMap<Arc<str>, Heard>,
    /// By node: the agent that is followed there.
    tasks: HashMap<Arc<str>, (Agent, AbortHandle)>,
    places: Arc<Semaphore>,
    news: mpsc::Sender<News>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        for (_, task) in self.tasks.values() {
            task.abort();
        }
    }
}

impl Watching {
    /// Follows the agents of the plan, and no others.
    fn follow(&mut self) {
        let plan = &self.found.plan;
        let is_meant = |node: &Arc<str>, followed: &Agent| {
            plan.agents
                .iter()
                .any(|agent| agent.node == *node && agent.name == followed.name)
        };
        self.tasks.retain(|node, (agent, task)| {
            let stays = is_meant(node, agent);
            if !stays {
                task.abort();
            }
            stays
        });
        let tasks = &self.tasks;
        self.heard.retain(|node, _| tasks.contains_key(node));
        for agent in &plan.agents {
            if !self.tasks.contains_key(&agent.node) {
                let task = tokio::spawn(follow(
                    self.fleet.clone(),
                    agent.clone(),
                    Arc::clone(&self.places),
                    self.news.clone(),
                ));
                self.tasks
                    .insert(Arc::clone(&agent.node), (agent.clone(), task.abort_handle()));
            }
        }
    }

    fn hear(&mut self, agent: Agent, said: Result<Reported, String>) {
        // Of one that is followed no more, the last words may still come.
        let is_followed = self
            .tasks
            .get(&agent.node)
            .is_some_and(|(followed, _)| followed.name == agent.name);
        if is_followed {
            self.heard.insert(Arc::clone(&agent.node), Heard { agent, said });
        }
    }

    fn is_complete(&self) -> bool {
        self.heard.len() >= self.tasks.len()
    }

    /// Looks for pods and agents that came and went; says whether the answer may be another one by that.
    async fn look_again(&mut self) -> bool {
        match self.fleet.find().await {
            Ok(found) => {
                let is_new = found.plan != self.found.plan || found.chosen != self.found.chosen;
                self.found = found;
                self.follow();
                is_new
            }
            // What is followed is followed on; who cannot be reached any more says so by itself.
            Err(error) => {
                tracing::warn!("{error}");
                false
            }
        }
    }

    fn answer(&self) -> Answer {
        self.fleet.put(&self.found, &self.heard)
    }
}

/// Hands on what an agent says; asks again when it ends.
async fn follow(fleet: Fleet, agent: Agent, places: Arc<Semaphore>, news: mpsc::Sender<News>) {
    let namespace = fleet.question.agents.namespace.as_str();
    let mut tries = 0;
    loop {
        let place = places.acquire().await;
        let started = Following::start(&fleet.access, namespace, &agent).await;
        drop(place);
        let why = match started {
            Ok(mut following) => loop {
                match following.next().await {
                    Ok(reported) => {
                        tries = 0;
                        if news.send((agent.clone(), Ok(reported))).await.is_err() {
                            return;
                        }
                    }
                    Err(why) => break why,
                }
            },
            Err(why) => why,
        };
        if news.send((agent.clone(), Err(why))).await.is_err() {
            return;
        }
        sleep(Duration::from_secs(1 << tries)).await;
        tries = (tries + 1).min(3);
    }
}
