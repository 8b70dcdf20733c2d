use proptest::prelude::*;

use super::*;
use crate::model::cluster::{Annotated, Container, Injection, Owner, Pods, Surroundings};

const ID: &str = "c0ffee";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn ask(language: &str, value: &str) -> Inject {
    Inject {
        language: language.into(),
        value: value.into(),
    }
}

fn container(name: &str, id: Option<&str>, role: ContainerRole) -> Container {
    Container {
        name: name.into(),
        id: id.map(Arc::from),
        role,
    }
}

/// Annotations and ages of one pod and what it comes from; the pod is made at second 100.
struct Story {
    pod: Pod,
    namespace: Annotated,
    owner: Annotated,
    injector: Option<Timestamp>,
}

impl Story {
    fn new() -> Self {
        Self {
            pod: Pod {
                uid: "u".into(),
                namespace: "cxtm".into(),
                name: "cxtm-webcron-79f4d98767-gzw6q".into(),
                owner: Some(Owner {
                    kind: "Deployment".into(),
                    name: "cxtm-webcron".into(),
                }),
                created: Some(at(100)),
                containers: vec![container("webcron", Some(ID), ContainerRole::Main)],
                ..Pod::default()
            },
            namespace: Annotated::default(),
            owner: Annotated::default(),
            injector: None,
        }
    }

    fn pod(mut self, asked: &[(&str, &str)]) -> Self {
        self.pod.injection.asked = asked.iter().map(|(l, v)| ask(l, v)).collect();
        self
    }

    fn namespace(mut self, asked: &[(&str, &str)], changed: Option<i64>) -> Self {
        self.namespace = Annotated {
            asked: asked.iter().map(|(l, v)| ask(l, v)).collect(),
            changed: changed.map(at),
        };
        self
    }

