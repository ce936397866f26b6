//! Sends copies of requests to mirrors, and drops their responses. A copy has nothing of the client
//! that it is made for, so that neither waits for the other.

use std::{rc::Rc, sync::Arc};

use bytes::Bytes;
use http::Method;

use super::{
    exchange::{Exchange, begun},
    message::{Matched, UpstreamHead},
};
use crate::{
    proxy::{
        clock,
        conn::ConnInfo,
        request::{
            body::{Body, RequestBody},
            error::{Error, Kind, Retry},
            message::{BodyLength, RequestHead},
            terms::Terms,
        },
        worker::Worker,
    },
    routing::Backend,
};

/// A copy of a request that lacks only its body.
pub(crate) struct Copy {
    head: UpstreamHead,
    method: Method,
    backend: Arc<Backend>,
    terms: Terms,
}

impl Copy {
    /// Writes the head of a copy. That of the request has neither a body nor a target.
    ///
    /// # Errors
    /// The host or the path cannot be expressed in HTTP/2.
    pub(crate) fn new(
        worker: &Worker,
        conn: &ConnInfo,
        matched: &Matched<'_>,
        head: &RequestHead,
    ) -> Result<Self, Error> {
        Ok(Self {
            head: UpstreamHead::new(&worker.settings, conn, matched, head)?,
            method: head.method.clone(),
            backend: matched.backend.clone(),
            terms: matched.terms,
        })
    }

    /// Sends it with a body, if it has one, and reads the response.
    ///
    /// # Errors
    /// If there is no complete response in time.
    pub(crate) async fn send(self, worker: &Rc<Worker>, body: Option<Bytes>) -> Result<(), Error> {
        let late = || Error::upstream(Kind::GatewayTimeout("the copy took too long"), Retry::Never);
        let limit = self.terms.request_timeout;
        let deadline = limit.and_then(|limit| clock::now().checked_add(limit));
        let length =
            body.as_ref().map_or(
                BodyLength::None,
                |body| BodyLength::Known(body.len() as u64),
            );
        let body = body.map_or_else(RequestBody::empty, RequestBody::whole);
        let mut request = self.head.with_body(&self.method, length, body);

        let exchange = Exchange {
            worker,
            backend: &self.backend,
            terms: self.terms,
            session: None,
            groups: None,
            downstream: None,
            begun: begun(worker, &self.backend, None, b"")?,
            body: None,
        };
        let sent = exchange.send(None, &mut request, None);
        let (response, lease) = match deadline {
            Some(at) => tokio::time::timeout_at(at.into(), sent)
                .await
                .map_err(|_late| late())??,
            None => sent.await?,
        };

        let times = (self.terms.stream_idle_timeout, deadline);
        let body = Body::relay(response.received, lease, worker, times, None);
        let broken = "the response to the copy is incomplete";
        body.discard()
            .await
            .map_err(|_broken| Error::upstream(Kind::BadGateway(broken), Retry::Never))
    }
}
