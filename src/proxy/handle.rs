//! A request from its head to the answer.

use std::rc::Rc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::{body::Body, conn::ConnInfo, worker::Worker};

#[allow(dead_code, reason = "the server that calls it follows")]
/// Answers one request of a client connection.
pub(crate) async fn handle(_worker: &Rc<Worker>, _conn: &Rc<ConnInfo>, _req: Request<Incoming>) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from_static(b"no route\n")));
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
