//! An API server of Kubernetes as far as obsflow talks to one: lists with pages, watches with versions and bookmarks, single
//! objects, metadata only; scenarios put objects into it and tell it what to do wrong.
//!
//! | file | concern |
//! | --- | --- |
//! | `store` | objects, versions, what changed |
//! | `request` | what a request is about |
//! | `answer` | lists, single objects, refusals |
//! | `events` | Events that are written |
//! | `watch` | watches |
//! | `orders` | what to do wrong, what was asked |
//! | `portforward` | the bytes of connections to pods |
//! | `labels` | label selectors |
//! | `objects` | objects as Kubernetes writes them |
//! | `tls` | HTTPS |

mod answer;
mod events;
mod labels;
pub mod objects;
mod orders;
mod portforward;
mod request;
mod store;
mod tls;
mod watch;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request as HttpRequest, State};
use axum::http::Response;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch as channel;

use orders::Book;
pub use orders::{Order, Request, Standing};
use portforward::Routes;
use request::{Selector, Target};
use store::Store;

/// What every request of the kubeconfig's user carries.
pub const TOKEN: &str = "the-labs-token";

/// What watches are told.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    /// Counts changes.
    changes: u64,
    /// Counts bookmarks for everybody.
    bookmarks: u64,
    /// Counts ends of all watches.
    ended: u64,
}

/// What outlives a server that is stopped and started again.
struct Shared {
    store: Mutex<Store>,
    book: Mutex<Book>,
    routes: Mutex<Routes>,
    news: channel::Sender<News>,
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An API server on loopback; stops when dropped.
pub struct Api {
    shared: Arc<Shared>,
    address: SocketAddr,
    identity: Option<tls::Identity>,
    runtime: Option<Runtime>,
}

impl Api {
    /// Starts one that speaks plain HTTP.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start() -> Result<Self> {
        Self::with(None)
    }

    /// Starts one that speaks HTTPS.
    ///
    /// # Errors
    /// When it cannot listen or no certificate can be made.
    pub fn start_tls() -> Result<Self> {
        Self::with(Some(tls::Identity::new()?))
    }

