//! A web service that publishes and removes records, with the protocol of lego's `httpreq`
//! provider.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};

use super::{Action, Secret, error::Failure};
use crate::acme::ca::http::{Http, Reply};

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

    pub(super) fn at(&self) -> String {
        place(&self.present)
    }

    pub(super) async fn change(
        &self,
        action: Action,
        fqdn: &str,
        value: &str,
    ) -> Result<(), Failure> {
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

/// Creates a failure that is permanent or not depending on the response's status.
pub(super) fn by_status(reply: &Reply, reason: &str) -> Failure {
    let wait = matches!(
        reply.status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
    );
    let ours = reply.status.is_client_error() || reply.status.is_redirection();
    if ours && !wait {
        Failure::permanent(reason)
    } else {
        Failure::passing(reason)
    }
}

pub(super) fn url(text: &str) -> Result<Uri, Failure> {
    let wrong = || Failure::permanent("the URL is not an http or https URL with a host");
    let url: Uri = text.parse().map_err(|_| wrong())?;
    match (url.scheme_str(), url.authority()) {
        (Some("http" | "https"), Some(authority)) if !authority.as_str().contains('@') => Ok(url),
        _ => Err(wrong()),
    }
}

pub(super) fn sensitive(value: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| Failure::permanent("the secret has characters that HTTP does not allow"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Formats a URL without the parts that may be secret.
pub(super) fn place(url: &Uri) -> String {
    format!(
        "{}://{}",
        url.scheme_str().unwrap_or_default(),
        url.authority().map_or("", |host| host.as_str())
    )
}
