//! What breaks.

use anyhow::Result;

use super::Demo;
use crate::app::{self, Env, Injection};
use crate::case::Case;
use crate::fault::Broken;
use crate::lab::pod::{Pod, PodSpec};
use crate::process::Proc;
use crate::scenario;
use crate::server::mesh::{Level, Sidecar};
use crate::server::otlp::{Collector, GRPC, HTTP, Sdk, Setup, Transport};
use crate::server::tls::{Authority, TlsCollector};
use crate::wait::SOON;

const COLLECTOR: &str = "otel-collector.observability";

/// All of them. What takes its time begins first.
pub(super) fn all(demo: &mut Demo<'_>) -> Result<()> {
    let user = demo.lab.pod(PodSpec::new("users/browser").node(1))?;
    let (gallery, _running) = gallery(demo, &user)?;
    let mut collector = Collector::start(demo.lab, "observability", "otel-collector")?;

    let checkout = refused(demo, &mut collector)?;
    wrong_name(demo)?;
    well(demo, &user)?;
    black_hole(demo)?;
    certificate(demo)?;
    wrong_path(demo)?;
    sidecar(demo)?;
    gateway(demo)?;

    demo.tell(
        "Initialized, and silent",
        "A Go service serves its users and says that OpenTelemetry is initialized. No packet ever leaves.",
    );
    demo.show(&[(&gallery, "silent")])?;
    healed(demo, &checkout, &mut collector)
}

fn url(host: &str, port: u16) -> String {
    format!("http://{host}:{port}")
}

/// A Go service that forgets its exporters, and somebody who uses it.
fn gallery(demo: &Demo<'_>, user: &Pod) -> Result<(Pod, [Proc; 2])> {
    let pod = demo.lab.pod("apps/image-gallery")?;
    let env = Env::new()
        .set("OTEL_SERVICE_NAME", "image-gallery")
        .set("OTEL_METRIC_EXPORT_INTERVAL", "10000")
        .set(
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://victoria-traces.observability:10428/insert/opentelemetry/v1/traces",
        )
        .set(
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "http://victoria-metrics.observability:8428/opentelemetry/v1/metrics",
        );
    let service = app::image_gallery(&pod, &env, true)?;
    let visitor = app::visitor(user, &pod, 200)?;
    Ok((pod, [service, visitor]))
}

/// Goes on failing.
fn refused(demo: &mut Demo<'_>, collector: &mut Collector) -> Result<Case> {
    let endpoint = url(COLLECTOR, HTTP);
    let case = Case::new(demo.lab, "shop/checkout", Sdk::Rust, Transport::Http, &endpoint)?.started()?;
    case.exported("ok")?;
    collector.stop();
    demo.tell(
        "Refused",
        "The Collector has ended; its pod and its name are still there.",
    );
    demo.show(&[(&case.pod, "refused")])?;
    Ok(case)
}

fn wrong_name(demo: &mut Demo<'_>) -> Result<()> {
    demo.tell(
        "A name that nobody knows",
        "The endpoint ends with .svc, and no search domain of the pod's resolv.conf completes it.",
    );
    let pod = PodSpec::new("apps/xplane-image-gallery").search("apps.svc.cluster.local ec2.internal");
    let endpoint = url("otel-collector.observability.svc", HTTP);
    let case = Case::new(demo.lab, pod, Sdk::Rust, Transport::Http, &endpoint)?.started()?;
    demo.show(&[(&case.pod, "dns-nxdomain")])
}

fn well(demo: &mut Demo<'_>, user: &Pod) -> Result<()> {
    demo.tell(
        "All is well",
        "A Flask service under gunicorn, instrumented from outside, exports three signals over HTTP.",
    );
    let _agent = Collector::start(demo.lab, "ao", "splunk-otel-collector-agent")?;
    let pod = demo
        .lab
        .pod(PodSpec::new("cxtm/cxtm-webcron").container("webcron"))?;
    let env = Env::otlp("splunk-otel-collector-agent.ao", Transport::Http);
    let _service = app::flask(&pod, Injection::Command, &env)?;
    let _visitor = app::visitor(user, &pod, 50)?;
    demo.show(&[(&pod, "healthy")])
}