    fn with(identity: Option<tls::Identity>) -> Result<Self> {
        let mut api = Self {
            shared: Arc::new(Shared {
                store: Mutex::default(),
                book: Mutex::default(),
                routes: Mutex::default(),
                news: channel::Sender::new(News::default()),
            }),
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            identity,
            runtime: None,
        };
        api.resume()?;
        Ok(api)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that clients have to trust.
    #[must_use]
    pub fn certificate(&self) -> Option<&str> {
        self.identity.as_ref().map(|identity| &*identity.pem)
    }

    /// Where it listens, as a kubeconfig has it.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.identity.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Goes away: nobody listens, and connections that are open end.
    pub fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(std::time::Duration::from_secs(5));
        }
    }

    /// Comes back under the same address, with the same objects.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn resume(&mut self) -> Result<()> {
        self.stop();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lab-kube")
            .enable_all()
            .build()?;
        let listener = runtime
            .block_on(TcpListener::bind(self.address))
            .with_context(|| format!("cannot listen on {}", self.address))?;
        self.address = listener.local_addr()?;
        let app = Router::new().fallback(serve).with_state(Arc::clone(&self.shared));
        match self.identity.clone() {
            None => {
                runtime.spawn(async move { axum::serve(listener, app).await });
            }
            Some(identity) => {
                let tls = tls::Tls { listener, identity };
                runtime.spawn(async move { axum::serve(tls, app).await });
            }
        }
        self.runtime = Some(runtime);
        Ok(())
    }

    /// Writes a kubeconfig that leads here, with the user's token, into a folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("kubeconfig");
        let mut cluster = json!({ "server": self.url() });
        if let Some(pem) = self.certificate() {
            let ca = folder.join("ca.crt");
            fs::write(&ca, pem)?;
            cluster["certificate-authority"] = json!(ca);
        }
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [{ "name": "lab", "cluster": cluster }],
            "users": [{ "name": "obsflow", "user": { "token": TOKEN } }],
            "contexts": [{ "name": "lab", "context": { "cluster": "lab", "user": "obsflow" } }]
        });
        fs::write(&path, config.to_string())?;
        Ok(path)
    }

    /// Puts an object in, in place of the one of its name if there is one. Watches hear of it.
    ///
    /// # Errors
    /// When it is no object that the lab knows.
    pub fn apply(&self, object: Value) -> Result<()> {
        self.shared.store().apply(object)?;
        self.tell(|news| news.changes += 1);
        Ok(())
    }

    /// Takes an object out, whatever else it says. Whether there was one.
    ///
    /// # Errors
    /// When it is no object that the lab knows.
    pub fn delete(&self, object: &Value) -> Result<bool> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let collection = store::collection(text("/apiVersion"), text("/kind"))?;
        let key = (
            text("/metadata/namespace").to_owned(),
            text("/metadata/name").to_owned(),
        );
        let was_there = self.shared.store().delete(&collection, &key);
        self.tell(|news| news.changes += 1);
        Ok(was_there)
    }

    /// Says where a port of a pod leads when it is forwarded; without an address nobody listens there.
    pub fn route(&self, namespace: &str, pod: &str, port: u16, to: Option<SocketAddr>) {
        let of = (namespace.to_owned(), pod.to_owned(), port);
        let mut routes = self.shared.routes();
        match to {
            Some(address) => drop(routes.insert(of, address)),
            None => drop(routes.remove(&of)),
        }
    }

    /// Forgets what changed: watches from before are told so, and have to list again.
    pub fn compact(&self) {
        self.shared.store().compact();
        self.tell(|news| news.ended += 1);
    }

    /// Sends every watch a bookmark with the newest version.
    pub fn bookmark(&self) {
        self.tell(|news| news.bookmarks += 1);
    }

    /// Ends every watch.
    pub fn end_watches(&self) {
        self.tell(|news| news.ended += 1);
    }

    /// Something to do wrong from now on.
    pub fn order(&self, order: Standing) {
        self.shared.book().order(order);
    }

    /// Does everything right again.
    pub fn behave(&self) {
        self.shared.book().withdraw();
    }

    /// Every request until now.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.book().requests()
    }

    /// Every Event that is in it.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        let store = self.shared.store();
        let all = store.list(events::COLLECTION, None);
        all.map(|(_, event)| Value::clone(event)).collect()
    }

    /// The version of everything that is in it.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.shared.store().version()
    }

    fn tell(&self, what: impl FnOnce(&mut News)) {
        self.shared.news.send_modify(what);
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers a request.
async fn serve(State(shared): State<Arc<Shared>>, http: HttpRequest) -> Response<Body> {
    let (parts, body) = http.into_parts();
    let target = Target::parse(parts.uri.path());
    let request = request::read(&parts, target.as_ref());
    let order = shared.book().take(request.clone());
    match &order {
        Some(Order::Status(code, retry_after)) => return answer::refused(*code, *retry_after, &request),
        Some(Order::Garbage) => return Response::new(Body::from("<html><title>Welcome</title></html>\n")),
        Some(Order::Hang) => match watch::never().await {},
        Some(Order::Slow(time)) => tokio::time::sleep(*time).await,
        _ => {}
    }
    let authorization = request.headers.get("authorization").map(String::as_str);
    if authorization != Some(&format!("Bearer {TOKEN}")) {
        return answer::refused(401, None, &request);
    }
    let Some(target) = target else {
        let message = "the server could not find the requested resource";
        return answer::answer(404, &answer::status(404, "NotFound", message, None));
    };
    let selector = match Selector::of(&target, &request) {
        Ok(selector) => selector,
        Err(message) => return answer::answer(400, &answer::status(400, "BadRequest", &message, None)),
    };
    if target.subresource.as_deref() == Some("portforward") {
        return portforward::forward(&shared.routes(), &target, &request, parts);
    }
    match &*request.verb {
        "list" => answer::list(&shared, &target, &request, &selector),
        "watch" => watch::watch(&shared, &target, &request, selector, order),
        "get" => answer::get(&shared, &target, &selector),
        "create" | "patch" if target.collection == events::COLLECTION => {
            events::write(&shared, &target, &request, body).await
        }
        verb => {
            let message = format!("the lab's API server cannot {verb}");
            answer::answer(405, &answer::status(405, "MethodNotAllowed", &message, None))
        }
    }
}
