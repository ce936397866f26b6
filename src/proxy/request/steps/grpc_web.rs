//! Makes requests of gRPC-Web those of gRPC, as Traefik does, and their responses the other way.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{CONTENT_TYPE, TE},
};

use super::{Passing, origin::value};
use crate::{
    proxy::request::{around::Around, fields::FieldName, handle::Response, message::RequestHead},
    routing::{GrpcWeb, GrpcWebForm, SetField},
};

/// The media type of gRPC.
const GRPC: &[u8] = b"application/grpc";
/// The seconds for which browsers keep the response to a preflight request, as from Traefik.
const MAX_AGE: &[u8] = b"600";

/// Responds to a preflight request for gRPC-Web, and changes a request of gRPC-Web. Others pass.
pub(super) fn enter(request: &mut Passing<'_>, terms: &Arc<GrpcWeb>) -> Option<Response> {
    let head = request.head;
    if let Some(response) = preflight(terms, head) {
        return Some(response);
    }

    let content_type = head.fields.get(FieldName::ContentType)?;
    let form = GrpcWebForm::of(content_type)?;
    let is_changed = |around: &Around| matches!(around, Around::GrpcWeb(..));
    if head.method != Method::POST || request.around.iter().any(is_changed) {
        return None;
    }

    let set = |name: HeaderName, value: &[u8]| {
        let value = HeaderValue::from_bytes(value).ok()?;
        let from = terms.from.clone();
        Some(Arc::new(SetField { from, name, value }))
    };
    let format = &content_type[form.media_type().len()..];
    let fields = [
        set(CONTENT_TYPE, &[GRPC, format].concat()),
        // gRPC requires it, and pages cannot send it.
        set(TE, b"trailers"),
    ];

    for field in fields.into_iter().flatten() {
        request.changes.set(field);
    }

    request.is_base64 = form == GrpcWebForm::Text;
    request.around.push(Around::GrpcWeb(terms.clone(), form));
    None
}

/// Responds to a preflight request for gRPC-Web, whatever its origin: without the fields the
/// browser refuses.
fn preflight(terms: &GrpcWeb, head: &RequestHead) -> Option<Response> {
    let fields = &head.fields;
    let asked = value(fields, b"access-control-request-headers")?;
    let method = value(fields, b"access-control-request-method")?;
    let is_for_us = || asked.to_ascii_lowercase();
    let is_for_us = || memchr::memmem::find(&is_for_us(), b"x-grpc-web").is_some();
    if head.method != Method::OPTIONS || !is_for_us() {
        return None;
    }

    let mut response = Response::own(StatusCode::OK, Bytes::new());
    let out = &mut response.head.fields;
    for name in [
        &b"Origin"[..],
        b"Access-Control-Request-Method",
        b"Access-Control-Request-Headers",
    ] {
        out.push(b"vary", name);
    }

    let origin = value(fields, b"origin");
    let is_method = [&b"GET"[..], b"POST", b"HEAD"].contains(&method);
    if let Some(origin) = origin.filter(|origin| is_method && terms.allows(origin)) {
        out.set("access-control-allow-origin", origin);
        out.set("access-control-allow-methods", method);
        out.set("access-control-allow-headers", asked);
        out.set("access-control-allow-credentials", b"true");
        out.set("access-control-max-age", MAX_AGE);
    }
    Some(response)
}

/// Changes the response of gRPC to one of gRPC-Web. One that is no response of gRPC keeps its body.
pub(in crate::proxy::request) fn leave(
    terms: &GrpcWeb,
    form: GrpcWebForm,
    head: &RequestHead,
    response: &mut Response,
) {
    let fields = &mut response.head.fields;
    let of_grpc = fields.get(FieldName::ContentType);
    let format = of_grpc.and_then(|value| value.strip_prefix(GRPC));
    // The other form of gRPC-Web is not that of gRPC.
    let format = format.filter(|format| !format.starts_with(b"-"));

    if let Some(format) = format.map(<[u8]>::to_vec) {
        let media_type = form.media_type().as_bytes();
        fields.set("content-type", &[media_type, &format].concat());
        fields.retain(|field| !field.name.eq_ignore_ascii_case(b"trailer"));
        if let Some(length) = response.body.make_grpc_web(form) {
            response.head.length = length;
        }
    }

    fields.push(b"vary", b"Origin");

    let names = fields.iter().map(|field| field.name.to_vec());
    let mut names: Vec<Vec<u8>> = names.collect();
    names.extend([b"grpc-status".to_vec(), b"grpc-message".to_vec()]);
    names.sort_unstable();
    names.dedup();
    fields.set("access-control-expose-headers", &names.join(&b", "[..]));

    let origin = value(&head.fields, b"origin");
    if let Some(origin) = origin.filter(|origin| terms.allows(origin)) {
        fields.set("access-control-allow-origin", origin);
        fields.set("access-control-allow-credentials", b"true");
    }
}
