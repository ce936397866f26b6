//! The transport of a client's connection.

use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::proxy::transport::Transport;

/// A socket, with or without TLS.
pub(crate) type ClientStream = Transport<TlsStream<TcpStream>>;

impl ClientStream {
    /// Returns the socket.
    pub(crate) fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}
