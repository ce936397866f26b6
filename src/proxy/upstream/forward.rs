//! Forwards a matched request to an endpoint: chooses one, connects, sends, and retries where that
//! is safe.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use http::{
    HeaderValue, Request, StatusCode, Uri, Version,
    header::{CONTENT_LENGTH, TE},
    uri::{PathAndQuery, Scheme},
};

use super::{
    condition::ConnectFailure,
    h1::{Connection, Failed, HeadWriter, RequestWriter, ResponseBody},
    h2,
    pin::{self, Claim},
    pool::{Keeper, Lease, Upstream},
};
use crate::{
    balance,
    proxy::{
        conn::ConnInfo,
        deadline::Deadline,
        downstream::Downstream,
        h1::Limits,
        request::{
            body::{Body, Received, RequestBody, RequestBodyState, Switched},
            error::{Error, Kind, Retry},
            fields::{FieldName, append},
            handle::Response,
            headers,
            message::{BodyLength, RequestHead, ResponseHead},
            outside::Outside,
            terms::Terms,
        },
        settings::Settings,
        worker::Worker,
    },
    routing::{Backend, EndpointSet, LoadBalancing, Protocol},
};

/// The results of checking and routing a request.
pub(crate) struct Matched<'a> {
    pub(crate) backend: &'a Arc<Backend>,
    pub(crate) terms: Terms,
    /// Host (and port) as the client wrote them.
    pub(crate) host: &'a [u8],
    /// The scheme and port by which the client reaches us.
    pub(crate) outside: Outside,
    /// The normalised path.
    pub(crate) path: &'a str,
    /// The query as it came, without its `?`.
    pub(crate) query: Option<&'a str>,
    /// `Upgrade` to pass on.
    pub(crate) upgrade: Option<Vec<u8>>,
    pub(crate) request_id: &'a [u8],
}

/// Forwards a request. Returns the response with its streaming body, and the address of the
/// endpoint.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    conn: &Rc<ConnInfo>,
    matched: Matched<'_>,
    head: &RequestHead,
    downstream: Downstream,
) -> Result<(Response, SocketAddr), Error> {
    let settings = &worker.settings;
    let (length, terms) = (head.length, matched.terms);
    if let (Some(limit), BodyLength::Known(length)) = (terms.max_body_bytes, length)
        && length > limit
    {
        return Err(Error::client(Kind::BodyTooLarge));
    }

    let deadline = terms
        .request_timeout
        .and_then(|limit| Instant::now().checked_add(limit));
    let backend = matched.backend;
    let asks_upgrade = matched.upgrade.is_some();

    let (body, body_state) = if length.is_empty() {
        (RequestBody::empty(), None)
    } else {
        let (body, body_state) = RequestBody::new(downstream.clone(), terms.max_body_bytes, worker);
        (body, Some(body_state))
    };

    let mut pin = None;
    let mut request = match backend.protocol() {
        Protocol::Http1 | Protocol::Https => {
            pin = conn.pins.of(backend, &head.fields);
            let written = head_h1(settings, conn, &matched, head);
            Sent::H1(Some(RequestWriter::new(
                &head.method,
                written,
                length,
                body,
            )))
        }
        Protocol::H2c | Protocol::H2 => {
            let mut request = Box::new(Request::new(()));
            head_h2(settings, conn, &matched, head, &mut request)?;
            Sent::H2 {
                head: request,
                body: Some(body),
            }
        }
    };

    let mut sent = std::pin::pin!(async {
        let claim = match pin {
            Some(pin) => Some(turn(terms, &pin).await?),
            None => None,
        };
        attempts(
            worker,
            conn,
            (backend, terms),
            &downstream,
            &mut request,
            claim,
            body_state.as_ref(),
        )
        .await
    });
    let (response, lease) = match deadline {
        None => sent.await?,
        Some(at) => tokio::time::timeout_at(at.into(), sent.as_mut())
            .await
            .map_err(|_late| {
                Error::upstream(
                    Kind::GatewayTimeout("the request took too long"),
                    Retry::Never,
                )
            })??,
    };
    let UpstreamResponse {
        mut head,
        received,
        upgrade,
    } = response;

    let endpoint = lease.upstream().key.addr;
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let (true, Some(protocol), Some(connection)) =
            (asks_upgrade, upgrade, received.into_stream())
        else {
            return Err(Error::upstream(
                Kind::BadGateway("the backend switched protocols without a request"),
                Retry::Never,
            ));
        };
        head.fields.set("upgrade", &protocol);
        worker.counters.upgrades.add(1);
        let body = Body::switched(Switched { connection, lease });
        return Ok((Response { head, body }, endpoint));
    }

    let body = Body::relay(received, lease, worker, deadline, body_state.clone());
    Ok((Response { head, body }, endpoint))
}

