use std::io;
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use log::LevelFilter;
use obsflow_ebpf::abi::conn::outcome;

use super::*;
use crate::cli::AttachArg;
use crate::config::Live;
use crate::kernel::cgroupfs::CgroupFs;
use crate::model::Observation;
use crate::session::{Purpose, Sink, Stop};
use crate::testing::TempCgroup;

/// A watched port that no other test uses: connections are seen on the whole machine.
const NOBODYS: u16 = 7;
const HOUR: Duration = Duration::from_secs(3600);

fn live(cgroup: &TempCgroup) -> Live {
    Live {
        ports: [NOBODYS].into(),
        dns_ports: [53].into(),
        tunnel_ports: [].into(),
        ring_bytes: 1 << 20,
        attach: AttachArg::Path(cgroup.0.clone()),
        pod_logs: "/nonexistent".into(),
        cluster: crate::cluster::Config::default(),
        hooks: vec![Hook::Tcp],
        without_hooks: vec![Hook::Drops, Hook::Processes, Hook::Cgroups],
        without_btf: false,
        dns_timeout: HOUR,
        log_level: LevelFilter::Off,
        kernel_log: LevelFilter::Off,
        payload: false,
    }
}

/// Runs until enough was said of a port.
struct Until<'a> {
    port: u16,
    enough: &'a dyn Fn(&[String]) -> bool,
    said: Vec<String>,
    end: Instant,
}

impl Sink for Until<'_> {
    fn observations(&mut self, observations: &[Observation]) -> io::Result<ControlFlow<()>> {
        let port = format!(":{}", self.port);
        let texts = observations.iter().map(|observation| format!("{observation:?}"));
        self.said.extend(texts.filter(|text| text.contains(&port)));
        self.idle()
    }

    fn idle(&mut self) -> io::Result<ControlFlow<()>> {
        assert!(
            Instant::now() < self.end,
            "of port {}: {:#?}",
            self.port,
            self.said
        );
        Ok(if (self.enough)(&self.said) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        })
    }
}

fn run(session: &mut Session, port: u16, enough: &dyn Fn(&[String]) -> bool) {
    let mut sink = Until {
        port,
        enough,
        said: Vec::new(),
        end: Instant::now() + Duration::from_secs(20),
    };
    session.run(&Stop::default(), &mut sink).unwrap();
}

fn attempts(session: &Session, port: u16) -> u64 {
    let counts = session.counters().connections();
    let ours = counts
        .iter()
        .filter(|((_, at, what), _)| *at == port && *what == outcome::ATTEMPT);
    ours.map(|(_, count)| count).sum()
}

#[test]
fn ports_join_and_leave_while_programs_run() {
    let mount = CgroupFs::find(Path::new("/proc/self/mounts")).unwrap();
    let cgroup = TempCgroup::new(mount.path());
    let mut session = Session::open(&live(&cgroup), Purpose::Watch).unwrap();
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    let port = to.port();
    let old = TcpStream::connect(to).unwrap();
    assert_eq!(attempts(&session, port), 0);

    session.watch_wanted(&[port]);
    session.watch_wanted(&[port]);
    assert_eq!(session.watched_ports(), [NOBODYS, port].into());
    let new = TcpStream::connect(to).unwrap();
    assert_eq!(attempts(&session, port), 1);
    run(&mut session, port, &|said| {
        let any = |word: &str| said.iter().any(|text| text.contains(word));
        any("Adopted") && any("Established")
    });
    assert_eq!(session.connections(), 2);

    session.set_ports(&[NOBODYS].into()).unwrap();
    assert_eq!(session.watched_ports(), [NOBODYS].into());
    assert_eq!(session.connections(), 0);
    let _unseen = TcpStream::connect(to).unwrap();
    assert_eq!(attempts(&session, port), 1);
    drop((old, new));

    // And back again, with what is open by now.
    session.set_ports(&[NOBODYS, port].into()).unwrap();
    assert_eq!(session.connections(), 1);
}