fn black_hole(demo: &mut Demo<'_>) -> Result<()> {
    demo.tell(
        "A black hole",
        "What is sent to this Collector vanishes on the other node, and nothing comes back.",
    );
    let far = Collector::start(demo.lab, "observability", "otel-far")?;
    let hole = scenario::black_hole(demo.lab, &far.pod)?;
    let endpoint = url("otel-far.observability", GRPC);
    let case = Case::new(demo.lab, "shop/payment", Sdk::Rust, Transport::Grpc, &endpoint)?.started()?;
    demo.show(&[(&case.pod, "blackholed")])?;
    hole.into_iter().try_for_each(Broken::heal)
}

fn certificate(demo: &mut Demo<'_>) -> Result<()> {
    demo.tell(
        "A certificate that nobody knows",
        "The endpoint is https; the exporter does not have the authority of the Collector's certificate.",
    );
    let authority = Authority::new(demo.lab, "authority")?;
    let tls = TlsCollector::start(demo.lab, "otel-tls", &authority, None)?;
    let endpoint = format!("https://{}:{HTTP}", tls.collector.name);
    let case = Case::new(demo.lab, "shop/shipping", Sdk::Python, Transport::Http, &endpoint)?.started()?;
    demo.show(&[(&case.pod, "tls-failed")])
}

fn wrong_path(demo: &mut Demo<'_>) -> Result<()> {
    demo.tell(
        "A wrong path",
        "VictoriaTraces takes OTLP at /insert/opentelemetry/v1/traces; the SDK makes it /v1/traces.",
    );
    let setup = Setup::http(&[10_428]).option("paths=victoria");
    let _victoria = Collector::start_as(demo.lab, "observability", "victoria-traces", setup)?;
    let endpoint = url("victoria-traces.observability", 10_428);
    let case = Case::new(demo.lab, "shop/catalog", Sdk::Rust, Transport::Http, &endpoint)?.started()?;
    demo.show(&[(&case.pod, "rejected")])
}

fn sidecar(demo: &mut Demo<'_>) -> Result<()> {
    demo.tell(
        "Behind a mesh sidecar",
        "The sidecar takes the application's connection; Jaeger's collector has ended and refuses its own.",
    );
    let mut jaeger = Collector::start(demo.lab, "tracing", "jaeger")?;
    let name = "jaeger-collector.tracing.svc.cluster.local";
    // A mesh of IPv4.
    demo.lab.dns().add(name, &[jaeger.pod.v4.into()])?;
    let endpoint = url(name, HTTP);
    let case = Case::new(demo.lab, "mesh/reviews", Sdk::Rust, Transport::Http, &endpoint)?;
    let mut sidecar = Sidecar::inject(demo.lab, &case.pod, &[GRPC, HTTP], Level::Http)?;
    sidecar.start()?;
    let case = case.started()?;
    case.exported("ok")?;
    jaeger.stop();
    demo.show(&[(&case.pod, "refused")])
}

fn gateway(demo: &mut Demo<'_>) -> Result<()> {
    demo.tell(
        "The second hop of a gateway",
        "The application exports to Alloy, Alloy to Tempo, and Tempo has ended.",
    );
    let mut tempo = Collector::start(demo.lab, "observability", "tempo")?;
    let pod = demo
        .lab
        .pod(PodSpec::new("observability/alloy").container("alloy"))?;
    let traces = format!("traces=http://{}:{GRPC}", tempo.name);
    let alloy = Collector::run(demo.lab, pod, Setup::default().option(traces))?;
    let name = "alloy.observability.svc.cluster.local";
    demo.lab.dns().add(name, &alloy.pod.ips())?;
    let case = Case::new(
        demo.lab,
        "shop/cart",
        Sdk::Rust,
        Transport::Http,
        &url(name, HTTP),
    )?
    .started()?;
    tempo.wait_for(2, SOON, |_| true)?;
    tempo.stop();
    demo.show(&[(&case.pod, "healthy"), (&alloy.pod, "refused")])
}

/// The first one again.
fn healed(demo: &mut Demo<'_>, checkout: &Case, collector: &mut Collector) -> Result<()> {
    demo.tell(
        "Healed",
        "The first pod is a minute old soon, and no longer starting: the agent opens its verdict.",
    );
    demo.log(&checkout.pod, "verdict opened")?;
    demo.show(&[(&checkout.pod, "refused")])?;
    collector.restart()?;
    println!("\nThe Collector is back: the agent closes the verdict.\n");
    demo.log(&checkout.pod, "verdict closed")?;
    demo.show(&[(&checkout.pod, "healthy")])
}