/// Writes the head for an HTTP/1.1 endpoint, without the framing of the body.
fn head_h1(
    settings: &Settings,
    conn: &ConnInfo,
    matched: &Matched<'_>,
    head: &RequestHead,
) -> HeadWriter {
    let mut written = HeadWriter::new(&head.method, matched.path, matched.query);
    written.field(b"host", matched.host);

    let client = matched.client(settings, conn);
    headers::write(&head.fields, client, |name, value| {
        written.field(name, value);
    });
    if let Some(protocol) = &matched.upgrade {
        written.field(b"upgrade", protocol);
        written.field(b"connection", b"upgrade");
    }
    written
}

/// Sets the head of a request to an HTTP/2 endpoint.
fn head_h2(
    settings: &Settings,
    conn: &ConnInfo,
    matched: &Matched<'_>,
    head: &RequestHead,
    request: &mut Request<()>,
) -> Result<(), Error> {
    let fields = request.headers_mut();
    let client = matched.client(settings, conn);
    headers::write(&head.fields, client, |name, value| {
        append(fields, name, value);
    });
    if let BodyLength::Known(length) = head.length {
        fields.insert(CONTENT_LENGTH, length.into());
    }
    // gRPC requires it.
    if head.fields.has_token(FieldName::Te, "trailers") {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }

    let scheme = if matched.backend.protocol() == Protocol::H2 {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    };
    let authority = http::uri::Authority::try_from(matched.host)
        .map_err(|_bad| Error::client(Kind::BadRequest("bad Host")))?;

    let mut uri = http::uri::Parts::default();
    let target = matched.path_and_query()?;
    (uri.scheme, uri.authority, uri.path_and_query) = (Some(scheme), Some(authority), Some(target));
    *request.uri_mut() =
        Uri::from_parts(uri).map_err(|_bad| Error::client(Kind::BadRequest("bad target")))?;
    *request.method_mut() = head.method.clone();
    *request.version_mut() = Version::HTTP_2;

    Ok(())
}

impl<'a> Matched<'a> {
    fn client(&self, settings: &'a Settings, conn: &'a ConnInfo) -> headers::Client<'a> {
        headers::Client {
            conn,
            trusted: &settings.trusted_proxies,
            host: self.host,
            outside: self.outside,
            request_id: self.request_id,
        }
    }

    fn path_and_query(&self) -> Result<PathAndQuery, Error> {
        let target = match self.query {
            Some(query) => format!("{}?{query}", self.path).parse(),
            None => self.path.parse(),
        };
        target.map_err(|_bad| Error::client(Kind::BadRequest("bad path")))
    }
}

/// A request in the form for its endpoints.
enum Sent {
    /// `None` once it has a response.
    H1(Option<RequestWriter>),
    /// Boxed: it is large, and each future that it passes through would reserve space for it.
    H2 {
        head: Box<Request<()>>,
        /// `None` while it is sent, and once a part of it was sent.
        body: Option<RequestBody>,
    },
}

/// The head of a response as it goes to the client, and the source of its body.
struct UpstreamResponse {
    head: ResponseHead,
    received: Received,
    /// The protocol that follows on the connection, if the status is 101.
    upgrade: Option<Vec<u8>>,
}

