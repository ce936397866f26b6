//! One attempt to have a request answered by an endpoint.

use std::{rc::Rc, sync::Arc, task::Poll, time::Duration};

use http::Request;

use super::{
    condition::ConnectFailure,
    h1::{Connection, Failed, RequestWriter, ResponseBody},
    h2,
    message::UpstreamResponse,
    pick::Picker,
    pool::{Beginning, Begun, Lease, Upstream},
    session::Session,
};
use crate::{
    proxy::{
        conn::ConnInfo,
        deadline::Deadline,
        downstream::Downstream,
        h1::Limits,
        proxy_header,
        request::{
            body::{Received, RequestBody, RequestBodyState},
            error::{Error, Kind, Retry},
            message::ResponseHead,
            terms::Terms,
        },
        worker::Worker,
    },
    routing::{Authority, Backend, Host, NamedGroups, RequestName},
};

/// A request that is being forwarded: the part that is the same in every attempt.
pub(super) struct Exchange<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) backend: &'a Arc<Backend>,
    pub(super) terms: Terms,
    /// The session that chooses its endpoint.
    pub(super) session: Option<&'a Session<'a>>,
    /// The groups of endpoints that it names.
    pub(super) groups: Option<&'a NamedGroups<'a>>,
    /// The client's side; `None` for a request of our own.
    pub(super) downstream: Option<&'a Downstream>,
    /// The start of its connection.
    pub(super) begun: Begun,
    /// The progress of the body; `None` if the request has none.
    pub(super) body: Option<&'a Rc<RequestBodyState>>,
}

impl Exchange<'_> {
    /// Returns what chooses its endpoint.
    pub(super) fn picker(&self) -> Picker<'_> {
        Picker {
            worker: self.worker,
            backend: self.backend,
            balance: self.terms.balance,
            session: self.session,
            groups: self.groups,
        }
    }

    /// Makes one attempt at an HTTP/1.1 endpoint, over the `kept` connection if there is one. The
    /// request stays in place unless there is a response.
    pub(super) async fn over_h1(
        &self,
        upstream: &Rc<Upstream>,
        kept: Option<Connection>,
        request: &mut Option<RequestWriter>,
        fresh: bool,
    ) -> Result<(UpstreamResponse, Lease), Error> {
        let worker = self.worker;
        let (mut connection, lease, reused) = match kept {
            Some(connection) => (connection, Lease::new(upstream.clone()), true),
            None => {
                let acquired = upstream
                    .connection(worker, self.terms.connect_timeout, fresh, &self.begun)
                    .await;
                acquired.inspect_err(|error| worker.failed(upstream, error))?
            }
        };
        if !reused {
            worker.counters.connects.add(1);
        }

        let limits = Limits {
            bytes: worker.settings.max_header_bytes,
            fields: worker.settings.max_headers,
        };
        let writer = request.as_mut().expect("a request to send");
        let sent = connection.exchange(writer, limits, |head| self.inform(head));

        let failed = match self.in_time(sent).await {
            None => return Err(self.late()),
            Some(Ok(head)) => {
                upstream.succeeded();
                let writer = request.take().expect("the request that was sent");
                let received = ResponseBody::new(connection, &head, writer, limits);
                let response = UpstreamResponse {
                    head: head.passed,
                    received: Received::H1(received),
                    upgrade: head.upgrade,
                };
                return Ok((response, lease));
            }
            Some(Err(failed)) => failed,
        };

        if let Some(kind) = self.body_failure() {
            return Err(Error::client(kind));
        }

        // A connection from the pool may die just as the request is sent. The request is sent again
        // if the endpoint has not seen it, or may see it twice (RFC 9110 section 9.2.2).
        let repeatable = reused && self.body.is_none() && writer.is_idempotent();
        let broken = "the backend closed the connection";
        let (again, why) = match failed {
            Failed::Tls(why) => {
                let error = upstream.failed(ConnectFailure::Tls(why));
                worker.failed(upstream, &error);
                return Err(Error {
                    retry: Retry::Never,
                    ..error
                });
            }
            Failed::Unsent => (writer.rewind(), broken),
            Failed::NoResponse => (repeatable && writer.rewind(), broken),
            Failed::Malformed(why) => (false, why),
            Failed::Broken | Failed::Body => (false, broken),
        };

        Err(failure(why, again))
    }

    /// Makes one attempt at an HTTP/2 endpoint. If it fails and may be repeated, the body is back
    /// in its place.
    pub(super) async fn over_h2(
        &self,
        upstream: &Rc<Upstream>,
        head: &Request<()>,
        body: &mut Option<RequestBody>,
    ) -> Result<(UpstreamResponse, Lease), Error> {
        let worker = self.worker;
        let limit = self.terms.connect_timeout;
        let acquired = upstream.stream(worker, limit, &self.begun).await;
        let (sender, mut lease, reused) =
            acquired.inspect_err(|error| worker.failed(upstream, error))?;
        if !reused {
            worker.counters.connects.add(1);
        }

        let unsent = body.take().expect("a request to send");
        let inform = |head: &_| self.inform(head);
        let sent = sender.exchange(head.clone(), unsent, inform);
        let failed = match self.in_time(sent).await {
            None => {
                // The endpoint may be down: no further request may wait on this connection.
                lease.retire();
                return Err(self.late());
            }
            Some(Ok((head, received))) => {
                upstream.succeeded();
                let response = UpstreamResponse {
                    head,
                    received: Received::H2(received),
                    upgrade: None,
                };
                return Ok((response, lease));
            }
            Some(Err(failed)) => failed,
        };

        if let Some(kind) = self.body_failure() {
            return Err(Error::client(kind));
        }

        // A request without a body that may be sent twice is sent again if its connection dies (RFC
        // 9110 section 9.2.2).
        let repeatable = reused && self.body.is_none() && head.method().is_idempotent();
        let why = match failed {
            h2::Failed::Unprocessed(unsent) => {
                lease.retire();
                *body = unsent;
                "the backend did not take the request"
            }
            h2::Failed::Refused(unsent) => {
                *body = unsent;
                "the backend refused the request"
            }
            h2::Failed::Ended => {
                lease.retire();
                *body = repeatable.then(RequestBody::empty);
                "the backend closed the connection"
            }
            // Only the stream has ended.
            h2::Failed::Reset | h2::Failed::Body => "the backend reset the stream",
        };
        Err(failure(why, body.is_some()))
    }

    /// Sends an informational response on.
    fn inform(&self, head: &ResponseHead) {
        if let Some(downstream) = self.downstream {
            downstream.inform(head);
        }
    }

    /// Returns the reason why the body of the request ended early, if it did.
    fn body_failure(&self) -> Option<Kind> {
        self.body.and_then(|body| body.failed.get())
    }

    /// Returns the error of a request without a response in time: the failure of its body, or 504.
    fn late(&self) -> Error {
        let late = Kind::GatewayTimeout("the backend did not respond in time");
        Error::upstream(self.body_failure().unwrap_or(late), Retry::Never)
    }

    /// Waits for the response to a request; `None` if it does not begin in time after the last byte
    /// of the request. While the client still sends, the backend is not late.
    async fn in_time<T>(&self, sent: impl Future<Output = T>) -> Option<T> {
        let limit = self.terms.response_header_timeout;
        let mut sent = std::pin::pin!(sent);
        let mut deadline = Deadline::new(&self.worker.deadlines);
        std::future::poll_fn(|cx| {
            if let Poll::Ready(response) = sent.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            if !deadline.is_over(cx, limit, None) {
                return Poll::Pending;
            }

            let Some(body) = self.body else {
                return Poll::Ready(None);
            };
            let left = match body.moved.get() {
                _ if body.waiting.get() && !body.done.get() => limit,
                Some(moved) => limit.saturating_sub(moved.elapsed()),
                None => Duration::ZERO,
            };

            deadline.moved();
            if deadline.is_over(cx, left, None) {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        })
        .await
    }
}

