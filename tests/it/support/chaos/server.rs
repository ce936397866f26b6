//! The CA's web server: HTTPS with HTTP/1.1 and HTTP/2, and the faults that concern a whole
//! response.

use std::{
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use rustls::ServerConfig;
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::JoinSet,
    time::{Sleep, sleep},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Door, LogLine, account, certificate,
    faults::{Action, Endpoint, RetryAfter},
    jws::{self, Signed},
    limits::{self, Limit},
    order,
    problem::Problem,
    state::State,
    validate,
};

/// The state that all tasks share.
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) good: Arc<ServerConfig>,
    pub(super) expired: Arc<ServerConfig>,
}

/// A request with its faults.
pub(super) struct Call {
    pub(super) endpoint: Endpoint,
    /// The last parts of the path.
    pub(super) id: String,
    pub(super) sub: Option<String>,
    pub(super) method: Method,
    pub(super) url: String,
    pub(super) content_type: String,
    pub(super) body: Bytes,
    pub(super) actions: Vec<Action>,
}

/// A response.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

type Done = Result<Response<BoxBody<Bytes, io::Error>>, io::Error>;

/// A change of the treatment of connections, and the channel that confirms it.
pub(super) type DoorChange = (Door, std::sync::mpsc::Sender<()>);

impl Shared {
    pub(super) fn new(state: State, good: ServerConfig, expired: ServerConfig) -> Self {
        Self {
            state: Mutex::new(state),
            good: Arc::new(good),
            expired: Arc::new(expired),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Call {
    pub(super) fn has(&self, action: &Action) -> bool {
        self.actions.contains(action)
    }

    /// Returns the first result of a planned action of this call.
    pub(super) fn find<'a, T>(&'a self, what: impl FnMut(&'a Action) -> Option<T>) -> Option<T> {
        self.actions.iter().find_map(what)
    }

    /// The path's number.
    pub(super) fn number(&self) -> u64 {
        self.id.parse().unwrap_or(0)
    }
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
        Self {
            status,
            headers,
            body: body.to_string().into_bytes(),
        }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    pub(super) fn problem(problem: &Problem) -> Self {
        let mut reply = Self::json(problem.status, &problem.json());
        reply.headers = vec![(
            "Content-Type".to_owned(),
            "application/problem+json".to_owned(),
        )];
        match problem.retry_after {
            Some(seconds) => reply.header("Retry-After", seconds.to_string()),
            None => reply,
        }
    }
}

/// Serves until the other side of `doors` is gone.
pub(super) async fn run(
    shared: Arc<Shared>,
    listener: std::net::TcpListener,
    mut doors: mpsc::Receiver<DoorChange>,
) {
    let address = listener.local_addr().expect("a bound listener");
    let mut listener =
        Some(TcpListener::from_std(listener).expect("a listener that does not block"));
    let mut door = Door::Open;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            change = doors.recv() => {
                let Some((new, done)) = change else { return };
                door = new;
                connections.shutdown().await;
                listener = match (door, listener) {
                    (Door::Refuses, _) => None,
                    (_, None) => Some(TcpListener::bind(address).await.expect("the port again")),
                    (_, open) => open,
                };
                // Nothing waits for it.
                let _ = done.send(());
            }
            stream = accept(listener.as_ref()) => {
                while connections.try_join_next().is_some() {}
                connections.spawn(connection(shared.clone(), stream, door));
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            return stream;
        }
    }
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, door: Door) {
    let config = match door {
        Door::Open | Door::Refuses => shared.good.clone(),
        Door::ShowsExpiredCertificate => shared.expired.clone(),
        Door::EndsHandshake => return,
        Door::Silent => std::future::pending().await,
    };
    let Ok(stream) = TlsAcceptor::from(config).accept(stream).await else {
        return;
    };
    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let enough = Arc::new(Notify::new());
    let last = enough.clone();
    let service = service_fn(move |request| answer(shared.clone(), request, last.clone()));
    // The client notices how a connection ends.
    if two {
        let mut serving = pin!(
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
        );
        tokio::select! {
            _ = serving.as_mut() => return,
            () = enough.notified() => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    } else {
        let mut serving =
            pin!(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            _ = serving.as_mut() => return,
            () = enough.notified() => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    }
}

/// Responds to one request; an error ends its connection.
async fn answer(shared: Arc<Shared>, request: Request<Incoming>, enough: Arc<Notify>) -> Done {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, 65_536)
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    let mut call = route(&shared, head.method, head.uri.path(), &head.headers, body);
    if let Some(call) = &mut call {
        call.actions = shared.state().script.at(call.endpoint);
        for action in &call.actions {
            if let Action::Delay(time) = action {
                sleep(*time).await;
            }
        }
    }
    let agent = head.headers.contains_key("user-agent");
    let (reply, jobs) = {
        let mut state = shared.state();
        let reply = match &call {
            Some(call) => whole(&mut state, call, agent),
            None => Ok(Reply::problem(&Problem::not_found("page"))),
        };
        (reply, std::mem::take(&mut state.jobs))
    };
    for job in jobs {
        tokio::spawn(validate::run(shared.clone(), job));
    }
    if call
        .as_ref()
        .is_some_and(|call| call.has(&Action::HangAfterCommit))
    {
        std::future::pending::<()>().await;
    }
    let mut reply = reply?;
    if call.as_ref().is_some_and(|call| call.has(&Action::GoAway)) {
        enough.notify_one();
        if head.version < http::Version::HTTP_2 {
            reply = reply.header("Connection", "close");
        }
    }
    let mut response = Response::new(reply.body.clone());
    *response.status_mut() = StatusCode::from_u16(reply.status).map_err(io::Error::other)?;
    for (name, value) in reply.headers {
        let name = http::HeaderName::try_from(name).map_err(io::Error::other)?;
        response
            .headers_mut()
            .append(name, value.try_into().map_err(io::Error::other)?);
    }
    let cut = call.as_ref().and_then(|call| {
        call.find(|action| {
            if let Action::CutAfter(length) = action {
                Some(*length)
            } else {
                None
            }
        })
    });
    Ok(response.map(|body| match cut {
        Some(length) => Cut::new(&body, length).boxed(),
        None => Full::from(body).map_err(|never| match never {}).boxed(),
    }))
}

fn route(
    shared: &Shared,
    method: Method,
    path: &str,
    headers: &HeaderMap,
    body: Bytes,
) -> Option<Call> {
    let (base, moved) = {
        let state = shared.state();
        (state.base.clone(), state.moved.to_string())
    };
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (endpoint, id, sub) = match parts[..] {
        ["directory"] => (Endpoint::Directory, "", None),
        ["new", version, what] if version == moved => {
            let endpoint = match what {
                "nonce" => Endpoint::NewNonce,
                "account" => Endpoint::NewAccount,
                "order" => Endpoint::NewOrder,
                "key" => Endpoint::KeyChange,
                "revocation" => Endpoint::RevokeCert,
                _ => return None,
            };
            (endpoint, "", None)
        }
        ["acct", id] => (Endpoint::Account, id, None),
        ["order", id] => (Endpoint::Order, id, None),
        ["authz", id] => (Endpoint::Authz, id, None),
        ["chall", id, kind] => (Endpoint::Challenge, id, Some(kind)),
        ["finalize", id] => (Endpoint::Finalize, id, None),
        ["cert", id] => (Endpoint::Certificate, id, None),
        ["cert", id, chain] => (Endpoint::Certificate, id, Some(chain)),
        ["ari", id] => (Endpoint::RenewalInfo, id, None),
        _ => return None,
    };
    let content_type = headers
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let (id, sub) = (id.to_owned(), sub.map(str::to_owned));
    Some(Call {
        endpoint,
        id,
        sub,
        method,
        url: format!("{base}{path}"),
        content_type,
        body,
        actions: Vec::new(),
    })
}

/// Handles a call, adds the common fields to the response, and records it.
fn whole(state: &mut State, call: &Call, agent: bool) -> Result<Reply, io::Error> {
    let now = state.now();
    let mut line = LogLine {
        endpoint: call.endpoint,
        account: None,
        names: Vec::new(),
        status: None,
        problem: None,
        at: now,
    };
    if call.has(&Action::CloseBeforeCommit) {
        state.log.push(line);
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let result = in_front(call).map_or_else(
        || {
            if agent {
                handle(state, call, &mut line)
            } else {
                Err(Problem::malformed("no User-Agent"))
            }
        },
        Ok,
    );
    let mut reply = result.unwrap_or_else(|problem| {
        let reply = Reply::problem(&problem);
        let terms = format!("<{}>;rel=\"terms-of-service\"", account::terms(state));
        let needs_terms = problem.kind == "userActionRequired";
        line.problem = Some(problem.kind);
        if needs_terms {
            reply.header("Link", terms)
        } else {
            reply
        }
    });
    if call.has(&Action::OddMembers) && reply.status < 300 {
        odd_members(call.endpoint, &mut reply);
    }
    let is_new_nonce = call.endpoint == Endpoint::NewNonce;
    if (call.method == Method::POST || is_new_nonce)
        && in_front(call).is_none()
        && !call.has(&Action::NoNonce)
    {
        reply = reply.header("Replay-Nonce", state.nonce());
    }
    let mut date = now;
    for action in &call.actions {
        match action {
            Action::DateOffset(seconds) => date += SignedDuration::from_secs(*seconds),
            Action::RetryAfter(how) => reply = reply.header("Retry-After", retry_after(*how, now)),
            _ => {}
        }
    }
    reply = reply
        .header("Date", http_date(date))
        .header("Cache-Control", "no-store");
    if call.endpoint != Endpoint::Directory {
        reply = reply.header(
            "Link",
            format!("<{}>;rel=\"index\"", state.url("directory")),
        );
    }
    let lost = call.has(&Action::CloseAfterCommit);
    line.status = (!lost).then_some(reply.status);
    state.log.push(line);
    if lost {
        Err(io::ErrorKind::ConnectionAborted.into())
    } else {
        Ok(reply)
    }
}

/// Gives optional members an odd form; an account keeps only its `Location`.
fn odd_members(endpoint: Endpoint, reply: &mut Reply) {
    if matches!(endpoint, Endpoint::NewAccount) {
        reply.body.clear();
        return;
    }
    let Ok(mut body) = serde_json::from_slice::<Value>(&reply.body) else {
        return;
    };
    let Some(members) = body.as_object_mut() else {
        return;
    };
    for (name, value) in [
        ("contact", json!("mailto:a@b.test")),
        ("error", json!("none")),
        ("expires", json!(7)),
        ("meta", json!([])),
        ("notAfter", json!(null)),
        ("profile", json!({})),
        ("replaces", json!(5)),
        ("wildcard", json!("false")),
    ] {
        members.insert(name.to_owned(), value);
    }
    if let Some(challenges) = members
        .get_mut("challenges")
        .and_then(|list| list.as_array_mut())
    {
        challenges
            .iter_mut()
            .for_each(|one| one["error"] = json!([]));
        challenges.extend([json!(null), json!({"type": "odd-01"}), json!("dns-01")]);
    }
    reply.body = body.to_string().into_bytes();
}

/// Returns the response of a proxy in front of the CA.
fn in_front(call: &Call) -> Option<Reply> {
    call.find(|action| match action {
        Action::Answer {
            status,
            headers,
            body,
        } => Some(Reply {
            status: *status,
            headers: headers.clone(),
            body: body.clone(),
        }),
        Action::Redirect(to) => Some(Reply::empty(307).header("Location", to)),
        _ => None,
    })
}

fn handle(state: &mut State, call: &Call, line: &mut LogLine) -> Result<Reply, Problem> {
    let now = state.now();
    let open = matches!(
        call.endpoint,
        Endpoint::Directory | Endpoint::NewNonce | Endpoint::RenewalInfo
    );
    let allowed: &[Method] = if open {
        &[Method::GET, Method::HEAD]
    } else {
        &[Method::POST]
    };
    if !allowed.contains(&call.method) {
        return Err(Problem::malformed(format!("{} is not for this", call.method)).status(405));
    }
    if call.has(&Action::AccountUnknown) {
        state.forget();
    }
    if call.has(&Action::TosChanged) {
        state.terms += 1;
    }
    if call.has(&Action::DirectoryMoved) {
        state.moved += 1;
    }
    let refusal = call.find(|action| {
        if let Action::Problem(problem) = action {
            Some(problem.clone())
        } else {
            None
        }
    });
    if open {
        if let Some(problem) = refusal {
            return Err(problem);
        }
        return match call.endpoint {
            Endpoint::Directory => {
                rate(state, limits::DIRECTORY_RATE)?;
                Ok(account::directory(state, call))
            }
            Endpoint::NewNonce => {
                rate(state, limits::NONCE_RATE)?;
                Ok(Reply::empty(if call.method == Method::HEAD {
                    200
                } else {
                    204
                }))
            }
            _ => certificate::renewal_info(state, call, now),
        };
    }
    let signed = jws::verify(state, call)?;
    line.account = signed
        .account()
        .ok()
        .map(|id| state.url(format_args!("acct/{id}")));
    account::may_act(state, call, &signed)?;
    if let Some(problem) = refusal {
        return Err(problem);
    }
    dispatch(state, call, &signed, line)
}

fn dispatch(
    state: &mut State,
    call: &Call,
    signed: &Signed,
    line: &mut LogLine,
) -> Result<Reply, Problem> {
    match call.endpoint {
        Endpoint::NewAccount => account::new(state, call, signed),
        Endpoint::Account => account::update(state, call, signed),
        Endpoint::KeyChange => account::key_change(state, call, signed),
        Endpoint::NewOrder => {
            rate(state, limits::ORDER_RATE)?;
            order::new(state, call, signed, line)
        }
        Endpoint::Order => order::read(state, call, signed, line),
        Endpoint::Authz => order::authz(state, call, signed, line),
        Endpoint::Challenge => order::challenge(state, call, signed, line),
        Endpoint::Finalize => certificate::finalize(state, call, signed, line),
        Endpoint::Certificate => certificate::download(state, call, signed),
        Endpoint::RevokeCert => certificate::revoke(state, signed),
        Endpoint::Directory | Endpoint::NewNonce | Endpoint::RenewalInfo | Endpoint::Any => {
            Err(Problem::not_found("page"))
        }
    }
}

/// Counts a request; refuses it only if the CA enforces its limits.
fn rate(state: &mut State, limit: Limit) -> Result<(), Problem> {
    let now = state.now();
    let refused = state
        .limits
        .spend(limit, "127.0.0.1", now)
        .map_err(|problem| problem.status(503));
    if state.options.enforce_limits {
        refused
    } else {
        Ok(())
    }
}

fn retry_after(how: RetryAfter, now: Timestamp) -> String {
    match how {
        RetryAfter::Date(seconds) => http_date(now + SignedDuration::from_secs(seconds)),
        RetryAfter::Garbage => "soon-ish".to_owned(),
        RetryAfter::Huge => "946080000".to_owned(),
        RetryAfter::Seconds(seconds) => seconds.to_string(),
    }
}

fn http_date(at: Timestamp) -> String {
    DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&at)
        .expect("a year of four digits")
}

/// A body that announces its full length and ends early.
struct Cut {
    promised: u64,
    part: Option<Bytes>,
    /// Lets the first part leave before the connection ends.
    pause: Pin<Box<Sleep>>,
}

impl Cut {
    fn new(body: &[u8], length: usize) -> Self {
        let part = Bytes::copy_from_slice(&body[..length.min(body.len())]);
        let pause = Box::pin(sleep(Duration::from_millis(20)));
        Self {
            promised: body.len() as u64 + 1,
            part: (!part.is_empty()).then_some(part),
            pause,
        }
    }
}

impl Body for Cut {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(part) = self.part.take() {
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        self.pause
            .as_mut()
            .poll(context)
            .map(|()| Some(Err(io::ErrorKind::ConnectionAborted.into())))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.promised)
    }
}
