//! Routes a request to its verb and returns the response.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, request::Parts};
use tokio::sync::Semaphore;

use super::{
    discovery,
    request::{Accept, Query, ResourceRequest, Target},
    response::{self, Body},
    status::ApiError,
};
use crate::{
    objects::{Propose, View},
    util::drain::Drain,
};

/// The dependencies of request handling.
pub(crate) struct Api {
    pub(crate) propose: Arc<dyn Propose>,
    pub(crate) view: Arc<dyn View>,
    /// The permits of running watches.
    pub(crate) watches: Arc<Semaphore>,
    pub(crate) drain: Drain,
}

impl Api {
    /// Handles a request of an authenticated client.
    pub(crate) async fn handle(&self, head: &Parts, body: Bytes) -> Response<Body> {
        let response = self.route(head, body).await;
        response.unwrap_or_else(|error| response::error(&error))
    }

    async fn route(&self, head: &Parts, body: Bytes) -> Result<Response<Body>, ApiError> {
        let path = head.uri.path();
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<&str> = path.split('/').skip(1).collect();

        let (group, version, rest) = match segments.as_slice() {
            ["api", "v1", rest @ ..] if !rest.is_empty() => ("", "v1", rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ if head.method == Method::GET || head.method == Method::HEAD => {
                return discovery::get(head, &segments);
            }
            _ => return Err(ApiError::no_such_path()),
        };

        if !discovery::is_known(group, version) {
            return Err(ApiError::no_such_path());
        }

        if let Some(response) = self.absent(group, version, rest, head) {
            return response;
        }

        let target = Target::parse(group, version, rest)?;
        if head.method == Method::GET
            && let Some(described) = self.described_endpoints(&target, &head.headers)
        {
            return Ok(described);
        }

        let response = self.serve(&target, head, &body).await;
        let mut response = response.unwrap_or_else(|error| response::error(&error));
        response::warn_first(&mut response, target.resource.deprecated);
        Ok(response)
    }

    /// Handles a request for a resource.
    async fn serve(
        &self,
        target: &Target,
        head: &Parts,
        body: &[u8],
    ) -> Result<Response<Body>, ApiError> {
        let request = ResourceRequest {
            target,
            query: Query::parse(head.uri.query().unwrap_or_default()),
            accept: Accept::parse(&head.headers)?,
            headers: &head.headers,
            body,
        };

        let writes = head.method != Method::GET && head.method != Method::HEAD;
        if writes && !target.resource.writable {
            return Err(ApiError::method_not_allowed());
        }

        match (&head.method, target.name.as_deref()) {
            (&Method::GET | &Method::HEAD, name) if request.query.flag("watch") => {
                self.watch(&request, name)
            }
            (&Method::GET | &Method::HEAD, Some(name)) if target.allows("get") => {
                self.read(&request, name)
            }
            (&Method::GET | &Method::HEAD, None) => self.list(&request),
            (&Method::POST, None) => self.create(&request).await,
            (&Method::PUT, Some(name)) if target.allows("update") => {
                self.replace(&request, name).await
            }
            (&Method::PATCH, Some(name)) if target.allows("patch") => {
                self.patch(&request, name).await
            }
            (&Method::DELETE, Some(name)) if target.subresource.is_none() => {
                self.delete(&request, name).await
            }
            (&Method::DELETE, None) => self.delete_collection(&request).await,
            _ => Err(ApiError::method_not_allowed()),
        }
    }
}
