//! Refuses the requests of clients that ask for too much.

use std::time::Instant;

use http::StatusCode;

use super::Passing;
use crate::{
    limit::{self, clients::TooMany},
    proxy::request::error::{Error, Kind},
    routing::ClientLimits,
};

/// Lets a request pass. Its place is kept until its response is complete.
///
/// # Errors
/// If its client has sent too many requests, or has too many in flight.
pub(super) fn admit(request: &mut Passing<'_>, limits: &ClientLimits) -> Result<(), Error> {
    // A client that is not known is counted as the proxy that names it.
    let client = request.client();
    let client = client.unwrap_or_else(|| request.conn.client.ip().to_canonical());
    if limits.exempt.contains(client) {
        return Ok(());
    }

    let worker = request.worker;
    let key = (limits.object.clone(), limit::network(client));
    let admitted = worker
        .shared
        .clients
        .admit(key, &limits.limits, Instant::now());
    let place = admitted.map_err(|refused| {
        let why = match refused {
            TooMany::Fast(_) => "this client sends requests too fast",
            TooMany::InFlight => "this client has too many requests in flight",
        };
        let status = StatusCode::from_u16(worker.settings.limit_status);
        let status = status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Error::client(Kind::TooMany(status, why))
    })?;
    request.place = place.map(Box::new);
    Ok(())
}
