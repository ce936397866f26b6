//! Asks another backend for the response to a request that led to an error.

use std::sync::{Arc, LazyLock};

use http::{HeaderValue, Method, StatusCode};

use super::{
    error::Error,
    fields::{FieldName, Fields},
    handle::Response,
    headers::{Changes, Replaced},
    message::{BodyLength, is_bodiless},
    steps::Passing,
    terms::Terms,
};
use crate::{
    proxy::upstream::forward::forward,
    routing::{BackendId, ErrorPages, FieldNames, Page},
};

/// The fields about the error.
static NAMES: LazyLock<Arc<FieldNames>> = LazyLock::new(|| {
    let names = "x-code,x-format,x-original-uri,x-namespace,x-ingress-name,x-service-name,\
                 x-service-port";
    Arc::new(FieldNames::parse(names).unwrap_or_default())
});

/// Returns the page in place of an error, or the error if there is none.
pub(super) async fn page(
    request: &Passing<'_>,
    pages: &ErrorPages,
    original: Response,
) -> Response {
    let of_error = original.head.status;
    let close = original.head.close;
    let mut response = match ask(request, pages, of_error).await {
        Ok(page) => page,
        Err(error) => {
            tracing::debug!(%error, "no page for an error");
            original
        }
    };

    response.head.close |= close;
    if let Page::At(url) = &pages.page {
        set_status(&mut response, url.status(of_error));
    }
    response
}

/// Gives a response another status, which may have a body where its own has none.
fn set_status(response: &mut Response, status: StatusCode) {
    let head = &mut response.head;
    if is_bodiless(head.status, false) {
        head.length = BodyLength::Known(0);
    }
    if head.status != status {
        (head.status, head.reason) = (status, None);
    }
}

/// Asks for the page of an error.
async fn ask(
    request: &Passing<'_>,
    pages: &ErrorPages,
    status: StatusCode,
) -> Result<Response, Error> {
    let worker = request.worker;
    let (target, changes);
    let (path, query) = match &pages.page {
        Page::Root => {
            let backends = request.route.action.backends();
            let id = backends.map(|backend| backend.id()).next();
            changes = Changes {
                replaced: vec![about(request, id, status.as_u16())],
                ..Changes::default()
            };
            ("/", request.target.query)
        }
        Page::At(url) => {
            let mut all = request.changes.clone();
            all.host = url.host().cloned().or(all.host);
            changes = all;
            target = url.target(status, &asked(request));
            match target.split_once('?') {
                Some((path, query)) => (path, Some(query)),
                None => (&*target, None),
            }
        }
    };

    // The body of the request is with the backend that failed.
    let head = request.head.without_body(match request.head.method {
        Method::HEAD => Method::HEAD,
        _ => Method::GET,
    });
    let terms = Terms::within(&worker.settings, &pages.backend.0);
    let matched = request.beside(&pages.backend.0, terms, (path, query), changes);

    let (response, _endpoint) = forward(worker, request.conn, matched, &head, None).await?;
    Ok(response)
}

/// Returns the URL of a request as the steps have left it.
fn asked(request: &Passing<'_>) -> String {
    let scheme = if request.secure { "https" } else { "http" };
    let changed = request.changes.host.as_ref();
    let host = changed.map_or(request.target.host, HeaderValue::as_bytes);
    let host = String::from_utf8_lossy(host);
    let (path, query) = request.for_backend();
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{scheme}://{host}{path}{query}")
}

/// Returns the fields that describe an error: its status, and the request with its rule.
pub(super) fn about(request: &Passing<'_>, backend: Option<&BackendId>, status: u16) -> Replaced {
    let mut fields = Fields::default();
    fields.push(b"x-code", status.to_string().as_bytes());
    if let Some(format) = request.head.fields.get(FieldName::Accept) {
        fields.push(b"x-format", format);
    }

    let uri = match request.target.query {
        Some(query) => format!("{}?{query}", request.path),
        None => request.path.to_owned(),
    };
    fields.push(b"x-original-uri", uri.as_bytes());

    let origin = &request.route.origin;
    fields.push(b"x-namespace", origin.namespace.as_bytes());
    fields.push(b"x-ingress-name", origin.name.as_bytes());
    if let Some(id) = backend {
        fields.push(b"x-service-name", id.service.as_bytes());
        fields.push(b"x-service-port", id.port.to_string().as_bytes());
    }

    Replaced {
        names: NAMES.clone(),
        fields,
    }
}
