//! Requests, and what comes back: bounded in time and in size.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use kube::api::{GetParams, ListParams, VersionMatch, WatchParams};
use kube::client::Body;
use kube::core::{Request, Status, WatchEvent};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::access::Api;
use super::client::innermost;
use super::resource::What;

/// A page of a list has to be there within this time.
const LIST: Duration = Duration::from_secs(60);
/// The head of a watch, and a single object.
pub(super) const ANSWER: Duration = Duration::from_secs(15);
/// The largest page, in bytes.
const MAX_PAGE: usize = 64 << 20;
/// The largest object, in bytes: etcd takes 1.5 MiB.
pub(super) const MAX_OBJECT: usize = 8 << 20;
/// What is looked at of an answer that is an error, in bytes.
const MAX_ERROR: usize = 16 << 10;
/// Longer than this a server's `Retry-After` is not heeded.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// A request that did not do what it should. Its text is the same for everything that failed for the same reason.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The server says no.
    Status {
        /// HTTP status.
        code: u16,
        /// Its words.
        message: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
        /// Where.
        url: String,
    },
    /// The server cannot be asked.
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        why: String,
    },
    /// The server takes too long.
    Slow {
        /// Where.
        url: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The server says something that cannot be understood.
    Garbage {
        /// Where.
        url: String,
        /// What about it.
        why: String,
    },
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { code: 401, url, .. } => write!(
                f,
                "{url} does not accept who obsflow says it is (401): its token or certificate is wrong or has expired"
            ),
            Self::Status { code: 403, url, .. } => write!(f, "{url} forbids it (403)"),
            Self::Status { code: 429, url, .. } => write!(f, "{url} asks for fewer requests (429)"),
            Self::Status { code, url, .. } => write!(f, "{url} answers {code}"),
            Self::Unreachable { url, why } => write!(f, "{url} cannot be reached: {why}"),
            Self::Slow { url, waited } => write!(f, "{url} did not answer within {} s", waited.as_secs()),
            Self::Garbage { url, why } => {
                write!(f, "what {url} answers is not the Kubernetes API's: {why}")
            }
        }
    }
}

impl ApiError {
    /// Whether RBAC says no.
    pub(crate) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Status { code: 403, .. })
    }

    /// Whether the version asked for is too old.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Status { code: 410, .. })
    }

    /// Whether there is no such object.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Status { code: 404, .. })
    }

    /// How long the server wants to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// With the server's own words.
    pub(crate) fn full(&self) -> String {
        match self {
            Self::Status { message, .. } if !message.is_empty() => format!("{self}: {message}"),
            _ => self.to_string(),
        }
    }
}

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    /// The list's own.
    #[serde(default)]
    pub(crate) metadata: PageMeta,
    /// Its objects; an empty list may be written as `null`.
    #[serde(default = "Option::default")]
    pub(crate) items: Option<Vec<T>>,
}

/// Where a page is in its list.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PageMeta {
    /// The version of the whole list.
    pub(crate) resource_version: String,
    /// What asks for the next page; nothing after the last.
    pub(crate) r#continue: String,
}

/// An answer's head.
pub(super) struct Answer {
    body: Body,
}

