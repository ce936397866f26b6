//! A web service that publishes and removes records, with the protocol of lego's `httpreq`
//! provider.

use base64::{Engine, prelude::BASE64_STANDARD};
use hickory_proto::rr::Name;
use http::{Method, header};
use serde_json::json;

use super::{
    Secret,
    error::Failure,
    record::Action,
    service::{Service, Working},
    web::Web,
};
use crate::http_client::Http;

/// The address of the service.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// The base URL, to which `/present` and `/cleanup` are added.
    pub url: String,
    /// User name and password for basic authentication.
    pub login: Option<(String, Secret)>,
}

pub(super) struct Webhook(Web);

impl Webhook {
    pub(super) fn new(settings: &WebhookSettings, http: &Http) -> Result<Self, Failure> {
        let mut web = Web::new(None, &settings.url, http)?;
        if let Some((user, password)) = &settings.login {
            let login = BASE64_STANDARD.encode(format!("{user}:{}", password.expose()));
            web = web.hiding(password).authorized(
                header::AUTHORIZATION,
                "Basic ",
                &Secret::new(&login),
            )?;
        }
        Ok(Self(web))
    }
}

impl Service for Webhook {
    fn at(&self) -> String {
        self.0.place().to_owned()
    }

    fn change<'a>(&'a self, action: Action, name: &'a Name, value: &'a str) -> Working<'a, ()> {
        Box::pin(async move {
            let (action, fqdn) = (action.as_str(), name.to_ascii());
            let body = json!({ "action": action, "fqdn": fqdn, "value": value });
            let path = format!("/{action}");
            let sent = self.0.send_json(&Method::POST, &path, Some(body)).await;
            Ok(sent.map(drop)?)
        })
    }
}
