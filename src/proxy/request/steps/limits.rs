//! Refuses the requests of clients that ask for too much, and those that would fail.

use std::{net::IpAddr, sync::Arc};

use http::StatusCode;

use super::Passing;
use crate::{
    limit::TooMany,
    proxy::{
        clock,
        request::{
            around::{Around, Passed},
            error::{Error, Kind},
        },
    },
    routing::{CircuitBreaker, ClientLimits},
    util::sync::lock,
};

/// Lets a request pass. Its place is kept until its response is complete.
///
/// # Errors
/// If its client has sent too many requests, or has too many in flight.
pub(super) fn admit(request: &mut Passing<'_>, limits: &ClientLimits) -> Result<(), Error> {
    // A client that is not known is counted as the proxy that names it.
    let client = request.client();
    let client = client.unwrap_or_else(|| request.conn.client.ip().to_canonical());
    let client = match limits.is_shared {
        true => IpAddr::from([0, 0, 0, 0]),
        false => client,
    };

    let worker = request.worker;
    let place = worker.admit(Some(limits), client).map_err(|refused| {
        let why = match refused {
            TooMany::Fast(_) => "this client sends requests too fast",
            TooMany::InFlight => "this client has too many requests in flight",
        };
        let status = StatusCode::from_u16(worker.settings.limit_status);
        let status = limits.status.or_else(|| status.ok());
        let status = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Error::client(Kind::TooMany(status, why))
    })?;
    // Of the limits of a route one alone is about requests in flight.
    request.place = place.or_else(|| request.place.take());
    Ok(())
}

/// Lets a request pass a circuit breaker, which then counts its response.
///
/// # Errors
/// While it is open.
pub(super) fn pass(request: &mut Passing<'_>, terms: &Arc<CircuitBreaker>) -> Result<(), Error> {
    let now = clock::now();
    let breaker = request.worker.shared.breakers.of(terms, now);
    if !lock(&breaker).admits(terms, now) {
        return Err(Error::us(Kind::Broken(terms.status)));
    }
    request.around.push(Around::Breaker(Passed {
        terms: terms.clone(),
        breaker,
        began: now,
    }));
    Ok(())
}