impl Api {
    /// A page of a list.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        what: &What,
        fields: Option<&str>,
        token: Option<String>,
    ) -> Result<Page<T>, ApiError> {
        let cached = what.cached && token.is_none();
        let params = ListParams {
            field_selector: fields.map(str::to_owned),
            // A cache answers with the whole list, and `kube` leaves version 0 out where there is a limit.
            limit: (!cached).then_some(what.page),
            continue_token: token,
            resource_version: cached.then(|| "0".to_owned()),
            version_match: cached.then_some(VersionMatch::NotOlderThan),
            ..ListParams::default()
        };
        let request = Request::new(what.path);
        let request = if what.metadata {
            request.list_metadata(&params)
        } else {
            request.list(&params)
        };
        let request = request.map_err(|error| self.garbage(error))?;
        let page: Page<T> = self
            .within(LIST, async {
                let answer = self.answer(request.map(Body::from)).await?;
                self.decode(&self.whole(answer, MAX_PAGE).await?)
            })
            .await?;
        if page.metadata.resource_version.is_empty() {
            return Err(self.garbage("a list without a version"));
        }
        Ok(page)
    }

    /// Follows what changes after a version, for this many seconds.
    pub(crate) async fn watch(
        &self,
        what: &What,
        fields: Option<&str>,
        version: &str,
        seconds: u32,
    ) -> Result<Events<'_>, ApiError> {
        let params = WatchParams {
            field_selector: fields.map(str::to_owned),
            timeout: Some(seconds),
            bookmarks: true,
            ..WatchParams::default()
        };
        let request = Request::new(what.path);
        let request = if what.metadata {
            request.watch_metadata(&params, version)
        } else {
            request.watch(&params, version)
        };
        let request = request.map_err(|error| self.garbage(error))?;
        let answer = self.within(ANSWER, self.answer(request.map(Body::from))).await?;
        Ok(Events {
            api: self,
            body: answer.body,
            buffer: BytesMut::new(),
            looked_at: 0,
        })
    }

    /// The metadata of one object.
    pub(crate) async fn metadata<T: DeserializeOwned>(
        &self,
        collection: &str,
        name: &str,
    ) -> Result<T, ApiError> {
        let request = Request::new(collection)
            .get_metadata(name, &GetParams::default())
            .map_err(|error| self.garbage(error))?;
        self.within(ANSWER, async {
            let answer = self.answer(request.map(Body::from)).await?;
            self.decode(&self.whole(answer, MAX_OBJECT).await?)
        })
        .await
    }

    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        work: impl Future<Output = Result<T, ApiError>>,
    ) -> Result<T, ApiError> {
        timeout(limit, work).await.unwrap_or_else(|_| {
            Err(ApiError::Slow {
                url: self.url.clone(),
                waited: limit,
            })
        })
    }

    /// Sends a request; what is no success is an error.
    pub(super) async fn answer(&self, request: hyper::Request<Body>) -> Result<Answer, ApiError> {
        let response = match self.client.send(request).await {
            Ok(response) => response,
            Err(error) => return Err(self.unreachable(&error)),
        };
        let code = response.status().as_u16();
        if response.status().is_success() {
            return Ok(Answer {
                body: response.into_body(),
            });
        }
        let header = response
            .headers()
            .get("retry-after")
            .and_then(|value| retry_after(value.to_str().ok()?, Timestamp::now()));
        let body = Limited::new(response.into_body(), MAX_ERROR).collect().await;
        let text = body.map(|body| body.to_bytes()).unwrap_or_default();
        Err(self.status(code, header, serde_json::from_slice(&text).ok()))
    }

    /// What a server said no with.
    fn status(&self, code: u16, header: Option<Duration>, status: Option<Status>) -> ApiError {
        let details = status.as_ref().and_then(|status| status.details.as_ref());
        let seconds = details
            .map(|details| details.retry_after_seconds)
            .filter(|seconds| *seconds > 0);
        let wait = header.or(seconds.map(|seconds| Duration::from_secs(u64::from(seconds))));
        ApiError::Status {
            code,
            message: status.map(|status| status.message).unwrap_or_default(),
            retry_after: wait.map(|wait| wait.min(MAX_WAIT)),
            url: self.url.clone(),
        }
    }

    pub(super) async fn whole(&self, answer: Answer, limit: usize) -> Result<Bytes, ApiError> {
        match Limited::new(answer.body, limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(self.unreachable(&*error)),
        }
    }

    pub(super) fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, ApiError> {
        serde_json::from_slice(bytes).map_err(|error| self.garbage(error))
    }

    pub(super) fn garbage(&self, why: impl fmt::Display) -> ApiError {
        ApiError::Garbage {
            url: self.url.clone(),
            why: why.to_string(),
        }
    }

    fn unreachable(&self, error: &(dyn Error + 'static)) -> ApiError {
        ApiError::Unreachable {
            url: self.url.clone(),
            why: innermost(error).replace('\n', " "),
        }
    }
}

/// What a watch says.
pub(crate) struct Events<'a> {
    api: &'a Api,
    body: Body,
    buffer: BytesMut,
    /// No line ends before this place.
    looked_at: usize,
}

impl Events<'_> {
    /// The next event; `None` when the server ended the watch.
    pub(crate) async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<WatchEvent<T>>, ApiError> {
        loop {
            if let Some(line) = self.line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return self.api.decode(&line).map(Some);
            }
            if self.buffer.len() > MAX_OBJECT {
                return Err(self
                    .api
                    .garbage(format_args!("an object of more than {MAX_OBJECT} bytes")));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                // Half a line is no event: it comes again with the next watch. Whether a connection that broke means
                // more than that is for the next one to say.
                None | Some(Err(_)) => return Ok(None),
            }
        }
    }

    /// An error that came as an event.
    pub(crate) fn status(&self, code: u16, status: Status) -> ApiError {
        self.api.status(code, None, Some(status))
    }

    fn line(&mut self) -> Option<BytesMut> {
        let fresh = self.buffer.get(self.looked_at..)?;
        let Some(at) = fresh.iter().position(|byte| *byte == b'\n') else {
            self.looked_at = self.buffer.len();
            return None;
        };
        let line = self.buffer.split_to(self.looked_at + at + 1);
        self.looked_at = 0;
        Some(line)
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(value).ok()?.timestamp();
    Duration::try_from(date.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2015-10-21T07:27:30Z".parse().unwrap();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        let date = "Wed, 21 Oct 2015 07:28:00 GMT";
        assert_eq!(retry_after(date, now), Some(Duration::from_secs(30)));
        for none in ["soon", "-3", "Wed, 21 Oct 2015 07:20:00 GMT"] {
            assert_eq!(retry_after(none, now), None, "{none}");
        }
    }
}
