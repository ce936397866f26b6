//! Routes a request to its verb and returns the response.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, request::Parts};
use tokio::sync::Semaphore;

use super::{
    audit::Entry,
    authenticate::Auth,
    authorize::action,
    discovery,
    request::{Accept, Query, ResourceRequest, Target},
    response::{self, Body},
    reviews,
    status::ApiError,
};
use crate::{
    access::{Action, Index, User},
    objects::{Propose, View},
    telemetry::AuditLog,
    util::drain::Drain,
};

/// The dependencies of request handling.
pub(crate) struct Api {
    pub(crate) propose: Arc<dyn Propose>,
    pub(crate) view: Arc<dyn View>,
    /// The index over roles and bindings.
    pub(crate) index: Index,
    /// The credentials that are accepted.
    pub(crate) auth: Auth,
    /// The log of writes, if one is kept.
    pub(crate) audit: Option<Arc<AuditLog>>,
    /// The permits of running watches.
    pub(crate) watches: Arc<Semaphore>,
    pub(crate) drain: Drain,
}

impl Api {
    /// Makes the API over a cluster.
    pub(crate) fn new(
        propose: Arc<dyn Propose>,
        view: Arc<dyn View>,
        auth: Auth,
        watches: Arc<Semaphore>,
        drain: Drain,
    ) -> Self {
        let index = Index::new(view.clone());
        Self {
            propose,
            view,
            index,
            auth,
            audit: None,
            watches,
            drain,
        }
    }

    /// Handles a request of this user, if the user may make it.
    pub(crate) async fn handle(&self, user: User, head: &Parts, body: Bytes) -> Response<Body> {
        let path = head.uri.path();
        let path = path.strip_suffix('/').unwrap_or(path);
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let action = action(head, &segments);

        let audited = self.audit.as_ref().and_then(|log| {
            let entry = Entry::begin(&user, head, &action)?;
            Some((log, entry))
        });
        let response = self.route(user, &action, head, &segments, body).await;
        let response =
            response.unwrap_or_else(|error| response::error(&error, Some(&head.headers)));
        if let Some((log, entry)) = audited {
            log.append(entry.finish(&response));
        }
        response
    }

    async fn route(
        &self,
        user: User,
        action: &Action,
        head: &Parts,
        segments: &[&str],
        body: Bytes,
    ) -> Result<Response<Body>, ApiError> {
        Query::parse(head.uri.query().unwrap_or_default()).check_timeout()?;
        let user = self.impersonate(user, head)?;
        self.authorize(&user, action)?;

        let (group, version, rest) = match segments {
            ["api", "v1", rest @ ..] if !rest.is_empty() => ("", "v1", rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            ["gatelet", "client-certificates"] => {
                return self.issue_certificate(&user, head, &body);
            }
            _ if head.method == Method::GET || head.method == Method::HEAD => {
                return match self.key_discovery(&head.headers, segments) {
                    Some(document) => Ok(document),
                    None => discovery::get(head, segments),
                };
            }
            _ => return Err(ApiError::no_such_path()),
        };

        if !discovery::is_known(group, version) {
            return Err(ApiError::no_such_path());
        }

        if let Some(response) = self.absent(group, version, rest, head) {
            return response;
        }

        if let Some((created, namespace, name)) = reviews::find(group, rest) {
            return self.create_only(created, &user, head, (namespace, name), &body);
        }

        let target = Target::parse(group, version, rest)?;
        if head.method == Method::GET
            && let Some(described) = self.described_endpoints(&target, &head.headers)
        {
            return Ok(described);
        }

        let response = self.serve(&target, &user, head, &body).await;
        let mut response =
            response.unwrap_or_else(|error| response::error(&error, Some(&head.headers)));
        response::warn_first(&mut response, target.resource.deprecated);
        Ok(response)
    }

    /// Handles a request for a resource.
    async fn serve(
        &self,
        target: &Target,
        user: &User,
        head: &Parts,
        body: &[u8],
    ) -> Result<Response<Body>, ApiError> {
        let request = ResourceRequest {
            target,
            user,
            query: Query::parse(head.uri.query().unwrap_or_default()),
            accept: Accept::parse(&head.headers, target.resource.has_protobuf())?,
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
