//! A client of a certificate authority: directory, nonces, and the requests without an account.

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use instant_acme::{Error, Key};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::{
    Account, ClientError, Directory, ErrorKind, RenewalInfo, Replied, Session,
    identifier::document,
    jws::{AccountKey, ExternalAccount, Signer},
    types::certificate_id,
    wire::{Wire, exchange},
};
use crate::{
    http_client::{Http, HttpError, Reply},
    util::{sync::lock, time::UnixSeconds},
};

/// The number of times that a request is sent again with another nonce: enough for a CA with
/// several servers that know only half of each other's nonces.
const NONCE_RETRIES: usize = 20;
/// The number of nonces that are kept, for requests at the same time.
const MOST_NONCES: usize = 4;
/// The largest length of a nonce.
const NONCE_LENGTH: usize = 512;
/// The age after which the directory is read again.
const DIRECTORY_AGE: Duration = Duration::from_secs(86_400);

/// A client of a certificate authority. Clones share directory and connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: Http,
    url: Uri,
    /// Locked while the directory is read, so that concurrent callers read it once.
    directory: tokio::sync::Mutex<Option<(Arc<Directory>, Instant)>>,
    /// Unused nonces of the last responses (RFC 8555 section 6.5), the newest at the end.
    nonces: Mutex<Vec<String>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.0.url)
    }
}

