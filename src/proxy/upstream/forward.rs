//! Forwards a matched request to an endpoint: chooses one, connects, sends, and retries where that
//! is safe.

use std::{net::SocketAddr, rc::Rc, time::Instant};

use http::StatusCode;

use super::{
    exchange::{Exchange, begun},
    message::{Matched, UpstreamHead, UpstreamRequest, UpstreamResponse},
    pick::{Choice, Tried},
    pin::{self, Claim},
    pool::{Keeper, Lease},
};
use crate::proxy::{
    clock,
    conn::ConnInfo,
    downstream::Downstream,
    request::{
        body::{Body, Received, RequestBody, Switched},
        error::{Error, Kind, Retry},
        handle::Response,
        message::{BodyLength, RequestHead},
        terms::Terms,
    },
    worker::Worker,
};
use crate::routing::Protocol;

/// Forwards a request. Returns the response with its streaming body, and the address of the
/// endpoint. Without `downstream` it is one of our own, and has no body.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    conn: &Rc<ConnInfo>,
    mut matched: Matched<'_>,
    head: &RequestHead,
    downstream: Option<Downstream>,
) -> Result<(Response, SocketAddr), Error> {
    let (mut length, terms) = (head.length, matched.terms);
    let idle = terms.stream_idle_timeout;
    if let (Some(limit), BodyLength::Known(length)) = (terms.max_body_bytes, length)
        && length > limit
    {
        return Err(Error::client(Kind::BodyTooLarge));
    }

    let deadline = terms
        .request_timeout
        .and_then(|limit| clock::now().checked_add(limit));
    let (mut body, body_state) = match &downstream {
        Some(downstream) if !length.is_empty() => {
            let copy = matched.copy.take();
            let (body, body_state) = RequestBody::new(downstream.clone(), &terms, worker, copy);
            (body, Some(body_state))
        }
        _ => (RequestBody::empty(), None),
    };

    if matched.is_base64 && !length.is_empty() {
        body.decode_base64();
        length = BodyLength::Unknown;
    }

    // With HTTP/2 both sides may talk at once, as gRPC does.
    if let Some(most) = terms.read_ahead
        && matches!(
            matched.backend.protocol(),
            Protocol::Http1 | Protocol::Https
        )
    {
        // Boxed: few routes have it.
        let read = by(
            deadline,
            Box::pin(body.read_ahead(most, worker.spool.as_ref())),
        )
        .await?;
        read.map_err(Error::client)?;
    }

    let begun = begun(worker, matched.backend, Some(conn), matched.host)?;
    let written = UpstreamHead::new(&worker.settings, conn, &matched, head)?;
    let mut request = written.with_body(&head.method, length, body);
    let pin = match &request {
        UpstreamRequest::H1(_) => conn.pins.of(matched.backend, &begun, &head.fields),
        UpstreamRequest::H2 { .. } => None,
    };
    let exchange = Exchange {
        worker,
        backend: matched.backend,
        terms,
        session: matched.session,
        groups: matched.groups,
        downstream: downstream.as_ref(),
        begun,
        body: body_state.as_ref(),
    };
    let sent = async {
        let claim = match pin {
            Some(pin) => Some(turn(terms, &pin).await?),
            None => None,
        };
        exchange.send(Some(conn), &mut request, claim).await
    };

    let (response, lease) = by(deadline, sent).await??;
    let UpstreamResponse {
        mut head,
        received,
        upgrade,
    } = response;

    let endpoint = lease.upstream().key.addr;
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        let body = Body::relay(
            received,
            lease,
            worker,
            (idle, deadline),
            body_state.clone(),
        );
        return Ok((Response { head, body }, endpoint));
    }

    let asked = matched.upgrade.is_some();
    let (true, Some(protocol), Some(connection)) = (asked, upgrade, received.into_stream()) else {
        return Err(Error::upstream(
            Kind::BadGateway("the backend switched protocols without a request"),
            Retry::Never,
        ));
    };
    head.fields.set("upgrade", &protocol);
    worker.counters.upgrades.add(1);
    let body = Body::switched(Switched {
        connection,
        lease,
        idle: terms.tunnel_timeout,
        place: None,
    });
    Ok((Response { head, body }, endpoint))
}

/// Waits for something until the deadline of the request.
async fn by<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Result<T, Error> {
    let Some(at) = deadline else {
        return Ok(future.await);
    };
    let waited = tokio::time::timeout_at(at.into(), future).await;
    waited.map_err(|_late| {
        let late = Kind::GatewayTimeout("the request took too long");
        Error::upstream(late, Retry::Never)
    })
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

impl Exchange<'_> {
    /// Sends `request` to one endpoint after another, until one responds or another attempt is not
    /// safe. With `claim`, over the pinned connection, or a new one that becomes pinned. Without
    /// `conn` there is no client that could keep the connection.
    pub(super) async fn send(
        &self,
        conn: Option<&ConnInfo>,
        request: &mut UpstreamRequest,
        claim: Option<Claim>,
    ) -> Result<(UpstreamResponse, Lease), Error> {
        let mut tried = Tried::default();
        let began = clock::now();
        let mut attempt = 1;
        let mut fresh = false;
        loop {
            let pinned = claim.as_ref().and_then(|claim| claim.take(self.backend));
            let (Choice { upstream, only }, kept) = match pinned {
                Some((upstream, connection)) => {
                    let only = false;
                    (Choice { upstream, only }, Some(connection))
                }
                None => {
                    let limit = self.terms.queue_timeout;
                    let picker = self.picker();
                    let picked = picker.pick_in_time(&mut tried, fresh, limit).await;
                    (picked?, None)
                }
            };
            if self.terms.sends_address {
                request.address(&upstream.key)?;
            }

            let sent = match request {
                UpstreamRequest::H1(writer) => self.over_h1(&upstream, kept, writer, fresh).await,
                UpstreamRequest::H2 { head, body } => self.over_h2(&upstream, head, body).await,
            };
            let error = match sent {
                Ok((response, mut lease)) => {
                    if let Some(keeper) = self.keeper(conn, claim, &response) {
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
            let time = self.terms.attempts_time;
            let is_late = time.is_some_and(|time| clock::now() - began >= time);
            if !again || is_late || attempt >= self.terms.max_attempts {
                return Err(error);
            }

            // A dead reused connection says nothing about its endpoint: retry the same one over a
            // new connection.
            fresh = error.retry == Retry::IfReused;
            attempt += 1;
            self.worker.counters.retries.add(1);
        }
    }

    /// Decides who keeps the connection that a response came over; `None` for the pool, or if it is
    /// a shared one.
    fn keeper(
        &self,
        conn: Option<&ConnInfo>,
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
        let claim = conn.and_then(|conn| conn.pins.open(self.backend, &self.begun).try_claim());
        Some(claim.map_or(Keeper::Close, Keeper::Client))
    }
}

#[cfg(test)]
mod tests;
