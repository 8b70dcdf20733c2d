//! What obsflow writes, when it is told to: Events.

use std::fmt;

use kube::api::{GetParams, Patch, PatchParams, PostParams};
use kube::client::Body;
use kube::core::Request;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::access::Api;
use super::request::{ANSWER, ApiError, MAX_OBJECT};

impl Api {
    /// Makes an object.
    pub(crate) async fn create(&self, collection: &str, object: &impl Serialize) -> Result<(), ApiError> {
        let body = serde_json::to_vec(object).map_err(|error| self.garbage(error))?;
        self.done(Request::new(collection).create(&PostParams::default(), body))
            .await
    }

    /// Changes some fields of an object (RFC 7386).
    pub(crate) async fn merge(&self, collection: &str, name: &str, fields: Value) -> Result<(), ApiError> {
        self.done(Request::new(collection).patch(name, &PatchParams::default(), &Patch::Merge(fields)))
            .await
    }

    /// One object.
    pub(crate) async fn object<T: DeserializeOwned>(
        &self,
        collection: &str,
        name: &str,
    ) -> Result<T, ApiError> {
        let request = self.good(Request::new(collection).get(name, &GetParams::default()))?;
        self.within(ANSWER, async {
            let answer = self.answer(request).await?;
            self.decode(&self.whole(answer, MAX_OBJECT).await?)
        })
        .await
    }

    /// Sends a request whose answer says nothing new; it is read, so that the connection can be used again.
    async fn done(
        &self,
        request: Result<hyper::Request<Vec<u8>>, impl fmt::Display>,
    ) -> Result<(), ApiError> {
        let request = self.good(request)?;
        self.within(ANSWER, async {
            let answer = self.answer(request).await?;
            self.whole(answer, MAX_OBJECT).await.map(drop)
        })
        .await
    }

    fn good(
        &self,
        request: Result<hyper::Request<Vec<u8>>, impl fmt::Display>,
    ) -> Result<hyper::Request<Body>, ApiError> {
        Ok(request.map_err(|error| self.garbage(error))?.map(Body::from))
    }
}
