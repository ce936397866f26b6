//! The listener: TLS, authentication and limits. It passes requests to [`Api`].

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

use super::{
    api::Api,
    audit::Peer,
    authenticate::{self, Auth, Certified},
    flows::Flows,
    request::MAX_BODY,
    response::{self, Body},
    status::ApiError,
};
use crate::{
    access,
    objects::{Propose, View},
    telemetry::AuditLog,
    util::drain::Drain,
};

/// The time limit of a TLS handshake, of a request body, and of an HTTP/2 ping, each.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The address and the limits of the server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address to listen on; port 0 selects a free port.
    pub listen: SocketAddr,
    /// The limit of connections; others wait to be accepted.
    pub max_connections: usize,
    /// The limit of running watches; beyond it the response is 429.
    pub max_watches: usize,
}

impl Settings {
    /// Returns the limits for a small device.
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            max_connections: 256,
            max_watches: 512,
        }
    }
}

/// An error that prevents the server from starting.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {listen}: {source}")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// The error of the system.
        source: std::io::Error,
    },
}

/// A running server.
#[derive(Debug)]
pub struct Running {
    /// The address that the server listens on.
    pub addr: SocketAddr,
    /// The task of the server. It ends after the drain, when the last connection is closed.
    pub join: JoinHandle<()>,
}

/// Starts a server that serves the API until the drain, on the current runtime.
///
/// `tls` verifies client certificates. It must allow clients without one, which authenticate with a
/// token. `audit` receives a line for each write.
pub async fn serve(
    settings: Settings,
    propose: Arc<dyn Propose>,
    view: Arc<dyn View>,
    mut tls: ServerConfig,
    auth: Auth,
    audit: Option<Arc<AuditLog>>,
    drain: Drain,
) -> Result<Running, ServeError> {
    let listen = settings.listen;
    let failed = |source| ServeError::Listen { listen, source };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let addr = listener.local_addr().map_err(failed)?;

    // The first client finds the default roles. Without them the administrator still may do
    // everything.
    let defaults = access::ensure_defaults(&*propose, &*view).await;
    let complete = match defaults {
        Ok(()) => access::aggregate(&*propose, &*view).await,
        failed => failed,
    };
    if let Err(error) = complete {
        tracing::warn!(%error, "the default roles are not complete");
    }

    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let watches = Arc::new(Semaphore::new(settings.max_watches));
    let mut api = Api::new(propose, view, auth, watches, drain.clone());
    api.audit = audit;
    let api = Arc::new(api);

    let acceptor = Arc::new(Acceptor {
        api,
        flows: Arc::default(),
        tls: TlsAcceptor::from(Arc::new(tls)),
        drain,
    });
    #[allow(clippy::disallowed_methods, reason = "`Running` owns the task")]
    let join = tokio::spawn(accept(listener, acceptor, settings.max_connections));
    Ok(Running { addr, join })
}

/// Accepts connections and authenticates their requests.
struct Acceptor {
    api: Arc<Api>,
    flows: Arc<Flows>,
    tls: TlsAcceptor,
    drain: Drain,
}

