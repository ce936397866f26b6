//! Shows the response to a request to the steps that it has passed, the last one first.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use super::{
    access_log::Record,
    error::{Error, Side},
    error_pages,
    handle::{Response, fail},
    steps::{Passing, to_grpc_web},
};
use crate::{
    limit::Breaker,
    proxy::clock,
    routing::{CircuitBreaker, ErrorPages, GrpcWeb, GrpcWebForm},
    util::sync::lock,
};

/// A step that looks at the response too.
pub(super) enum Around {
    /// Pages in place of errors.
    Pages(Arc<ErrorPages>),
    /// A circuit breaker counts it.
    Breaker(Passed),
    /// It becomes one of gRPC-Web.
    GrpcWeb(Arc<GrpcWeb>, GrpcWebForm),
}

/// A request that a circuit breaker has let through.
pub(super) struct Passed {
    pub(super) terms: Arc<CircuitBreaker>,
    pub(super) breaker: Arc<Mutex<Breaker>>,
    pub(super) began: Instant,
}

/// Shows a response to the steps, and then to the pages of the route.
pub(super) async fn leave(
    request: &Passing<'_>,
    of_route: Option<&ErrorPages>,
    mut responded: Result<Response, Error>,
    mut record: Option<&mut Record>,
) -> Result<Response, Error> {
    for around in request.around.iter().rev() {
        match around {
            Around::Breaker(passed) => passed.record(&responded),
            Around::GrpcWeb(terms, form) => {
                if let Ok(response) = &mut responded {
                    to_grpc_web(terms, *form, request.head, response);
                }
            }
            Around::Pages(pages) => {
                responded = replace(request, pages, responded, record.as_deref_mut()).await;
            }
        }
    }
    match of_route {
        Some(pages) if pages.of_backends || responded.is_err() => {
            replace(request, pages, responded, record).await
        }
        _ => responded,
    }
}

/// Replaces a response whose status is one of those of pages.
async fn replace(
    request: &Passing<'_>,
    pages: &ErrorPages,
    responded: Result<Response, Error>,
    record: Option<&mut Record>,
) -> Result<Response, Error> {
    let status = match &responded {
        Ok(response) => response.head.status,
        Err(error) => error.kind.status(),
    };
    if !pages.statuses.contains(status.as_u16()) {
        return responded;
    }

    let fields = &request.head.fields;
    let original = responded.unwrap_or_else(|error| fail(request.worker, error, fields, record));
    Ok(error_pages::page(request, pages, original).await)
}

impl Passed {
    /// Counts a response.
    fn record(&self, responded: &Result<Response, Error>) {
        let (status, failed) = match responded {
            Ok(response) => {
                let status = response.head.status.as_u16();
                (status, matches!(status, 502 | 504))
            }
            Err(error) => {
                let status = error.kind.status().as_u16();
                (status, error.side == Side::Upstream)
            }
        };
        let now = clock::now();
        let took = now.saturating_duration_since(self.began);
        let opens = lock(&self.breaker).record(&self.terms, (status, failed), took, now);
        if opens {
            tracing::warn!(rule = %self.terms.object, "circuit breaker opened");
        }
    }
}
