//! `obsflow doctor`: why telemetry does not arrive, by exporter.

use std::io::{self, IsTerminal as _, Write};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::probe::Prober;
use super::{announce, print, until_signal};
use crate::api::convert::WALL;
use crate::api::{Address, Client, Next, Reported};
use crate::cli::{DoctorFormat, EXIT_OK};
use crate::config::{Doctor, WATCH_FOR, Whom};
use crate::diagnose::{Diagnoser, ThisNode, catalogue};
use crate::expect::{self, Expectations};
use crate::model::answer::Answer;
use crate::model::verdict::Report;
use crate::model::{Clock, Mono};
use crate::session::diagnosis::{self, DiagnosisSink, News, Publish};
use crate::session::status::node_name;
use crate::session::{Purpose, Session, Stop, now};
use crate::sinks::doctor::{self, Context, Options, Screen, Selectors, View};

/// How often a wait for an agent looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(200);

/// Runs it; the exit code says what was found.
pub(super) fn run(config: &Doctor) -> anyhow::Result<u8> {
    if let Some(verdict) = config.explain {
        let page = doctor::explain(catalogue::entry(verdict), config.options);
        print(|out| out.write_all(page.as_bytes()))?;
        return Ok(EXIT_OK);
    }
    let stop = Stop::default();
    until_signal(&stop, || {
        if let Some(cluster) = &config.cluster {
            return super::cluster::ask(config, cluster, &stop);
        }
        match agent(&config.whom)? {
            Some(client) => ask(config, client, &stop),
            None => watch(config, &stop),
        }
    })
}

/// The agent to ask, if there is one.
fn agent(whom: &Whom) -> anyhow::Result<Option<Client>> {
    match whom {
        Whom::Own => Ok(None),
        Whom::Agent(address) => Ok(Some(Client::connect_to(address)?)),
        Whom::AgentIfThere => match Client::connect_to(&Address::default()) {
            Err(error) if error.is_absent() => Ok(None),
            other => Ok(Some(other?)),
        },
    }
}

/// Shows what an agent says.
fn ask(config: &Doctor, mut client: Client, stop: &Stop) -> anyhow::Result<u8> {
    let until = config.watch_for.map(|time| Instant::now() + time);
    let is_over = || stop.is_stopped() || until.is_some_and(|until| Instant::now() >= until);
    let mut printer = Printer::new(config);
    if config.watch {
        let mut reports = client.watch()?;
        let mut last = None;
        while !is_over() {
            match reports.next_within(GLANCE)? {
                Next::Nothing => {}
                Next::Ended => {
                    drop(printer.screen.take());
                    let _ = writeln!(io::stderr(), "obsflow: the agent ended");
                    break;
                }
                Next::Report(reported) => {
                    let flow = printer.changed(&Shown::from(&*reported))?;
                    last = Some(reported);
                    if flow.is_break() {
                        break;
                    }
                }
            }
        }
        let Some(reported) = last else {
            anyhow::bail!("the agent made no report before the end");
        };
        return printer.end(&Shown::from(&*reported), Some(Prober::Agent(&mut client)), stop);
    }
    while until.is_some() && !is_over() {
        std::thread::sleep(GLANCE);
    }
    let reported = client.report()?;
    printer.end(&Shown::from(&reported), Some(Prober::Agent(&mut client)), stop)
}

/// Watches this node in this process.
fn watch(config: &Doctor, stop: &Stop) -> anyhow::Result<u8> {
    let mut session = Session::open(&config.live, Purpose::Watch)?;
    let watch_for = config.watch_for.or((!config.watch).then_some(WATCH_FOR));
    let for_how_long = watch_for.map_or_else(
        || "from now on, until Ctrl-C".to_owned(),
        |time| format!("for {}, or until Ctrl-C", doctor::age(time)),
    );
    let _ = writeln!(
        io::stderr(),
        "No agent is asked: watching this node {for_how_long}."
    );
    announce(&session);
    let showing = Showing {
        until: watch_for.map(|time| Instant::now() + time),
        printer: Printer::new(config),
        node: node_name(),
        clock: Clock::now(),
    };
    let mut sink = DiagnosisSink::new(
        Expectations::new(expect::Config {
            rules: config.rules.clone(),
            ..expect::Config::default()
        }),
        Diagnoser::new(diagnosis::config(&session, config.live.payload))
            .with_facts(Box::new(ThisNode::default().with_cluster(session.cluster()))),
        showing,
    )
    .within(&session)
    .following(session.cluster());
    let watched = session.run(stop, &mut sink);
    let (report, _, showing) = sink.finish(now());
    watched?;
    let Showing {
        printer, node, clock, ..
    } = showing;
    // Its hooks are not needed any more.
    drop(session);
    let shown = Shown::Node {
        report: &report,
        context: Context { node: &node, clock },
    };
    printer.end(&shown, Some(Prober::Own), stop)
}

