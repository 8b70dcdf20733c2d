use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::super::Limits;
use super::*;

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn roots(ca: &CertifiedIssuer<'static, KeyPair>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    roots
}

/// A server's configuration with a certificate for `name` that this authority signed.
fn server(
    ca: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    change: impl FnOnce(&mut CertificateParams),
    client_auth: bool,
) -> ServerConfig {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = if client_auth {
        builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)), provider)
                .build()
                .unwrap(),
        )
    } else {
        builder.with_no_client_auth()
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut config = builder
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// What a handshake with this server shows.
async fn shake(tls: &Tls, config: ServerConfig, host: &str) -> Result<Handshake, NoTls> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = listener.local_addr().unwrap();
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        // Its fate is the client's to tell.
        if let Ok(mut stream) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
            let _ = stream.read(&mut [0]).await;
        }
    };
    let (handshake, ()) = tokio::join!(shake_with(tls, to, host), accept);
    handshake
}

async fn shake_with(tls: &Tls, to: SocketAddr, host: &str) -> Result<Handshake, NoTls> {
    let budget = Budget::new(Limits::default());
    let stream = TcpStream::connect(to).await.unwrap();
    let host = host.parse().map_or_else(|_| Host::Name(host.into()), Host::Ip);
    tls.handshake(&budget, stream, &host, &["h2"])
        .await
        .map(|(handshake, _)| handshake)
}

#[tokio::test]
async fn a_certificate_is_told_with_what_the_node_thinks_of_it() {
    let ca = authority("a test's authority");
    let (trusting, doubting) = (
        Tls::with(roots(&ca)),
        Tls::with(roots(&authority("another authority"))),
    );
    let plain = |_: &mut CertificateParams| {};
    let good = shake(
        &trusting,
        server(&ca, "collector.test", plain, false),
        "collector.test",
    )
    .await
    .unwrap();
    assert_eq!(good.trust, Trust::Good);
    assert_eq!(good.alpn.as_deref(), Some("h2"));
    assert_eq!(good.version, "TLS 1.3");
    assert!(!good.wants_client_certificate);
    assert!(
        good.certificate
            .contains("for collector.test, issued by CN=a test's authority, valid from "),
        "{}",
        good.certificate
    );
    let problem = |handshake: Result<Handshake, NoTls>| match handshake.unwrap().trust {
        Trust::Bad(problem, _) => Some(problem),
        _ => None,
    };
    let unknown = shake(
        &doubting,
        server(&ca, "collector.test", plain, false),
        "collector.test",
    )
    .await;
    assert_eq!(problem(unknown), Some(Problem::UnknownIssuer));
    let other = shake(
        &trusting,
        server(&ca, "other.test", plain, false),
        "collector.test",
    )
    .await;
    assert_eq!(problem(other), Some(Problem::WrongName));
    let old = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 2, 1);
    };
    let expired = shake(
        &trusting,
        server(&ca, "collector.test", old, false),
        "collector.test",
    )
    .await;
    assert_eq!(problem(expired), Some(Problem::Expired));
    let early = |params: &mut CertificateParams| params.not_before = rcgen::date_time_ymd(3000, 1, 1);
    let early = shake(
        &trusting,
        server(&ca, "collector.test", early, false),
        "collector.test",
    )
    .await;
    assert_eq!(problem(early), Some(Problem::NotYetValid));
    let address = shake(&trusting, server(&ca, "127.0.0.1", plain, false), "127.0.0.1")
        .await
        .unwrap();
    assert_eq!(address.trust, Trust::Good);
    assert!(
        address.certificate.contains("for 127.0.0.1"),
        "{}",
        address.certificate
    );
    let nothing = Tls::with(RootCertStore::empty());
    let unchecked = shake(
        &nothing,
        server(&ca, "collector.test", plain, false),
        "collector.test",
    )
    .await;
    assert_eq!(unchecked.unwrap().trust, Trust::NoRoots);
}

#[tokio::test]
async fn a_demand_for_a_client_certificate_is_told() {
    let ca = authority("a test's authority");
    let config = server(&ca, "collector.test", |_| {}, true);
    let handshake = shake(&Tls::with(roots(&ca)), config, "collector.test")
        .await
        .unwrap();
    assert!(handshake.wants_client_certificate);
}

#[tokio::test]
async fn a_server_without_tls_is_told_by_what_it_speaks() {
    let tls = Tls::with(RootCertStore::empty());
    for (answer, expected) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            NoTls::Speaks(Spoken::Http1),
        ),
        (
            &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1],
            NoTls::Speaks(Spoken::Http2),
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 2048]).await;
            stream.write_all(answer).await.unwrap();
        };
        let (found, ()) = tokio::join!(shake_with(&tls, to, "collector.test"), serve);
        assert_eq!(found.unwrap_err(), expected);
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let limits = Limits {
        exchange: Duration::from_millis(50),
        ..Limits::default()
    };
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let host = Host::Name("collector.test".into());
    let result = Tls::with(RootCertStore::empty())
        .handshake(&Budget::new(limits), stream, &host, &[])
        .await;
    assert_eq!(result.err(), Some(NoTls::Silent(Spent::Late(limits.exchange))));
}

#[test]
fn names_of_strangers_are_harmless() {
    assert_eq!(cut("CN=\u{1b}[2J", "nobody"), "CN=\\u{1b}[2J");
    assert_eq!(cut("", "nobody"), "nobody");
    assert_eq!(
        cut(&"\u{e9}".repeat(100), "nobody"),
        format!("{}...", "\\u{e9}".repeat(64))
    );
    assert_eq!(
        describe(&CertificateDer::from(vec![1, 2, 3])),
        "a certificate that cannot be read"
    );
}