/// Accepts connections until the drain, then waits for the open ones while the drain allows it.
async fn accept(listener: TcpListener, acceptor: Arc<Acceptor>, max_connections: usize) {
    let permits = Arc::new(Semaphore::new(max_connections));
    let mut drain = acceptor.drain.clone();
    let api = acceptor.api.clone();
    #[allow(
        clippy::disallowed_methods,
        reason = "the listener ends this task with itself"
    )]
    let cleanup = tokio::spawn(async move {
        tokio::join!(
            api.finish_namespaces(),
            api.expire_events(),
            api.collect_garbage(),
            api.publish_root_ca(),
            access::keep_aggregated(api.propose.clone(), api.view.clone()),
            access::keep_accounts(api.propose.clone(), api.view.clone()),
        )
    });

    let grace = loop {
        let permit = tokio::select! {
            grace = drain.draining() => break grace,
            permit = permits.clone().acquire_owned() => permit,
        };
        let stream = tokio::select! {
            grace = drain.draining() => break grace,
            accepted = listener.accept() => accepted,
        };
        match stream {
            Ok((stream, peer)) => {
                let acceptor = acceptor.clone();
                #[allow(
                    clippy::disallowed_methods,
                    reason = "the permits bound these tasks, and the drain waits for them"
                )]
                tokio::spawn(async move {
                    let _permit = permit;
                    acceptor.connection(stream, peer).await;
                });
            }
            Err(error) => {
                // Most likely the process is out of descriptors: wait until some are closed.
                tracing::warn!(%error, "cannot accept a connection to the API");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };

    drop(listener);
    cleanup.abort();
    // All permits are free once the last connection is closed.
    let all = u32::try_from(max_connections).unwrap_or(u32::MAX);
    let _some_are_cut_off = tokio::time::timeout(grace, permits.acquire_many(all)).await;
}

impl Acceptor {
    /// Serves one connection.
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let _delay_only = stream.set_nodelay(true);
        let stream = match tokio::time::timeout(TIMEOUT, self.tls.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return tracing::debug!(%error, "TLS handshake with a client of the API failed");
            }
            Err(_too_slow) => return,
        };

        let session = stream.get_ref().1;
        let chain = session.peer_certificates().unwrap_or_default();
        let certified = chain
            .first()
            .and_then(authenticate::certified)
            .map(Arc::new);
        let http2 = session.alpn_protocol() == Some(b"h2");

        let acceptor = self.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let (acceptor, certified) = (acceptor.clone(), certified.clone());
            async move {
                let response = acceptor.request(certified.as_deref(), request).await;
                Ok::<_, std::convert::Infallible>(response)
            }
        });

        // Open connections end after their current requests when the drain begins.
        let (io, mut drain) = (TokioIo::new(stream), self.drain.clone());
        if http2 {
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(128)
                .max_header_list_size(64 << 10)
                .keep_alive_interval(Duration::from_secs(30))
                .keep_alive_timeout(TIMEOUT)
                .serve_connection(io, service);
            tokio::pin!(connection);

            tokio::select! {
                _ended = connection.as_mut() => {}
                grace = drain.draining() => {
                    connection.as_mut().graceful_shutdown();
                    let _cut_off = tokio::time::timeout(grace, connection).await;
                }
            }
        } else {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(120))
                .max_buf_size(64 << 10)
                .serve_connection(io, service);
            tokio::pin!(connection);
            tokio::select! {
                _ended = connection.as_mut() => {}
                grace = drain.draining() => {
                    connection.as_mut().graceful_shutdown();
                    let _cut_off = tokio::time::timeout(grace, connection).await;
                }
            }
        }
    }

    /// Authenticates a request, reads its body and handles it. `certified` is the user of the
    /// client certificate.
    async fn request(
        &self,
        certified: Option<&Certified>,
        request: Request<Incoming>,
    ) -> Response<Body> {
        let (head, body) = request.into_parts();
        let Some(user) = self.api.authenticate(certified, &head.headers) else {
            return response::error(&ApiError::unauthorized(), None);
        };

        // Before the body: those that wait take no memory for theirs.
        let Ok(_seat) = self.flows.seat(&user.name).await else {
            return response::error(&ApiError::too_many("requests"), None);
        };

        match tokio::time::timeout(TIMEOUT, Limited::new(body, MAX_BODY).collect()).await {
            Ok(Ok(body)) => self.api.handle(user, &head, body.to_bytes()).await,
            Ok(Err(error)) if error.is::<LengthLimitError>() => {
                response::error(&ApiError::body_too_large(MAX_BODY), None)
            }
            Ok(Err(_)) | Err(_) => response::error(
                &ApiError::bad_request("the request's body is incomplete"),
                None,
            ),
        }
    }
}