/// A report, and who says it.
pub(super) enum Shown<'a> {
    /// A node.
    Node {
        report: &'a Report,
        context: Context<'a>,
    },
    /// The nodes of a cluster.
    Cluster(&'a Answer),
}

impl<'a> From<&'a Reported> for Shown<'a> {
    fn from(reported: &'a Reported) -> Self {
        Self::Node {
            report: &reported.report,
            context: Context {
                node: &reported.node,
                clock: reported.clock,
            },
        }
    }
}

impl<'a> Shown<'a> {
    fn view(&self, workloads: &Selectors) -> View<'a> {
        match self {
            Self::Node { report, .. } => View::new(report, workloads),
            Self::Cluster(answer) => View::of(answer),
        }
    }

    fn context(&self) -> Context<'a> {
        match self {
            Self::Node { context, .. } => *context,
            Self::Cluster(answer) => Context {
                node: &answer.cluster,
                clock: WALL,
            },
        }
    }
}

/// Shows reports of this process, until the time is over.
struct Showing<'a> {
    until: Option<Instant>,
    printer: Printer<'a>,
    node: String,
    clock: Clock,
}

impl Publish for Showing<'_> {
    fn report(&mut self, report: &Arc<Report>, _: News) -> io::Result<ControlFlow<()>> {
        self.printer.changed(&Shown::Node {
            report,
            context: Context {
                node: &self.node,
                clock: self.clock,
            },
        })
    }

    fn second(&mut self, _: &Diagnoser, _: Mono) -> io::Result<ControlFlow<()>> {
        Ok(match self.until {
            Some(until) if Instant::now() >= until => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        })
    }
}

/// Prints reports as they were asked for.
pub(super) struct Printer<'a> {
    config: &'a Doctor,
    /// Where reports replace each other.
    screen: Option<Screen<io::Stdout>>,
    /// Something was printed.
    printed: bool,
}

impl<'a> Printer<'a> {
    pub(super) fn new(config: &'a Doctor) -> Self {
        let on_screen = config.watch && config.format != DoctorFormat::Json && io::stdout().is_terminal();
        Self {
            config,
            screen: on_screen.then(|| Screen::new(io::stdout())),
            printed: false,
        }
    }

    /// A report that differs from the one before.
    pub(super) fn changed(&mut self, shown: &Shown<'_>) -> io::Result<ControlFlow<()>> {
        if !self.config.watch {
            return Ok(ControlFlow::Continue(()));
        }
        let size = terminal_size::terminal_size();
        let width = match (&self.screen, size) {
            (Some(_), Some((width, _))) => usize::from(width.0),
            _ => self.config.options.width,
        };
        let view = shown.view(&self.config.workloads);
        let text = self.text(&view, shown.context(), width)?;
        if let Some(screen) = &mut self.screen {
            let height = size.map_or(usize::MAX, |(_, height)| usize::from(height.0));
            screen.draw(&text, height)?;
            return Ok(ControlFlow::Continue(()));
        }
        let mut out = io::stdout().lock();
        let between = self.printed && self.config.format != DoctorFormat::Json;
        self.printed = true;
        let rule = if between {
            format!("--- {:.0}\n", shown.context().clock.wall(view.report.at))
        } else {
            String::new()
        };
        let written = out
            .write_all(rule.as_bytes())
            .and_then(|()| out.write_all(text.as_bytes()))
            .and_then(|()| out.flush());
        match written {
            // Nobody reads any more.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ControlFlow::Break(())),
            Err(error) => Err(error),
            Ok(()) => Ok(ControlFlow::Continue(())),
        }
    }

    /// The last report, and the exit code that goes with it.
    pub(super) fn end(
        mut self,
        shown: &Shown<'_>,
        prober: Option<Prober<'_>>,
        stop: &Stop,
    ) -> anyhow::Result<u8> {
        let was_on_screen = self.screen.take().is_some();
        let mut view = shown.view(&self.config.workloads);
        if self.config.probe
            && let Some(prober) = prober
            && view.failing().next().is_some()
        {
            let probes = prober.check_all(&view, stop);
            view = view.with_probes(probes);
        }
        // What was followed line by line was printed as it changed.
        if !self.config.watch || was_on_screen {
            let text = self.text(&view, shown.context(), self.config.options.width)?;
            print(|out| out.write_all(text.as_bytes()))?;
        }
        for line in &view.unmatched {
            let _ = writeln!(io::stderr(), "obsflow: {line}");
        }
        Ok(view.exit_code())
    }

    fn text(&self, view: &View<'_>, context: Context<'_>, width: usize) -> io::Result<String> {
        let options = Options {
            width,
            ..self.config.options
        };
        Ok(match self.config.format {
            DoctorFormat::Json => doctor::json(view, context)?,
            DoctorFormat::Table => doctor::table(view, context, options),
            DoctorFormat::Wide => doctor::wide(view, context, options),
        })
    }
}