/// Waits until no other request of the client is on its pinned connection.
async fn turn(terms: Terms, pin: &Rc<pin::Pin>) -> Result<Claim, Error> {
    let waiting = tokio::time::timeout(terms.response_header_timeout, pin.claim());
    let late = Kind::GatewayTimeout(
        "an earlier request on the client's own connection to the backend has not ended",
    );
    waiting
        .await
        .map_err(|_late| Error::upstream(late, Retry::Never))
}

/// Sends `request` to one endpoint after another, until one responds or another attempt is not
/// safe. With `claim`, over the pinned connection, or a new one that becomes pinned.
async fn attempts(
    worker: &Rc<Worker>,
    conn: &ConnInfo,
    (backend, terms): (&Arc<Backend>, Terms),
    downstream: &Downstream,
    request: &mut Sent,
    claim: Option<Claim>,
    body_state: Option<&Rc<RequestBodyState>>,
) -> Result<(UpstreamResponse, Lease), Error> {
    let mut tried = 0_u64;
    let mut attempt = 1;
    let mut fresh = false;
    loop {
        let kept = claim.as_ref().and_then(|claim| claim.take(backend));
        let (upstream, only, kept) = match kept {
            Some((upstream, connection)) => (upstream, false, Some(connection)),
            None => {
                let (upstream, only) = pick(worker, (backend, terms), &mut tried, fresh).await?;
                (upstream, only, None)
            }
        };

        let tried = match request {
            Sent::H1(writer) => {
                once_h1(
                    worker,
                    (&upstream, terms),
                    downstream,
                    kept,
                    writer,
                    body_state,
                    fresh,
                )
                .await
            }
            Sent::H2 { head, body } => {
                once_h2(
                    worker,
                    (&upstream, terms),
                    downstream,
                    head,
                    body,
                    body_state,
                )
                .await
            }
        };
        let error = match tried {
            Ok((response, mut lease)) => {
                if let Some(keeper) = keeper(conn, backend, claim, &response) {
                    lease.leave_to(keeper);
                }
                return Ok((response, lease));
            }
            Err(error) => error,
        };

        let again = match error.retry {
            // A sole endpoint that just failed would fail again.
            Retry::Safe => !only,
            Retry::IfReused => true,
            Retry::Never => false,
        };
        if !again || attempt >= terms.max_attempts {
            return Err(error);
        }
        // A dead reused connection says nothing about its endpoint: retry the same one over a new
        // connection.
        fresh = error.retry == Retry::IfReused;
        attempt += 1;
        worker.counters.retries.add(1);
    }
}

/// Decides who keeps the connection that a response came over; `None` for the pool, or if it is a
/// shared one.
fn keeper(
    conn: &ConnInfo,
    backend: &Backend,
    claim: Option<Claim>,
    response: &UpstreamResponse,
) -> Option<Keeper> {
    if !matches!(response.received, Received::H1(_)) {
        return None;
    }
    if let Some(claim) = claim {
        return Some(Keeper::Client(claim));
    }
    if !pin::is_asked_for(response.head.status, &response.head.fields) {
        return None;
    }
    // Another request of the client may have begun to authenticate at the same time.
    Some(
        conn.pins
            .open(backend)
            .try_claim()
            .map_or(Keeper::Close, Keeper::Client),
    )
}

