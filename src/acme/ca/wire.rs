//! The layer below instant-acme: our HTTP client, our copy of the directory, and a record of each
//! response. The crate drops statuses, headers and unknown members, so the complete response is
//! recorded here.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use serde_json::json;

use super::{Client, ClientError, Problem, identifier::document};
use crate::{
    http_client::{HttpError, Reply},
    util::sync::lock,
};

/// The number of calls of the crate while a CA refuses nonces. Each call tries three nonces.
pub(super) const ROUNDS: usize = 7;

tokio::task_local! {
    /// The last response in this task's call. The crate starts no tasks.
    static LAST: Arc<Mutex<Last>>;
}

type Last = Option<Result<Reply, ClientError>>;

/// Calls the crate, and repeats the call while the CA asks for another nonce: see [`round`]. It is
/// a macro because the futures of closures that borrow are not `Send` for every lifetime.
macro_rules! exchange {
    ($call:expr) => {{
        let mut left = $crate::acme::ca::wire::ROUNDS;
        loop {
            left -= 1;
            match $crate::acme::ca::wire::round($call).await {
                Err(error) if error.is("badNonce") && left > 0 => {}
                answer => break answer,
            }
        }
    }};
}
pub(super) use exchange;

/// Calls the crate. Returns the CA's response, which is a success, and the crate's result if it
/// could parse the response.
pub(super) async fn round<T>(
    call: impl Future<Output = Result<T, Error>>,
) -> Result<(Option<T>, Reply), ClientError> {
    let last = Arc::<Mutex<Last>>::default();
    let made = LAST.scope(last.clone(), Box::pin(call)).await.ok();
    let last = lock(&last).take();
    // Without a response, the crate did not accept the URL.
    let reply = last.unwrap_or_else(|| Err(HttpError::Url.into()))?;
    if reply.status.is_success() {
        Ok((made, reply))
    } else {
        Err(ClientError::refused(&reply))
    }
}

/// The HTTP client for the crate's accounts.
pub(super) struct Wire(pub(super) Client);

impl HttpClient for Wire {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.0.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .unwrap_or_else(|never| match never {})
                .to_bytes();
            match answer(&client, head.method, head.uri, body).await {
                Ok(response) => Ok(response.into()),
                Err(error) => {
                    record(Err(error.clone()));
                    Err(Error::Other(Box::new(error)))
                }
            }
        })
    }
}

async fn answer(
    client: &Client,
    method: Method,
    url: Uri,
    body: Bytes,
) -> Result<Response<Full<Bytes>>, ClientError> {
    if method == Method::HEAD {
        let response = Response::builder().header("replay-nonce", client.nonce().await?);
        return response
            .body(Full::default())
            .map_err(|_bad| HttpError::Url.into());
    }
    // The crate requests the directory for each account.
    if url == *client.url() {
        return Ok(Response::new(
            json!(*client.directory().await?).to_string().into(),
        ));
    }

    let reply = client
        .send(method, client.checked(&url.to_string())?, body)
        .await?;
    let mut response = Response::new(readable(&reply).into());
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers.clone();
    // The client has already kept the nonce for the next request.
    response.headers_mut().remove("replay-nonce");
    record(Ok(reply));
    Ok(response)
}

/// Returns a response's body in a form that the crate can parse: every error becomes a problem
/// document, including HTML pages and documents with a status in quotes, and nothing is `null`.
fn readable(reply: &Reply) -> Bytes {
    if !reply.status.is_success() {
        let Problem { kind, detail, .. } = Problem::of(reply);
        return json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail})
            .to_string()
            .into();
    }
    document(&reply.body).map_or_else(|| reply.body.clone(), |body| body.to_string().into())
}

/// Records a response. Outside of [`round`], only the directory is requested, which needs no
/// record.
fn record(response: Result<Reply, ClientError>) {
    let _outside = LAST.try_with(|last| *lock(last) = Some(response));
}

#[cfg(test)]
mod tests;
