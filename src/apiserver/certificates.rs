//! Client certificates for people and programs, which the administrator requests for them.

use std::time::Duration;

use http::{Method, Response, StatusCode, request::Parts};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Api,
    escalate::full_authority,
    response::{self, Body},
    status::ApiError,
};
use crate::{
    access::{self, Action, User},
    tls::LocalCa,
};

/// The path of requests for client certificates.
pub const CLIENT_CERTIFICATES: &str = "/gatelet/client-certificates";

/// The longest name of a user in a certificate (RFC 5280 ub-common-name).
const LONGEST_NAME: usize = 64;

/// The longest time for which a certificate is valid.
const LONGEST_LIFE: u64 = 10 * 366 * 86_400;

/// A request for a client certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientCertificateRequest {
    /// The name of the user.
    pub user: String,
    /// A certificate signing request (RFC 2986) as PEM, of which the key counts alone.
    pub request: String,
    /// The time for which the certificate is valid.
    pub seconds: u64,
}

/// A client certificate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// The certificate and its CA, as PEM.
    pub certificate: String,
    /// The CA of the server's certificate, as PEM.
    pub ca: String,
}

impl Api {
    /// Issues a client certificate: POST. Such a certificate can stand for any user, so only those
    /// who may do everything receive it.
    pub(super) fn issue_certificate(
        &self,
        user: &User,
        head: &Parts,
        body: &[u8],
    ) -> Result<Response<Body>, ApiError> {
        if head.method != Method::POST {
            return Err(ApiError::method_not_allowed());
        }
        let (own, _errors) = self.index.rules_of(user, "");
        let rules = access::missing(&own, &full_authority());
        if !user.is_master() && !rules.is_ok_and(|missing| missing.is_empty()) {
            let action = Action::Path {
                verb: "post".to_owned(),
                path: CLIENT_CERTIFICATES.to_owned(),
            };
            let why = "only users who may do everything issue certificates";
            return Err(ApiError::denied(&user.name, &action, why));
        }

        let request: ClientCertificateRequest = serde_json::from_slice(body)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        check(&request)?;

        let (ca_pem, ca_key) = self.auth.ca().ok_or_else(ApiError::method_not_allowed)?;
        let failed = |error: &dyn std::fmt::Display| ApiError::bare(error.to_string());
        let ca = LocalCa::from_pem(ca_pem, ca_key).map_err(|error| failed(&error))?;
        let life = Duration::from_secs(request.seconds);
        let certificate = ca
            .sign_client(&request.request, &request.user, life)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;

        tracing::info!(user = request.user, "a client certificate was issued");
        let body = json!(ClientCertificate {
            certificate,
            ca: ca_pem.to_owned(),
        });
        Ok(response::json(StatusCode::CREATED, body.to_string()))
    }
}

/// Refuses names that are not those of people or programs, and certificates without an end.
fn check(request: &ClientCertificateRequest) -> Result<(), ApiError> {
    let name = &request.user;
    let why = if name.is_empty() || name.len() > LONGEST_NAME {
        format!("the name of the user must have 1 to {LONGEST_NAME} bytes")
    } else if name.starts_with("system:") {
        "names that begin with system: are reserved".to_owned()
    } else if name.chars().any(char::is_control) {
        "the name of the user has control characters".to_owned()
    } else if request.seconds == 0 || request.seconds > LONGEST_LIFE {
        "a certificate is valid for ten years at most".to_owned()
    } else {
        return Ok(());
    };
    Err(ApiError::bad_request(why))
}
