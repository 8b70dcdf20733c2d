//! Servers that are not what they should be: each is one line that says what to do.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::proto::observer::GetFlowsRequest;
use super::{Client, ServerAddress, Tls};
use crate::testing::TempDir;

const LIMIT: Duration = Duration::from_millis(700);

/// An authority, and what it signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    fn sign(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (certificate.der().clone(), key.into())
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        roots
    }
}

/// Serves one connection at a time, each by `serve`, until the test is over.
fn server(serve: impl Fn(std::net::TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            serve(stream);
        }
    });
    address
}

/// TLS that ends after its handshake, for `name`; asks clients for a certificate of `clients`.
fn tls_server(authority: &Authority, name: &str, clients: Option<&Authority>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let roots = Arc::new(clients.roots());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let (certificate, key) = authority.sign(name);
    let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    server(move |stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let mut bytes = [0; 64];
        // What HTTP/2 begins with; the answer is none.
        while matches!(stream.read(&mut bytes), Ok(count) if count > 0) {}
    })
}

fn refused(server: &ServerAddress) -> String {
    let error = match Client::connect(server, LIMIT) {
        Err(error) => error,
        Ok(client) => client
            .flows(GetFlowsRequest::default())
            .next_within(LIMIT * 4)
            .unwrap_err(),
    };
    let error = error.to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

fn plain(address: SocketAddr) -> ServerAddress {
    ServerAddress::parse(&address.to_string()).unwrap()
}

fn with_tls(address: SocketAddr, tls: Tls) -> ServerAddress {
    let mut server = plain(address);
    server.tls = Some(tls);
    server
}

#[test]
fn nobody_is_there() {
    let folder = TempDir::new();
    let socket = ServerAddress::unix(folder.path().join("x.sock"));
    let error = Client::connect(&socket, LIMIT).unwrap_err();
    assert!(error.is_absent());
    assert!(
        error.to_string().contains("start an agent with `obsflow agent`"),
        "{error}"
    );
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(refused(&plain(closed)).contains("refuses connections: nobody listens there"));
}

#[test]
fn what_is_no_server_of_flows_is_said_so() {
    let http = server(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    });
    let error = refused(&plain(http));
    assert!(
        error.contains("is no server of flows") && error.contains("if it serves TLS, write tls://"),
        "{error}"
    );
    let closing = server(drop);
    let error = refused(&plain(closing));
    assert!(
        error.contains("is no server of flows") || error.contains("ended"),
        "{error}"
    );
}

#[test]
fn a_silent_server_is_waited_for_so_long_only() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let tls = with_tls(
        silent.local_addr().unwrap(),
        Tls {
            allow_insecure: true,
            ..Tls::default()
        },
    );
    assert!(refused(&tls).contains("did not answer within 700ms (--timeout)"));
}

#[test]
fn certificates_that_are_not_to_be_trusted_say_what_to_do() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let folder = TempDir::new();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let trusting = |authority: &Authority| Tls {
        ca_files: vec![file("ca.pem", &authority.issuer.pem())],
        server_name: Some("flows.test".to_owned()),
        ..Tls::default()
    };
    let address = tls_server(&theirs, "flows.test", None);
    let error = refused(&with_tls(address, trusting(&ours)));
    assert!(
        error.contains("name the authority with --tls-ca-cert-files"),
        "{error}"
    );
    let other_name = Tls {
        server_name: Some("other.test".to_owned()),
        ..trusting(&theirs)
    };
    let error = refused(&with_tls(address, other_name));
    assert!(
        error.contains("it is for other names; name the one it has with --tls-server-name"),
        "{error}"
    );
    let asking = tls_server(&theirs, "flows.test", Some(&theirs));
    let error = refused(&with_tls(asking, trusting(&theirs)));
    assert!(error.contains("asks for a client's certificate"), "{error}");
    // One that somebody else signed, who is called the same.
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["person.test".to_owned()]).unwrap();
    let foreign = params.signed_by(&key, &ours.issuer).unwrap();
    let shown = Tls {
        client: Some((
            file("person.pem", &foreign.pem()),
            file("person.key", &key.serialize_pem()),
        )),
        ..trusting(&theirs)
    };
    let error = refused(&with_tls(asking, shown));
    assert!(
        error.contains("does not accept the client's certificate"),
        "{error}"
    );
    // It does not speak TLS at all.
    let http = server(|mut stream| {
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let error = refused(&with_tls(http, trusting(&ours)));
    assert!(error.contains("it does not speak TLS; write tcp://"), "{error}");
    // Files that are none.
    let bad = Tls {
        ca_files: vec![file("empty.pem", "")],
        ..Tls::default()
    };
    assert!(refused(&with_tls(address, bad)).contains("no certificate is in it (PEM)"));
    let missing = Tls {
        ca_files: vec![folder.path().join("none.pem")],
        ..Tls::default()
    };
    assert!(refused(&with_tls(address, missing)).contains("--tls-ca-cert-files"));
    let no_name = Tls {
        server_name: Some("not a name".to_owned()),
        ..trusting(&theirs)
    };
    assert!(refused(&with_tls(address, no_name)).contains("is no DNS name and no address"));
}
