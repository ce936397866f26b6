//! The TLS handshake with a client: the common configuration, except for a CA that validates a name
//! by TLS-ALPN-01, and for addresses with their own certificate.

use std::{io, net::IpAddr};

use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor, rustls::server::Acceptor, server::TlsStream};

use crate::tls::{Challenges, Server};

/// Performs the handshake with `client`, which connected to `local`. Returns `None` if it was a
/// CA's validation, which ends with the handshake.
pub(crate) async fn handshake(
    stream: TcpStream,
    server: &Server,
    challenges: &Challenges,
    client: IpAddr,
    local: IpAddr,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    if !challenges.await_tls() && !server.resolver().has_addresses() {
        return TlsAcceptor::from(server.config().clone())
            .accept(stream)
            .await
            .map(Some);
    }

    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let challenge = challenges.tls(&start.client_hello(), client);
    if let Some(config) = challenge {
        start.into_stream(config).await?.shutdown().await?;
        return Ok(None);
    }

    let config = server.config_for(start.client_hello().server_name(), local);
    start.into_stream(config).await.map(Some)
}