/// Makes one attempt at an HTTP/1.1 endpoint, over the `kept` connection if there is one. The
/// request stays in place unless there is a response.
async fn once_h1(
    worker: &Rc<Worker>,
    (upstream, terms): (&Rc<Upstream>, Terms),
    downstream: &Downstream,
    kept: Option<Connection>,
    request: &mut Option<RequestWriter>,
    body_state: Option<&Rc<RequestBodyState>>,
    fresh: bool,
) -> Result<(UpstreamResponse, Lease), Error> {
    let (mut connection, lease, reused) = match kept {
        Some(connection) => (connection, Lease::new(upstream.clone()), true),
        None => {
            let acquired = upstream.connection(worker, fresh).await;
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
    let exchange = connection.exchange(writer, limits, |head| downstream.inform(head));

    let failed = match in_time(worker, terms.response_header_timeout, exchange, body_state).await {
        None => return Err(late(body_state)),
        Some(Ok(head)) => {
            upstream.succeeded();
            let writer = request.take().expect("the request that was sent");
            let received = Received::H1(ResponseBody::new(connection, &head, writer, limits));
            return Ok((
                UpstreamResponse {
                    head: head.passed,
                    received,
                    upgrade: head.upgrade,
                },
                lease,
            ));
        }
        Some(Err(failed)) => failed,
    };

    if let Some(kind) = body_state.and_then(|body_state| body_state.failed.get()) {
        return Err(Error::client(kind));
    }

    // A connection from the pool may die just as the request is sent. The request is sent again if
    // the endpoint has not seen it, or may see it twice (RFC 9110 section 9.2.2).
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
        Failed::NoResponse => (
            reused && body_state.is_none() && writer.is_idempotent() && writer.rewind(),
            broken,
        ),
        Failed::Malformed(why) => (false, why),
        Failed::Broken | Failed::Body => (false, broken),
    };

    Err(Error::upstream(
        Kind::BadGateway(why),
        if again { Retry::IfReused } else { Retry::Never },
    ))
}

/// Makes one attempt at an HTTP/2 endpoint. If it fails and may be repeated, the body is back in
/// its place.
async fn once_h2(
    worker: &Rc<Worker>,
    (upstream, terms): (&Rc<Upstream>, Terms),
    downstream: &Downstream,
    head: &Request<()>,
    body: &mut Option<RequestBody>,
    body_state: Option<&Rc<RequestBodyState>>,
) -> Result<(UpstreamResponse, Lease), Error> {
    let acquired = upstream.stream(worker).await;
    let (sender, mut lease, reused) =
        acquired.inspect_err(|error| worker.failed(upstream, error))?;
    if !reused {
        worker.counters.connects.add(1);
    }

    let sent = body.take().expect("a request to send");
    let exchange = sender.exchange(head.clone(), sent, |head| downstream.inform(head));
    let limit = terms.response_header_timeout;
    let failed = match in_time(worker, limit, exchange, body_state).await {
        None => {
            // The endpoint may be down: no further request may wait on this connection.
            lease.retire();
            return Err(late(body_state));
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

    if let Some(kind) = body_state.and_then(|body_state| body_state.failed.get()) {
        return Err(Error::client(kind));
    }

    // A request without a body that may be sent twice is sent again if its connection dies (RFC
    // 9110 section 9.2.2).
    let repeatable = reused && body_state.is_none() && head.method().is_idempotent();
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
    let retry = if body.is_some() {
        Retry::IfReused
    } else {
        Retry::Never
    };
    Err(Error::upstream(Kind::BadGateway(why), retry))
}

/// Returns the error of a request without a response in time: the failure of its body, or 504.
fn late(body_state: Option<&Rc<RequestBodyState>>) -> Error {
    let late = Kind::GatewayTimeout("the backend did not respond in time");
    Error::upstream(
        body_state
            .and_then(|body_state| body_state.failed.get())
            .unwrap_or(late),
        Retry::Never,
    )
}

/// Waits for the response to a request; `None` if it does not begin within `limit` of the last byte
/// of the request. While the client still sends, the backend is not late.
async fn in_time<T>(
    worker: &Worker,
    limit: Duration,
    sent: impl Future<Output = T>,
    body_state: Option<&Rc<RequestBodyState>>,
) -> Option<T> {
    let mut sent = std::pin::pin!(sent);
    let mut deadline = Deadline::new(&worker.deadlines);
    std::future::poll_fn(|cx| {
        if let Poll::Ready(response) = sent.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        if !deadline.is_over(cx, limit, None) {
            return Poll::Pending;
        }

        let Some(body_state) = body_state else {
            return Poll::Ready(None);
        };
        let left = match body_state.moved.get() {
            _ if body_state.waiting.get() && !body_state.done.get() => limit,
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

/// Chooses an endpoint, in turn or by load, except those that were tried or are ejected. If all are
/// ejected, chooses one anyway: an attempt is better than a certain 503. Returns it, and true if it
/// is the only one.
async fn pick(
    worker: &Rc<Worker>,
    (backend, terms): (&Arc<Backend>, Terms),
    tried: &mut u64,
    again: bool,
) -> Result<(Rc<Upstream>, bool), Error> {
    let endpoints = backend.endpoints();
    let chosen = match &**endpoints {
        EndpointSet::Addresses(list) if !list.is_empty() => {
            let at = |index: usize| -> Rc<Upstream> {
                worker.upstream(&backend.settings, list[index].addr, None)
            };
            let free = |index: usize| list[index].weight > 0 && has_room(&at(index));
            if let [_only] = &**list {
                return free(0).then(|| (at(0), true)).ok_or_else(no_room);
            }

            let now = Instant::now();
            let seen = *tried;
            let untried = |index: usize| free(index) && (index >= 64 || seen & (1 << index) == 0);
            let healthy =
                |index: usize| untried(index) && !at(index).outlier.borrow().is_ejected(now);

            let turn = worker.turn(backend).wrapping_sub(usize::from(again));
            let is_even = list.iter().all(|endpoint| endpoint.weight == 1);
            let index = match terms.balance {
                _ if !is_even => {
                    let weight = |index| {
                        if healthy(index) {
                            list[index].weight
                        } else {
                            0
                        }
                    };
                    balance::weighted(worker.random(), (0..list.len()).map(weight))
                }
                LoadBalancing::RoundRobin => balance::round_robin(turn, list.len(), healthy),
                LoadBalancing::LeastRequest => {
                    balance::least_request(worker.random(), list.len(), healthy, |index| {
                        at(index).in_flight.get()
                    })
                }
            };

            let index = index
                .or_else(|| balance::round_robin(turn, list.len(), untried))
                .or_else(|| balance::round_robin(turn, list.len(), free))
                .ok_or_else(no_room)?;
            if !again && index < 64 {
                *tried |= 1 << index;
            }
            (at(index), false)
        }
        EndpointSet::Empty | EndpointSet::Addresses(_) => {
            return Err(Error::upstream(
                Kind::Unavailable("the service has no endpoints"),
                Retry::Never,
            ));
        }
        EndpointSet::Name { host, port } => {
            let (host, port) = (host.clone(), *port);
            drop(endpoints);

            let found = Box::pin(worker.resolve(&host)).await;
            let unavailable = |why| Error::upstream(Kind::Unavailable(why), Retry::Never);
            let found = found.ok_or_else(|| unavailable("the backend's name has no address"))?;

            let allowed = |addr: &&IpAddr| worker.settings.local_names || !is_local(**addr);
            let addresses: Vec<IpAddr> = found.iter().filter(allowed).copied().collect();
            if addresses.is_empty() {
                return Err(unavailable("the backend's name has no allowed address"));
            }

            let turn = worker.turn(backend) % addresses.len().max(1);
            let name = host.parse::<IpAddr>().is_err().then(|| Rc::from(&*host));
            let addr = SocketAddr::new(addresses[turn], port);
            let upstream = worker.upstream(&backend.settings, addr, name);
            if !has_room(&upstream) {
                return Err(no_room());
            }
            (upstream, addresses.len() == 1)
        }
    };
    Ok(chosen)
}

/// Returns true if the limit of its backend lets the endpoint have another request.
fn has_room(upstream: &Upstream) -> bool {
    let limit = upstream.key.backend.limits.requests;
    limit.is_none_or(|limit| upstream.in_flight.get() < limit)
}

/// Returns the error of a request that no endpoint may have.
fn no_room() -> Error {
    Error::us(Kind::Unavailable("no endpoint takes another request"))
}

/// Returns true for loopback, link-local and other addresses whose meaning depends on the device.
/// The API refuses them as endpoints, so a name must not resolve to them either.
fn is_local(addr: IpAddr) -> bool {
    match addr.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
        }
    }
}

#[cfg(test)]
mod tests;
