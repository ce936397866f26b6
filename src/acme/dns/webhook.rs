//! A web service that publishes and removes records, with the protocol of lego's `httpreq`
//! provider.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use hickory_proto::rr::Name;
use http::{HeaderValue, Request, Uri, header};

use super::{
    Secret,
    error::Failure,
    record::Action,
    service::{Service, Working},
    web::{by_status, place, sensitive, url},
};
use crate::acme::ca::http::Http;

/// The address of the service.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// The base URL, to which `/present` and `/cleanup` are added.
    pub url: String,
    /// User name and password for basic authentication.
    pub login: Option<(String, Secret)>,
}

#[derive(Clone)]
pub(super) struct Webhook {
    present: Uri,
    cleanup: Uri,
    authorization: Option<HeaderValue>,
    http: Http,
}

impl Webhook {
    pub(super) fn new(settings: &WebhookSettings, http: Http) -> Result<Self, Failure> {
        let authorization = settings.login.as_ref().map(|(user, password)| {
            let login = BASE64_STANDARD.encode(format!("{user}:{}", password.expose()));
            sensitive(&format!("Basic {login}"))
        });
        let base = settings.url.trim_end_matches('/');
        let path = |path| url(&format!("{base}/{path}"));
        Ok(Self {
            present: path(Action::Present.as_str())?,
            cleanup: path(Action::Cleanup.as_str())?,
            authorization: authorization.transpose()?,
            http,
        })
    }

    async fn call(&self, action: Action, fqdn: &str, value: &str) -> Result<(), Failure> {
        let url = match action {
            Action::Present => &self.present,
            Action::Cleanup => &self.cleanup,
        };
        let body = serde_json::json!({ "action": action.as_str(), "fqdn": fqdn, "value": value })
            .to_string();
        let mut request = Request::post(url).header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let request = request
            .body(Bytes::from(body))
            .map_err(Failure::permanent)?;
        let reply = self.http.send(request).await.map_err(Failure::passing)?;
        if reply.status.is_success() {
            return Ok(());
        }

        let text = String::from_utf8_lossy(&reply.body).into_owned();
        Err(by_status(
            &reply,
            &format!(
                "the service responds {} to {}: {text}",
                reply.status,
                action.as_str()
            ),
        ))
    }
}

impl Service for Webhook {
    fn at(&self) -> String {
        place(&self.present)
    }

    fn change<'a>(&'a self, action: Action, name: &'a Name, value: &'a str) -> Working<'a, ()> {
        Box::pin(async move { self.call(action, &name.to_ascii(), value).await })
    }
}
