//! Servers that are none of obsflow's.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use tokio::net::UnixListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::remote::show;
use crate::api::hubble::proto::observer::observer_server::{Observer, ObserverServer};
use crate::api::hubble::proto::observer::{
    GetAgentEventsRequest, GetAgentEventsResponse, GetDebugEventsRequest, GetDebugEventsResponse,
    GetFlowsRequest, GetFlowsResponse, GetNamespacesRequest, GetNamespacesResponse, GetNodesRequest,
    GetNodesResponse, ServerStatusRequest, ServerStatusResponse,
};
use crate::api::hubble::{Client, ServerAddress, VERSION, VERSION_HEADER, message};
use crate::cli;
use crate::config::{Command, Observe};
use crate::flow::samples;
use crate::model::observation::{DnsMessage, What};
use crate::session::Stop;
use crate::testing::TempDir;

/// Answers every question with two answers of DNS, whatever is asked for, and remembers the questions.
#[derive(Clone)]
struct Server {
    version: &'static str,
    asked: Arc<Mutex<Vec<GetFlowsRequest>>>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Server {
    fn says<T>(&self, answer: T) -> Response<T> {
        let mut response = Response::new(answer);
        let version = self.version.parse().unwrap();
        response.metadata_mut().insert(VERSION_HEADER, version);
        response
    }
}

#[tonic::async_trait]
impl Observer for Server {
    type GetFlowsStream = Answers<GetFlowsResponse>;
    type GetAgentEventsStream = Answers<GetAgentEventsResponse>;
    type GetDebugEventsStream = Answers<GetDebugEventsResponse>;

    async fn get_flows(
        &self,
        request: Request<GetFlowsRequest>,
    ) -> Result<Response<Self::GetFlowsStream>, Status> {
        self.asked.lock().unwrap().push(request.into_inner());
        let answers = [samples::answer(), samples::nxdomain()].map(answer);
        Ok(self.says(Box::pin(tokio_stream::iter(answers.map(Ok)))))
    }

    async fn server_status(
        &self,
        _: Request<ServerStatusRequest>,
    ) -> Result<Response<ServerStatusResponse>, Status> {
        Ok(self.says(ServerStatusResponse::default()))
    }

    async fn get_agent_events(
        &self,
        _: Request<GetAgentEventsRequest>,
    ) -> Result<Response<Self::GetAgentEventsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_debug_events(
        &self,
        _: Request<GetDebugEventsRequest>,
    ) -> Result<Response<Self::GetDebugEventsStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_nodes(&self, _: Request<GetNodesRequest>) -> Result<Response<GetNodesResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_namespaces(
        &self,
        _: Request<GetNamespacesRequest>,
    ) -> Result<Response<GetNamespacesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

fn answer(message: DnsMessage) -> GetFlowsResponse {
    message::response(&samples::response(&samples::dns(What::DnsResponse {
        message,
        latency: None,
    })))
}

/// What a server of this version is asked, and what is printed.
fn observe(version: &'static str, arguments: &[&str]) -> anyhow::Result<(GetFlowsRequest, String)> {
    let folder = TempDir::new();
    let path = folder.path().join("x.sock");
    let server = Server {
        version,
        asked: Arc::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let _guard = runtime.enter();
    let incoming = UnixListenerStream::new(UnixListener::bind(&path).unwrap());
    let serving = tonic::transport::Server::builder()
        .add_service(ObserverServer::new(server.clone()))
        .serve_with_incoming(incoming);
    runtime.spawn(serving);
    let config = config(arguments);
    let mut out = Vec::new();
    std::thread::scope(|scope| {
        // The client has a runtime of its own.
        let asking = scope.spawn(|| {
            let client = Client::connect(&ServerAddress::unix(path), Duration::from_secs(20))?;
            show(&config, &client, &Stop::default(), &mut out)
        });
        asking.join().unwrap()
    })?;
    let asked = server.asked.lock().unwrap().remove(0);
    Ok((asked, String::from_utf8(out).unwrap()))
}

fn config(arguments: &[&str]) -> Box<Observe> {
    let line = [
        "obsflow",
        "observe",
        "--silent-errors",
        "--server",
        "unix:///x.sock",
    ];
    let line = line.iter().chain(arguments).map(std::ffi::OsString::from);
    match cli::parse_from(line, Timestamp::UNIX_EPOCH).unwrap() {
        Command::Observe(config) => config,
        other => panic!("{other:?}"),
    }
}

const OTHER: &str = "1.19.4";

#[test]
fn what_others_do_not_know_hides_nothing_of_theirs() {
    for arguments in [
        &["--not", "--rcode", "NXDOMAIN"][..],
        &["--denylist", r#"{"obsflow":{"rcode":[3]},"protocol":["dns"]}"#],
    ] {
        let (asked, printed) = observe(OTHER, arguments).unwrap();
        // To them it would be a filter of nothing, which is one that matches everything.
        assert_eq!(asked.blacklist, [], "{arguments:?}");
        assert_eq!(printed.lines().count(), 1, "{printed}");
        assert!(!printed.contains("Non-Existent"), "{printed}");
        let (asked, printed) = observe(VERSION, arguments).unwrap();
        assert_eq!(asked.blacklist.len(), 1);
        assert_eq!(printed.lines().count(), 2, "{printed}");
    }
    // Others that are left out go with it.
    let deny = r#"{"protocol":["dns"]} {"obsflow":{"errno":[111]}}"#;
    let (asked, _) = observe(OTHER, &["--denylist", deny]).unwrap();
    assert_eq!(asked.blacklist.len(), 1);
    assert!(asked.blacklist[0].obsflow.is_none());
}

#[test]
fn what_this_command_selects_by_is_asked_for() {
    let (_, printed) = observe(OTHER, &["--rcode", "NXDOMAIN"]).unwrap();
    assert_eq!(printed.lines().count(), 1, "{printed}");
    assert!(printed.contains("Non-Existent"), "{printed}");
    let masked = |arguments: &[&str]| {
        let (asked, _) = observe(OTHER, &[arguments, &["--use-default-field-masks"]].concat()).unwrap();
        asked.field_mask.is_some()
    };
    assert!(masked(&["--protocol", "dns"]));
    assert!(!masked(&["--rcode", "3"]));
    let json = ["-o", "json", "--field-mask", "source", "--rcode", "3"];
    let error = observe(OTHER, &json).unwrap_err().to_string();
    assert!(error.contains("leave --field-mask out"), "{error}");
    assert!(observe(VERSION, &json).is_ok());
}
