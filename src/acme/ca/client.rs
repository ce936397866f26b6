//! A certificate authority: its directory, its nonces, and what can be asked without an account.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header as name};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    Account, ClientError, Directory, RenewalInfo, Replied, Session, header,
    http::{Http, HttpError, Reply},
    jws::{AccountKey, ExternalAccount, Signer},
};

/// How often a request is sent again with a nonce that the CA likes better: enough for a CA of several servers behind
/// one name that know half of each other's nonces.
const NONCE_RETRIES: usize = 20;
/// Nonces kept, and how long one may be.
const NONCES: usize = 8;
const NONCE_LENGTH: usize = 512;
/// A directory is asked for again after this.
const DIRECTORY_AGE: Duration = Duration::from_secs(86_400);

/// A certificate authority. Clones share nonces and connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    http: Http,
    url: Uri,
    /// Held while the directory is asked for, so that many ask once.
    directory: tokio::sync::Mutex<Option<(Arc<Directory>, Instant)>>,
    /// The newest at the back.
    nonces: Mutex<VecDeque<String>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Client({})", self.0.url)
    }
}

/// Takes the URL of a resource out of the directory.
pub(super) type Resource = (&'static str, fn(&Directory) -> Option<&str>);

const NEW_NONCE: Resource = ("newNonce", |directory| Some(&directory.new_nonce));
const NEW_ACCOUNT: Resource = ("newAccount", |directory| Some(&directory.new_account));
pub(super) const NEW_ORDER: Resource = ("newOrder", |directory| Some(&directory.new_order));
pub(super) const REVOKE_CERT: Resource = ("revokeCert", |directory| directory.revoke_cert.as_deref());
pub(super) const KEY_CHANGE: Resource = ("keyChange", |directory| directory.key_change.as_deref());
const RENEWAL_INFO: Resource = ("renewalInfo", |directory| directory.renewal_info.as_deref());

impl Client {
    /// A client of the CA with this directory URL. Asks for nothing yet.
    ///
    /// # Errors
    /// A URL that is none.
    pub fn new(http: Http, directory: &str) -> Result<Self, ClientError> {
        let url = directory.parse().map_err(|_bad| HttpError::Url)?;
        Ok(Self(Arc::new(Inner { http, url, directory: tokio::sync::Mutex::default(), nonces: Mutex::default() })))
    }

    /// The CA's directory; at most a day old.
    ///
    /// # Errors
    /// No directory.
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

    /// The CA's time, in seconds since 1970, from the head of any answer.
    ///
    /// # Errors
    /// The CA does not answer.
    pub async fn time(&self) -> Result<Option<i64>, ClientError> {
        Ok(header::date(&self.get(&self.0.url).await?.headers))
    }

    /// Makes an account, or finds the one that the key has (RFC 8555 section 7.3); agrees to the terms of service. With
    /// `only_existing`, none is made: the CA says `accountDoesNotExist` instead (section 7.3.1).
    ///
    /// # Errors
    /// The CA refuses or does not answer.
    pub async fn new_account(
        &self,
        key: &AccountKey,
        contacts: &[String],
        external: Option<&ExternalAccount>,
        only_existing: bool,
    ) -> Result<Replied<Account>, ClientError> {
        let payload = |url: &str| {
            if only_existing {
                return json!({"onlyReturnExisting": true});
            }
            let mut payload = json!({"termsOfServiceAgreed": true});
            if !contacts.is_empty() {
                payload["contact"] = contacts.into();
            }
            if let Some(external) = external {
                payload["externalAccountBinding"] = external.binding(key, url);
            }
            payload
        };
        let reply = self.post_to(NEW_ACCOUNT, key, Signer::Key, payload).await?;
        let url = location(&reply)?;
        let account = parsed::<Account>(&reply, "no account")?;
        Ok(account.map(|account| Account { url, ..account }))
    }

    /// What an account can ask for.
    pub fn session(&self, key: Arc<AccountKey>, account_url: &str) -> Session {
        Session::new(self.clone(), key, account_url)
    }

    /// When a certificate should be replaced (RFC 9773); `id` is of [`ari_id`].
    ///
    /// # Errors
    /// The CA offers no such information, refuses, or does not answer.
    pub async fn renewal_info(&self, id: &str) -> Result<Replied<RenewalInfo>, ClientError> {
        let base = self.resource(RENEWAL_INFO).await?;
        let reply = self.get(&self.checked(&format!("{}/{id}", base.trim_end_matches('/')))?).await;
        if reply.as_ref().is_err_and(|error| error.status() == Some(404)) {
            self.forget_directory().await;
        }
        parsed(&reply?, "no renewal window")
    }

    /// The URL of a resource.
    async fn resource(&self, (name, of): Resource) -> Result<String, ClientError> {
        let directory = self.directory().await?;
        of(&directory).map(str::to_owned).ok_or_else(|| ClientError::not_offered(name))
    }

    async fn forget_directory(&self) {
        *self.0.directory.lock().await = None;
    }

    /// A URL that the CA gave. What begins with https goes on with https.
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
        if reply.status.is_success() { Ok(reply) } else { Err(ClientError::refused(&reply)) }
    }

    /// Posts to a resource of the directory. When it is gone, the directory is asked for once more.
    pub(super) async fn post_to(
        &self,
        resource: Resource,
        key: &AccountKey,
        signer: Signer<'_>,
        payload: impl Fn(&str) -> Value,
    ) -> Result<Reply, ClientError> {
        let url = self.resource(resource).await?;
        let answer = self.post(key, signer, &url, &payload(&url).to_string()).await;
        if !answer.as_ref().is_err_and(|error| error.status() == Some(404)) {
            return answer;
        }
        self.forget_directory().await;
        let moved = self.resource(resource).await?;
        if moved == url { answer } else { self.post(key, signer, &moved, &payload(&moved).to_string()).await }
    }

    /// A signed request. `payload` is JSON, or empty for POST-as-GET.
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
            self.keep_nonce(&reply);
            if reply.status.is_success() {
                return Ok(reply);
            }
            let error = ClientError::refused(&reply);
            if !error.is("badNonce") || left == 0 {
                return Err(error);
            }
            left -= 1;
            // The others are likely to be as old; the answer brought a new one (RFC 8555 section 6.5).
            let mut nonces = self.nonces();
            let newest = nonces.pop_back();
            nonces.clear();
            nonces.extend(newest);
        }
    }

    async fn send(&self, method: Method, url: Uri, body: Bytes) -> Result<Reply, ClientError> {
        let mut request = Request::new(body);
        if method == Method::POST {
            let jose = HeaderValue::from_static("application/jose+json");
            request.headers_mut().insert(name::CONTENT_TYPE, jose);
        }
        *request.method_mut() = method;
        *request.uri_mut() = url;
        Ok(self.0.http.send(request).await?)
    }

    async fn nonce(&self) -> Result<String, ClientError> {
        if let Some(nonce) = self.nonces().pop_back() {
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

    fn keep_nonce(&self, reply: &Reply) {
        let Some(nonce) = replay_nonce(reply) else { return };
        let mut nonces = self.nonces();
        if nonces.len() == NONCES {
            nonces.pop_front();
        }
        nonces.push_back(nonce);
    }

    fn nonces(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.0.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Replied<T> {
    /// Another value with the same headers.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Replied<U> {
        Replied { value: change(self.value), retry_after: self.retry_after, date: self.date }
    }

    pub(super) fn of(value: T, reply: &Reply) -> Self {
        Self { value, retry_after: header::retry_after(&reply.headers), date: header::date(&reply.headers) }
    }
}

/// The body of a success.
pub(super) fn parsed<T: DeserializeOwned>(reply: &Reply, otherwise: &'static str) -> Result<Replied<T>, ClientError> {
    let value = serde_json::from_slice(&reply.body).map_err(|_bad| ClientError::nonsense(reply, otherwise))?;
    Ok(Replied::of(value, reply))
}

/// The nonce that an answer brought (RFC 8555 section 6.5.1).
fn replay_nonce(reply: &Reply) -> Option<String> {
    let nonce = header::text(&reply.headers, "replay-nonce")?;
    (1..=NONCE_LENGTH).contains(&nonce.len()).then(|| nonce.to_owned())
}

/// The URL of what was made.
pub(super) fn location(reply: &Reply) -> Result<String, ClientError> {
    let location = header::text(&reply.headers, name::LOCATION.as_str());
    location.map(str::to_owned).ok_or_else(|| ClientError::nonsense(reply, "no Location"))
}

#[cfg(test)]
mod tests;