/// Returns the start of connections to a backend that have the requests of a client connection for
/// a host, or requests of our own.
///
/// # Errors
/// If certificates are verified for a name that the request does not have.
pub(super) fn begun(
    worker: &Worker,
    backend: &Backend,
    conn: Option<&ConnInfo>,
    host: &[u8],
) -> Result<Begun, Error> {
    let settings = &backend.settings;
    let header = settings
        .sends_proxy
        .map(|version| proxy_header::of_client(version, conn).into());

    let name = match settings.tls.request_name {
        None => None,
        Some(asked) => {
            let name = name_of_request(asked, conn, host);
            if name.is_none() && worker.verifies_names(&settings.tls) {
                let why = "the backend is verified for a name that the request does not have";
                return Err(Error::client(Kind::Misdirected(why)));
            }
            name
        }
    };

    let is_own = header.is_some() || name.is_some();
    Ok(is_own.then(|| Rc::new(Beginning { header, name })))
}

/// Returns the name that a request has for TLS with its backend.
fn name_of_request(asked: RequestName, conn: Option<&ConnInfo>, host: &[u8]) -> Option<Box<str>> {
    match asked {
        RequestName::Sni => {
            let sni = conn?.tls.as_ref()?.sni.as_deref()?;
            Some(sni.into())
        }
        RequestName::Host => {
            let host = Host::parse(&Authority::parse(host).ok()?.host).ok()?;
            let name = host
                .ip()
                .map_or_else(|| host.to_string(), |ip| ip.to_string());
            Some(name.into())
        }
    }
}

/// Returns the error of a request that reached the endpoint and has no response. `again` means that
/// it may be sent over another connection.
fn failure(why: &'static str, again: bool) -> Error {
    let retry = if again { Retry::IfReused } else { Retry::Never };
    Error::upstream(Kind::BadGateway(why), retry)
}