/// The name of a resource, and the function that takes its URL out of the directory.
pub(super) type Resource = (&'static str, fn(&Directory) -> Option<&str>);

const NEW_NONCE: Resource = ("newNonce", |directory| Some(&directory.new_nonce));
const NEW_ACCOUNT: Resource = ("newAccount", |directory| Some(&directory.new_account));
pub(super) const NEW_ORDER: Resource = ("newOrder", |directory| Some(&directory.new_order));
pub(super) const REVOKE_CERT: Resource =
    ("revokeCert", |directory| directory.revoke_cert.as_deref());
pub(super) const KEY_CHANGE: Resource = ("keyChange", |directory| directory.key_change.as_deref());
const RENEWAL_INFO: Resource = ("renewalInfo", |directory| directory.renewal_info.as_deref());

/// Sends a request to the URL of a resource, once more if the resource has moved.
macro_rules! to_resource {
    ($client:expr, $resource:expr, |$url:ident| $request:expr) => {{
        let mut is_again = false;
        loop {
            let url = $client.resource($resource).await?;
            let $url = &*url;
            let response = $request;
            if is_again || !$client.has_moved($resource, $url, &response).await? {
                break response;
            }
            is_again = true;
        }
    }};
}
pub(super) use to_resource;

impl Client {
    /// Creates a client of the CA with this directory URL, without connecting to it.
    ///
    /// # Errors
    /// The URL is invalid.
    pub fn new(http: Http, directory: &str) -> Result<Self, ClientError> {
        let url = directory.parse().map_err(|_bad| HttpError::Url)?;
        Ok(Self(Arc::new(Inner {
            http,
            url,
            directory: tokio::sync::Mutex::default(),
            nonces: Mutex::default(),
        })))
    }

    /// Returns the CA's directory, at most a day old.
    ///
    /// # Errors
    /// The CA does not respond with a directory.
    pub async fn directory(&self) -> Result<Arc<Directory>, ClientError> {
        let mut known = self.0.directory.lock().await;
        if let Some((directory, since)) = &*known
            && since.elapsed() < DIRECTORY_AGE
        {
            return Ok(directory.clone());
        }
        let reply = self.get(&self.0.url).await?;
        let directory = Arc::new(parsed::<Directory>(&reply, "no ACME directory")?.value);
        *known = Some((directory.clone(), Instant::now()));
        Ok(directory)
    }

    /// Returns the CA's time from the head of a response.
    ///
    /// # Errors
    /// The CA does not respond.
    pub async fn time(&self) -> Result<Option<UnixSeconds>, ClientError> {
        Ok(self.get(&self.0.url).await?.date())
    }

    /// Creates an account, or finds the one that the key has (RFC 8555 section 7.3), and agrees to
    /// the terms of service. With `only_existing`, no account is created: the CA responds with
    /// `accountDoesNotExist` instead (section 7.3.1).
    ///
    /// # Errors
    /// The CA refuses or does not respond.
    pub async fn new_account(
        &self,
        key: &AccountKey,
        contacts: &[String],
        external: Option<&ExternalAccount>,
        only_existing: bool,
    ) -> Result<Replied<Account>, ClientError> {
        // The crate can create an account for an existing key, but neither with contacts nor with a
        // binding.
        let ours = !only_existing && (external.is_some() || !contacts.is_empty());

        let reply = to_resource!(self, NEW_ACCOUNT, |url| if ours {
            let mut payload = json!({"termsOfServiceAgreed": true, "contact": contacts});
            if let Some(external) = external {
                payload["externalAccountBinding"] = external.binding(key, url);
            }
            self.post(key, Signer::Key, url, &payload.to_string()).await
        } else {
            exchange!(self.by_key(key, only_existing)).map(|(_, reply)| reply)
        })?;

        let url = location(&reply)?;
        let mut account = parsed::<Account>(&reply, "no account")?;

        account.value.url = url;
        Ok(account)
    }

    async fn by_key(&self, key: &AccountKey, only_existing: bool) -> Result<(), Error> {
        let pkcs8 = || PrivatePkcs8KeyDer::from(key.pkcs8().to_vec());
        let key = (Key::from_pkcs8_der(pkcs8())?, PrivateKeyDer::Pkcs8(pkcs8()));
        let builder = instant_acme::Account::builder_with_http(Box::new(Wire(self.clone())));
        let directory = self.0.url.to_string();
        if only_existing {
            builder.from_key(key, directory).await.map(drop)
        } else {
            builder.create_from_key(key, directory).await.map(drop)
        }
    }

    /// Opens a session for an account.
    pub fn session(&self, key: Arc<AccountKey>, account_url: &str) -> Session {
        Session::new(self.clone(), key, account_url)
    }

    /// Returns the renewal window of a certificate (RFC 9773). `id` comes from
    /// [`types::ari_id`](super::types::ari_id).
    ///
    /// # Errors
    /// The CA offers no renewal information, refuses, or does not respond.
    pub async fn renewal_info(&self, id: &str) -> Result<Replied<RenewalInfo>, ClientError> {
        self.resource(RENEWAL_INFO).await?;

        // The request needs no account, but the crate requires one.
        let anonymous = self
            .session(Arc::new(AccountKey::generate()), "")
            .crate_account()
            .await?;
        let id = certificate_id(id);
        let response = exchange!(anonymous.renewal_info(&id));
        if is_missing(&response) {
            self.forget_directory().await;
        }
        let (_, reply) = response?;

        // Parse the body ourselves: the crate fails without `Retry-After`.
        let read = parsed::<instant_acme::RenewalInfo>(&reply, "no renewal window")?.value;
        let window = RenewalInfo::of(read)
            .ok_or_else(|| ClientError::nonsense(&reply, "no renewal window"))?;
        Ok(Replied::of(window, &reply))
    }

    /// Returns the directory's URL.
    pub(super) fn url(&self) -> &Uri {
        &self.0.url
    }

    /// Returns the URL of a resource.
    pub(super) async fn resource(&self, (name, of): Resource) -> Result<String, ClientError> {
        let directory = self.directory().await?;
        of(&directory)
            .map(str::to_owned)
            .ok_or_else(|| ErrorKind::NotOffered(name).into())
    }

    async fn forget_directory(&self) {
        *self.0.directory.lock().await = None;
    }

    /// Parses a URL that the CA sent. If the directory's URL is https, others must be, too.
    pub(super) fn checked(&self, url: &str) -> Result<Uri, ClientError> {
        let uri: Uri = url.parse().map_err(|_bad| HttpError::Url)?;
        let secure = |uri: &Uri| uri.scheme_str() == Some("https");
        if secure(&self.0.url) && !secure(&uri) {
            return Err(HttpError::Url.into());
        }
        Ok(uri)
    }

    async fn get(&self, url: &Uri) -> Result<Reply, ClientError> {
        let reply = self.send(Method::GET, url.clone(), Bytes::new()).await?;
        if reply.status.is_success() {
            Ok(reply)
        } else {
            Err(ClientError::refused(&reply))
        }
    }

    /// Returns true if a resource is no longer at a URL: after a 404, the directory is read again.
    pub(super) async fn has_moved<T>(
        &self,
        resource: Resource,
        url: &str,
        response: &Result<T, ClientError>,
    ) -> Result<bool, ClientError> {
        if !is_missing(response) {
            return Ok(false);
        }
        self.forget_directory().await;
        Ok(self.resource(resource).await? != url)
    }

    /// Sends a signed request. `payload` is JSON, or empty for POST-as-GET.
    pub(super) async fn post(
        &self,
        key: &AccountKey,
        signer: Signer<'_>,
        url: &str,
        payload: &str,
    ) -> Result<Reply, ClientError> {
        let uri = self.checked(url)?;

        let mut left = NONCE_RETRIES;
        loop {
            let nonce = self.nonce().await?;
            let body = key.request(signer, &nonce, url, payload);
            let reply = self.send(Method::POST, uri.clone(), body.into()).await?;
            if reply.status.is_success() {
                return Ok(reply);
            }

            let error = ClientError::refused(&reply);
            if !error.is("badNonce") || left == 0 {
                return Err(error);
            }
            left -= 1;
        }
    }

    pub(super) async fn send(
        &self,
        method: Method,
        url: Uri,
        body: Bytes,
    ) -> Result<Reply, ClientError> {
        let mut request = Request::new(body);
        let is_signed = method == Method::POST;
        if is_signed {
            let jose = HeaderValue::from_static("application/jose+json");
            request.headers_mut().insert(header::CONTENT_TYPE, jose);
        }

        *request.method_mut() = method;
        *request.uri_mut() = url;

        let reply = self.0.http.send(request).await?;
        if is_signed {
            let mut nonces = lock(&self.0.nonces);
            nonces.extend(replay_nonce(&reply));
            if nonces.len() > MOST_NONCES {
                nonces.remove(0);
            }
        }

        Ok(reply)
    }

    /// Returns an unused nonce: that of the last response, or else a new one, whose rate CAs limit.
    pub(super) async fn nonce(&self) -> Result<String, ClientError> {
        let known = lock(&self.0.nonces).pop();
        if let Some(nonce) = known {
            return Ok(nonce);
        }
        let url = self.checked(&self.resource(NEW_NONCE).await?)?;
        let reply = self.send(Method::HEAD, url, Bytes::new()).await?;
        if !reply.status.is_success() {
            self.forget_directory().await;
            return Err(ClientError::refused(&reply));
        }
        replay_nonce(&reply).ok_or_else(|| ClientError::nonsense(&reply, "no nonce"))
    }
}

fn is_missing<T>(response: &Result<T, ClientError>) -> bool {
    matches!(response, Err(error) if error.status() == Some(404))
}

impl<T> Replied<T> {
    pub(super) fn of(value: T, reply: &Reply) -> Self {
        Self {
            value,
            retry_after: reply.retry_after(),
            date: reply.date(),
        }
    }
}

/// Parses the body of a successful response.
pub(super) fn parsed<T: DeserializeOwned>(
    reply: &Reply,
    otherwise: &'static str,
) -> Result<Replied<T>, ClientError> {
    let value = document(&reply.body).and_then(|body| T::deserialize(body).ok());
    let value = value.ok_or_else(|| ClientError::nonsense(reply, otherwise))?;
    Ok(Replied::of(value, reply))
}

/// Returns the nonce of a response (RFC 8555 section 6.5.1).
fn replay_nonce(reply: &Reply) -> Option<String> {
    let nonce = reply.header("replay-nonce")?;
    (1..=NONCE_LENGTH)
        .contains(&nonce.len())
        .then(|| nonce.to_owned())
}

/// Returns the URL of the created resource.
pub(super) fn location(reply: &Reply) -> Result<String, ClientError> {
    let location = reply.header("location").map(str::to_owned);
    location.ok_or_else(|| ClientError::nonsense(reply, "no Location"))
}

#[cfg(test)]
mod tests;