    fn owner(mut self, asked: &[(&str, &str)]) -> Self {
        self.owner = Annotated {
            asked: asked.iter().map(|(l, v)| ask(l, v)).collect(),
            changed: Some(at(90)),
        };
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn cluster(self) -> Cluster {
        let mut around = Surroundings {
            injector: self.injector,
            ..Surroundings::default()
        };
        if !self.namespace.asked.is_empty() {
            around.namespaces.insert("cxtm".into(), self.namespace);
        }
        if let Some(owner) = self.pod.owner.clone() {
            around.owners.insert(("cxtm".into(), owner), self.owner);
        }
        Cluster {
            pods: Arc::new(Pods::new([Arc::new(self.pod)])),
            surroundings: Arc::new(around),
            ..Cluster::default()
        }
    }

    fn missing(self) -> Option<Arc<NotInjected>> {
        missing(&self.cluster(), ID)
    }

    /// Where it was asked for, and why nothing came of it.
    fn told(self) -> Option<(Annotation, Option<Why>)> {
        self.missing().map(|it| (it.on, it.why))
    }
}

const NAMED: (&str, &str) = ("python", "cxtm-python-instrumentation");
const TRUE: (&str, &str) = ("python", "true");
const FALSE: (&str, &str) = ("python", "False");

#[test]
fn the_write_up_annotated_the_deployment_object() {
    let missing = Story::new().owner(&[NAMED]).missing().unwrap();
    assert_eq!((missing.on, missing.why), (Annotation::Owner, Some(Why::OnOwner)));
    assert_eq!(missing.annotated(), "Deployment cxtm-webcron");
    let expected = expectation(&missing);
    assert_eq!(
        &*expected.written,
        "instrumentation.opentelemetry.io/inject-python=cxtm-python-instrumentation"
    );
    assert_eq!(
        expected.source.to_string(),
        "annotation of Deployment cxtm-webcron"
    );
    assert_eq!(expected.endpoint, None);
}

#[test]
fn who_asks_and_when_tells_the_cause() {
    use Annotation::{Namespace, Owner, Pod};
    use Why::{Lost, OnOwner, PodOlder};
    let new = Story::new;
    let table = [
        // Nobody asks.
        (new(), None),
        (new().owner(&[FALSE]), None),
        (new().namespace(&[FALSE], Some(1)), None),
        (new().pod(&[FALSE]), None),
        (new().pod(&[("python", "")]), None),
        // Annotations that only begin in the same way, and languages nobody knows.
        (new().owner(&[("nginx-container-names", "web")]), None),
        (new().pod(&[("cobol", "true")]), None),
        // The owner's, where the operator does not look; the namespace's `false` is no reason not to say so.
        (new().owner(&[TRUE]), Some((Owner, Some(OnOwner)))),
        (
            new().owner(&[TRUE]).namespace(&[FALSE], Some(1)),
            Some((Owner, Some(OnOwner))),
        ),
        (new().owner(&[TRUE]).pod(&[FALSE]), None),
        // The operator was asked by the pod.
        (new().pod(&[TRUE]), Some((Pod, Some(Lost)))),
        (new().pod(&[TRUE]).owner(&[TRUE]), Some((Pod, Some(Lost)))),
        (
            new().pod(&[TRUE]).namespace(&[FALSE], Some(1)),
            Some((Pod, Some(Lost))),
        ),
        (new().pod(&[("go", "obs/go")]), Some((Pod, Some(Lost)))),
        (
            new()
                .pod(&[TRUE])
                .with(|story| story.pod.injection.changed = Some(at(160))),
            Some((Pod, Some(PodOlder))),
        ),
        (
            new()
                .pod(&[TRUE])
                .with(|story| story.pod.injection.changed = Some(at(101))),
            Some((Pod, Some(Lost))),
        ),
        (
            new().pod(&[TRUE]).with(|story| story.injector = Some(at(101))),
            Some((Pod, Some(PodOlder))),
        ),
        (
            new().pod(&[TRUE]).with(|story| story.injector = Some(at(99))),
            Some((Pod, Some(Lost))),
        ),
        // By its namespace: before or after the pod was made, or nobody knows.
        (
            new().namespace(&[TRUE], Some(101)),
            Some((Namespace, Some(PodOlder))),
        ),
        (new().namespace(&[TRUE], Some(100)), Some((Namespace, Some(Lost)))),
        (new().namespace(&[TRUE], Some(3)), Some((Namespace, Some(Lost)))),
        (new().namespace(&[TRUE], None), Some((Namespace, None))),
        (
            new()
                .namespace(&[TRUE], Some(3))
                .with(|story| story.pod.created = None),
            Some((Namespace, None)),
        ),
        (
            new()
                .namespace(&[TRUE], Some(3))
                .with(|story| story.injector = Some(at(101))),
            Some((Namespace, Some(PodOlder))),
        ),
        (new().namespace(&[TRUE], Some(3)).pod(&[FALSE]), None),
    ];
    for (at, (story, wanted)) in table.into_iter().enumerate() {
        assert_eq!(story.told(), wanted, "case {at}");
    }
}

#[test]
fn a_pod_that_leaves_the_choice_open_takes_the_namespaces() {
    let name = |story: Story| story.missing().unwrap().asked[0].value.to_string();
    assert_eq!(
        name(Story::new().pod(&[TRUE]).namespace(&[NAMED], Some(1))),
        NAMED.1
    );
    assert_eq!(
        name(Story::new().pod(&[NAMED]).namespace(&[TRUE], Some(1))),
        NAMED.1
    );
    assert_eq!(
        name(Story::new().pod(&[TRUE]).namespace(&[FALSE], Some(1))),
        "true"
    );
}

#[test]
fn quiet_on_pods_that_show_a_trace_and_on_those_that_ended() {
    let traces = |story: &mut Story| {
        story.pod.injection.traces = vec!["init container opentelemetry-auto-instrumentation-python".into()];
    };
    assert_eq!(Story::new().owner(&[NAMED]).with(traces).missing(), None);
    assert_eq!(Story::new().pod(&[NAMED]).with(traces).missing(), None);
    let ended = |story: &mut Story| story.pod.ended = true;
    assert_eq!(Story::new().owner(&[NAMED]).with(ended).missing(), None);
}

#[test]
fn one_container_of_a_pod_speaks_for_it_unless_others_are_named() {
    let containers = |story: &mut Story| {
        story.pod.containers = vec![
            container("prepare", Some("0"), ContainerRole::Init),
            container("istio-proxy", Some("1"), ContainerRole::Main),
            container("web", Some("2"), ContainerRole::Main),
            container("cron", Some("3"), ContainerRole::Main),
            container("debug", Some("4"), ContainerRole::Ephemeral),
            container("late", None, ContainerRole::Main),
        ];
    };
    let of = |story: Story| -> Vec<&'static str> {
        let cluster = story.cluster();
        ["0", "1", "2", "3", "4", "5"]
            .into_iter()
            .filter(|id| missing(&cluster, id).is_some())
            .collect()
    };
    assert_eq!(of(Story::new().pod(&[TRUE]).with(containers)), ["2"]);
    let named = |names: &'static [&'static str]| {
        move |story: &mut Story| {
            containers(story);
            story.pod.injection.containers = names.iter().map(|name| Arc::from(*name)).collect();
        }
    };
    assert_eq!(
        of(Story::new().pod(&[TRUE]).with(named(&["cron", "late"]))),
        ["3"]
    );
    assert_eq!(of(Story::new().pod(&[TRUE]).with(named(&["gone"]))), ["2"]);
}

