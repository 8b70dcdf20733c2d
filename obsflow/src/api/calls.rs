//! Calls as they come in: each is noted at its connection, and what it asks has to come within a time and within an amount of
//! memory that all of a listener share.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Sleep;
use tonic::Status as Refusal;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tower::{Layer, Service};

use super::connection::Guest;
use super::places::Call;

/// How long a request may take to come in.
const ARRIVAL: Duration = Duration::from_secs(10);
/// What requests may have in memory while they come in, of one listener, in bytes.
const MAX_ARRIVING: usize = 8 << 20;
/// Calls that go on asking. Their messages are short, and one is answered before the next is read.
const STREAMS: &str = "/grpc.reflection.";

/// See the module; for one listener.
#[derive(Clone, Debug)]
pub(super) struct Arrivals {
    bytes: Arc<AtomicUsize>,
    limit: Duration,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            bytes: Arc::default(),
            limit: ARRIVAL,
        }
    }
}

impl<S> Layer<S> for Arrivals {
    type Service = Noting<S>;

    fn layer(&self, inner: S) -> Noting<S> {
        Noting {
            inner,
            arrivals: self.clone(),
        }
    }
}

/// What is asked by way of [`Arrivals`].
#[derive(Clone, Debug)]
pub(super) struct Noting<S> {
    inner: S,
    arrivals: Arrivals,
}

impl<S> Service<Request<Body>> for Noting<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = request.extensions().get::<Guest>().map(Guest::begin);
        let is_stream = request.uri().path().starts_with(STREAMS);
        let request = request.map(|body| {
            if is_stream {
                body
            } else {
                Body::new(Arriving {
                    body,
                    held: 0,
                    arrivals: self.arrivals.clone(),
                    deadline: Box::pin(tokio::time::sleep(self.arrivals.limit)),
                })
            }
        });
        let answered = self.inner.call(request);
        Box::pin(async move {
            let response = answered.await?;
            Ok(response.map(|body| Body::new(Answering { body, _call: call })))
        })
    }
}

/// A request that comes in.
struct Arriving {
    body: Body,
    /// Bytes of it so far.
    held: usize,
    arrivals: Arrivals,
    deadline: Pin<Box<Sleep>>,
}

impl Arriving {
    fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.held += bytes;
        let before = self.arrivals.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > MAX_ARRIVING {
            return Err(Refusal::resource_exhausted(
                "too many long requests are on their way: ask again",
            ));
        }
        Ok(())
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.arrivals.bytes.fetch_sub(self.held, Ordering::Relaxed);
    }
}

impl hyper::body::Body for Arriving {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            ready!(self.deadline.as_mut().poll(cx));
            let limit = self.arrivals.limit;
            let message = format!("the request was not there within {limit:?}");
            return Poll::Ready(Some(Err(Refusal::deadline_exceeded(message))));
        };
        let Some(Ok(frame)) = frame else {
            return Poll::Ready(frame);
        };
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        Poll::Ready(Some(self.hold(bytes).map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer, with which a call ends.
struct Answering {
    body: Body,
    _call: Option<Call>,
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = Refusal;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Refusal>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, StreamBody};
    use tokio_stream::StreamExt as _;

    use super::*;

    /// The first of two halves; the second never comes.
    fn half(bytes: usize) -> Body {
        let half = Ok::<_, Refusal>(Frame::data(Bytes::from(vec![0; bytes])));
        Body::new(StreamBody::new(
            tokio_stream::once(half).chain(tokio_stream::pending()),
        ))
    }

    /// What reads whole requests says.
    async fn read(arrivals: &Arrivals, path: &str, body: Body) -> Result<(), Refusal> {
        let mut service = arrivals.layer(tower::service_fn(async |request: Request<Body>| {
            request.into_body().collect().await?;
            Ok::<_, Refusal>(Response::new(Body::empty()))
        }));
        let request = Request::builder().uri(path).body(body).unwrap();
        service.call(request).await.map(drop)
    }

    #[tokio::test]
    async fn half_a_request_is_waited_for_as_long_as_a_request_may_take() {
        let arrivals = Arrivals {
            limit: Duration::from_millis(1),
            ..Arrivals::default()
        };
        let refusal = read(&arrivals, "/x/Y", half(1)).await.unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::DeadlineExceeded);
        // Who may go on asking is not asked to hurry.
        let stream = read(&arrivals, "/grpc.reflection.v1.ServerReflection/X", half(1));
        let waited = tokio::time::timeout(Duration::from_millis(20), stream).await;
        assert!(waited.is_err());
    }

    #[tokio::test]
    async fn half_requests_take_no_more_than_their_share() {
        let arrivals = Arrivals::default();
        let first = tokio::spawn({
            let arrivals = arrivals.clone();
            async move { read(&arrivals, "/x/Y", half(MAX_ARRIVING - 10)).await }
        });
        while arrivals.bytes.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let refusal = read(&arrivals, "/x/Y", half(11)).await.unwrap_err();
        assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
        assert!(read(&arrivals, "/x/Y", Body::empty()).await.is_ok());
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        assert_eq!(arrivals.bytes.load(Ordering::Relaxed), 0);
    }
}
