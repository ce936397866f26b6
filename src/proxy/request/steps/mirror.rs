//! Sends copies of requests to the mirror of their route. Whatever becomes of a copy, the original
//! goes on.

use std::rc::Rc;

use bytes::Bytes;
use http::HeaderValue;

use super::{
    Passing,
    variables::{fill, uri},
};
use crate::{
    proxy::{
        copies::{BodyCopy, CopyPlace},
        request::{
            error::{Error, Kind},
            message::BodyLength,
            terms::Terms,
        },
        upstream::copy::Copy,
        worker::Worker,
    },
    routing::{Authority, Mirror},
};

/// Begins the copy of a request that is about to be forwarded. Returns what collects the body for
/// it, if it gets that.
pub(in crate::proxy::request) fn copy(
    request: &Passing<'_>,
    mirror: &Mirror,
) -> Option<Box<BodyCopy>> {
    let worker = request.worker;
    let Some(place) = worker.copies.enter() else {
        worker.counters.copies_dropped.add(1);
        return None;
    };
    let copy = match written(request, mirror) {
        Ok(copy) => copy,
        Err(error) => {
            failed(worker, &error);
            return None;
        }
    };

    let length = match request.head.length {
        BodyLength::Known(length) => Some(length),
        BodyLength::None | BodyLength::Unknown => None,
    };
    if !mirror.has_body || request.head.length.is_empty() {
        let says_length = mirror.has_body && length.is_some();
        let body = says_length.then(Bytes::new);
        let worker = worker.clone();
        tokio::task::spawn_local(async move { send(&worker, copy, body, place).await });
        return None;
    }

    let Some((body, whole)) = BodyCopy::new(place, length) else {
        worker.counters.copies_dropped.add(1);
        return None;
    };
    let worker = worker.clone();
    tokio::task::spawn_local(async move {
        match whole.await {
            Ok((body, place)) => send(&worker, copy, Some(body), place).await,
            Err(_given_up) => worker.counters.copies_dropped.add(1),
        }
    });
    Some(Box::new(body))
}

/// Sends a copy, and counts it.
async fn send(worker: &Rc<Worker>, copy: Copy, body: Option<Bytes>, place: CopyPlace) {
    match copy.send(worker, body).await {
        Ok(()) => worker.counters.copies_sent.add(1),
        Err(error) => failed(worker, &error),
    }
    drop(place);
}

fn failed(worker: &Worker, error: &Error) {
    worker.counters.copies_failed.add(1);
    tracing::debug!(%error, "a copy of a request failed");
}

/// Writes the copy of a request, with the fields that its backend gets.
fn written(request: &Passing<'_>, mirror: &Mirror) -> Result<Copy, Error> {
    let invalid = || Error::us(Kind::Misconfigured("the host of the mirror is not valid"));
    let host = fill(request, &mirror.host);
    Authority::parse(&host).map_err(|_error| invalid())?;
    let host = HeaderValue::from_bytes(&host).map_err(|_error| invalid())?;

    let mut target = uri(&fill(request, &mirror.target), false);
    let query = request.target.query.filter(|_| mirror.adds_query);
    if let Some(query) = query {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(query);
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*target, None),
    };

    let mut changes = request.changes.clone();
    changes.host = Some(host);
    let worker = request.worker;
    let policy = request.route.policy.as_deref();
    let terms = Terms::beside(&worker.settings, policy, &mirror.backend.0);
    let matched = request.beside(&mirror.backend.0, terms, (path, query), changes);
    let head = request.head.without_body(request.head.method.clone());
    Copy::new(worker, request.conn, &matched, &head)
}