#[test]
fn values_are_fit_for_a_terminal() {
    let hostile = format!("\u{1b}[31m{}", "x".repeat(5000));
    let missing = Story::new().owner(&[("python", &hostile)]).missing().unwrap();
    let written = expectation(&missing).written;
    assert!(
        written.len() < 700 && !written.chars().any(char::is_control),
        "{written}"
    );
}

fn values() -> impl Strategy<Value = Option<&'static str>> {
    prop::sample::select(vec![
        None,
        Some(""),
        Some("true"),
        Some("False"),
        Some("name"),
        Some("ns/name"),
    ])
}

fn injects(value: Option<&str>) -> Vec<Inject> {
    value.map(|value| ask("java", value)).into_iter().collect()
}

proptest! {
    /// What the operator would do, and what is said when it did not.
    #[test]
    fn never_said_of_what_the_operator_need_not_inject(
        pod in values(),
        namespace in values(),
        owner in values(),
        traces in any::<bool>(),
        ended in any::<bool>(),
        created in prop::option::of(0i64..5),
        changed in prop::option::of(0i64..5),
        injector in prop::option::of(0i64..5),
    ) {
        let mut story = Story::new();
        story.pod.injection = Injection {
            asked: injects(pod),
            traces: if traces { vec!["a trace".into()] } else { Vec::new() },
            ..Injection::default()
        };
        story.pod.ended = ended;
        story.pod.created = created.map(at);
        story.namespace = Annotated { asked: injects(namespace), changed: changed.map(at) };
        story.owner = Annotated { asked: injects(owner), changed: None };
        story.injector = injector.map(at);
        let told = story.missing();

        let set = |value: Option<&'static str>| value.filter(|value| !value.is_empty());
        let yes = |value: Option<&'static str>| set(value).is_some_and(|value| value != "False");
        let operator = yes(pod) || set(pod).is_none() && yes(namespace);
        let mistaken = set(pod).is_none() && !yes(namespace) && yes(owner);
        prop_assert_eq!(told.is_some(), (operator || mistaken) && !traces && !ended);
        let Some(told) = told else { return Ok(()) };
        prop_assert_eq!(told.why == Some(Why::OnOwner), mistaken);
        prop_assert!(!told.asked.is_empty() && !told.asked.iter().any(|it| is_no(&it.value)));
        if told.why == Some(Why::PodOlder) {
            prop_assert!(told.created.unwrap() < told.since.unwrap());
        }
        if told.why.is_none() {
            prop_assert!(told.on == Annotation::Namespace && (told.created.is_none() || told.since.is_none()));
        }
    }
}
