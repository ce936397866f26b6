//! Tokens of ServiceAccounts: whose they are, and new ones (pkg/registry/core/serviceaccount
//! `TokenREST`); and the discovery of their keys by others (OpenID Connect).

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Response, StatusCode, header, uri::Authority};
use serde_json::{Value, json};

use super::{
    Api, admit,
    authenticate::{Certified, bearer},
    registry,
    response::{self, Body},
    reviews::Creation,
    status::ApiError,
    validate::FieldError,
};
use crate::{
    access::{BoundObject, ISSUER, TokenRequest, User},
    objects::{Key, Kind, RawObject},
    util::{stamp, time::UnixSeconds},
};

/// The shortest and the longest time for which a token is valid, and the default, in seconds.
const SHORTEST: i64 = 600;
const LONGEST: i64 = 1 << 32;
const DEFAULT: i64 = 3600;

impl Api {
    /// Returns the user of a request: that of its client certificate, or of its bearer token.
    pub(super) fn authenticate(
        &self,
        certified: Option<&Certified>,
        headers: &HeaderMap,
    ) -> Option<User> {
        let valid = certified.filter(|certified| certified.until >= UnixSeconds::now());
        if let Some(Certified { user, .. }) = valid {
            return Some(user.clone());
        }
        let (user, _audiences) = self.user_of_token(bearer(headers)?, &[ISSUER])?;
        Some(user)
    }

    /// Returns the user of a token that is for one of these audiences, and those that it is for.
    pub(super) fn user_of_token(
        &self,
        token: &str,
        audiences: &[&str],
    ) -> Option<(User, Vec<String>)> {
        if let Some(user) = self.auth.user(token) {
            let audiences = audiences.iter().map(|audience| (*audience).to_owned());
            return Some(((*user).clone(), audiences.collect()));
        }
        let key = self.auth.key()?;
        let verified = key.verify(token, audiences, &*self.view, UnixSeconds::now());
        verified
            .inspect_err(|error| tracing::debug!(%error, "a token is refused"))
            .ok()
    }

    /// Makes a token for a ServiceAccount.
    pub(super) fn new_token(&self, creation: Creation<'_>) -> Result<Value, ApiError> {
        let account = self.account(&creation)?;
        let mut object = creation.object;
        object["metadata"]["name"] = creation.name.as_str().into();
        object["metadata"]["uid"] = (*account.meta.uid).into();
        object["metadata"]["creationTimestamp"] = stamp::now().into();

        let spec = &mut object["spec"];
        if spec["audiences"].as_array().is_none_or(Vec::is_empty) {
            spec["audiences"] = json!([ISSUER]);
        }
        if spec["expirationSeconds"].is_null() {
            spec["expirationSeconds"] = DEFAULT.into();
        }
        if spec.get("boundObjectRef").is_none() {
            spec["boundObjectRef"] = Value::Null;
        }

        let secret = self.bound_secret(&creation.namespace, &spec["boundObjectRef"])?;
        let audiences = spec["audiences"].as_array().into_iter().flatten();
        let life = spec["expirationSeconds"].as_u64().unwrap_or_default();
        let request = TokenRequest {
            account: &account,
            audiences: audiences
                .filter_map(|audience| audience.as_str().map(str::to_owned))
                .collect(),
            life: Duration::from_secs(life),
            secret,
        };

        let key = self.auth.key().ok_or_else(ApiError::method_not_allowed)?;
        let (token, end) = key
            .sign(request)
            .map_err(|error| ApiError::bare(error.to_string()))?;
        object["status"] = json!({ "token": token, "expirationTimestamp": end.to_string() });
        Ok(object)
    }

    /// Returns the ServiceAccount of a request for a token, which must fit it.
    fn account(&self, creation: &Creation<'_>) -> Result<Arc<RawObject>, ApiError> {
        let Creation {
            namespace,
            name,
            object,
            ..
        } = creation;
        let found = admit::text(object, "/metadata/name");
        let problem = |field: &str, value: Value, why: &str| FieldError {
            field: field.to_owned(),
            reason: "FieldValueInvalid",
            message: format!("Invalid value: {value}: {why}"),
        };
        if !found.is_empty() && found != name {
            let why = "must match the service account name if specified";
            let problem = problem("metadata.name", found.into(), why);
            return Err(ApiError::invalid_token(name, problem));
        }

        let account = self.object(Kind::ServiceAccount, namespace, name)?;
        let seconds = object.pointer("/spec/expirationSeconds");
        let seconds = seconds.and_then(Value::as_i64).unwrap_or(DEFAULT);
        let why = match seconds {
            ..SHORTEST => "may not specify a duration less than 10 minutes",
            SHORTEST..=LONGEST => return Ok(account),
            _ => "may not specify a duration larger than 2^32 seconds",
        };
        let problem = problem("spec.expirationSeconds", seconds.into(), why);
        Err(ApiError::invalid_token("", problem))
    }

    /// Returns the Secret that a token has to be bound to, if any.
    fn bound_secret(
        &self,
        namespace: &str,
        reference: &Value,
    ) -> Result<Option<BoundObject>, ApiError> {
        if reference.is_null() {
            return Ok(None);
        }

        let text = |pointer: &str| admit::text(reference, pointer);
        let (api_version, kind) = (text("/apiVersion"), text("/kind"));
        if (api_version, kind) != ("v1", "Secret") {
            let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
            return Err(ApiError::bad_request(format!(
                "cannot bind token to object of type {group}/{version}, Kind={kind}"
            )));
        }

        let (name, uid) = (text("/name"), text("/uid"));
        let secret = self.object(Kind::Secret, namespace, name)?;
        if !uid.is_empty() && *uid != *secret.meta.uid {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. \
                 The object might have been deleted and then recreated"
            );
            return Err(ApiError::conflict(registry::of(Kind::Secret), name, &why));
        }
        Ok(Some(BoundObject {
            name: name.to_owned(),
            uid: secret.meta.uid.to_string(),
        }))
    }

    fn object(&self, kind: Kind, namespace: &str, name: &str) -> Result<Arc<RawObject>, ApiError> {
        let key = Key {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        };
        let found = self.view.get(&key);
        found.ok_or_else(|| ApiError::not_found(registry::of(kind), name))
    }

    /// Returns the documents by which others check tokens (OpenID Connect Discovery 1.0), or `None`
    /// for other paths.
    pub(super) fn key_discovery(
        &self,
        headers: &HeaderMap,
        segments: &[&str],
    ) -> Option<Response<Body>> {
        let key = self.auth.key()?;
        let (form, document) = match segments {
            [".well-known", "openid-configuration"] => {
                let host = headers
                    .get(header::HOST)
                    .and_then(|host| host.to_str().ok());
                let host = host.and_then(|host| host.parse::<Authority>().ok());
                let host = host
                    .as_ref()
                    .map_or("kubernetes.default.svc", Authority::as_str);

                let document = json!({
                    "issuer": ISSUER,
                    "jwks_uri": format!("https://{host}/openid/v1/jwks"),
                    "response_types_supported": ["id_token"],
                    "subject_types_supported": ["public"],
                    "id_token_signing_alg_values_supported": ["ES256"],
                });
                ("application/json", document)
            }
            ["openid", "v1", "jwks"] => ("application/jwk-set+json", key.key_set()),
            _ => return None,
        };
        Some(response::typed(StatusCode::OK, form, document.to_string()))
    }
}
