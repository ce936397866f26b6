//! Begins to serve a client connection: PROXY protocol, TLS, and the choice of HTTP/1.1 or HTTP/2.

use std::{cell::RefCell, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::rustls::ProtocolVersion;

use super::{
    client::ClientStream,
    h1::{self, DRAIN_IDLE},
    h2::{self, PREFACE},
    handshake::{self, Begun},
    proxy_protocol,
};
use crate::{
    limit::Permit,
    proxy::{
        conn::{ClientTls, ConnInfo, TlsInfo},
        l4,
        upstream::pin::Pins,
        worker::Worker,
    },
    routing::Port,
    tls::Server,
    util::drain::Drain,
};

/// The size of a read that detects the protocol of a plain connection.
const FIRST: usize = 2048;

/// Serves a connection from accept to its end. An upgraded connection continues after that, with
/// `permit`.
pub(crate) async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Arc<Server>>,
    mut permit: Permit,
    worker: Rc<Worker>,
    drain: Drain,
) {
    let settings = worker.settings.clone();
    let Ok(local) = stream.local_addr() else {
        return;
    };

    let peer_ip = peer.ip().to_canonical();
    let mut ends = (peer, local);
    let mut listener = Some(local.port());
    if settings
        .proxy_protocol_from
        .iter()
        .any(|net| net.contains(&peer_ip))
    {
        match timeout(
            settings.client_header_timeout,
            proxy_protocol::read(&mut stream),
        )
        .await
        {
            Ok(Ok(Some(addresses))) => (ends, listener) = (addresses, None),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => {
                worker.counters.bad_connections.add(1);
                tracing::debug!(%peer, %error, "connection closed");
                return;
            }
            Err(_late) => return worker.counters.bad_connections.add(1),
        }
    }

    let ip = ends.0.ip().to_canonical();
    if permit.count_client(ip).is_err() {
        return worker.counters.connections_refused.add(1);
    }
    let conn = ConnInfo {
        client: SocketAddr::new(ip, ends.0.port()),
        peer,
        local: ends.1,
        listener,
        client_ip: ip.to_string().into(),
        trusted: settings.trusted_proxies.iter().any(|net| net.contains(&ip)),
        tls: None,
        pins: Pins::default(),
    };

    let (stream, first, h2, conn) = match tls {
        None => {
            let Some((h2, first)) =
                protocol(&stream, settings.client_header_timeout, drain.clone()).await
            else {
                return;
            };
            (ClientStream::Plain(stream), first, h2, conn)
        }
        Some(server) => {
            let begin = handshake::begin(stream, &server, &worker.shared, ip, ends.1.ip());
            let (stream, asked) = match timeout(settings.handshake_timeout, Box::pin(begin)).await {
                Ok(Ok(Begun::Ours(stream, asked))) => (stream, asked),
                Ok(Ok(Begun::Validated)) => return,
                Ok(Ok(Begun::Passed(passed))) => {
                    let port = Port::tcp(local.port());
                    let ends = (SocketAddr::new(ip, ends.0.port()), ends.1);
                    let serving = l4::tcp::pass_through(*passed, ends, port, permit, worker, drain);
                    return Box::pin(serving).await;
                }
                Ok(Err(_)) | Err(_) => return worker.counters.bad_connections.add(1),
            };

            let session = stream.get_ref().1;
            let h2 = session.alpn_protocol() == Some(b"h2");
            let version = match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "TLSv1.3",
            };
            let sni = session.server_name().map(Into::into);
            let client = asked.map(|asked| {
                let chain = session.peer_certificates().unwrap_or_default();
                Box::new(ClientTls {
                    asked,
                    chain: chain.into(),
                    trusted: server.trusted().clone(),
                    verdict: RefCell::default(),
                })
            });
            let tls = Some(TlsInfo {
                sni,
                version,
                resolver: server.resolver().clone(),
                client,
            });

            let conn = ConnInfo { tls, ..conn };
            (ClientStream::Tls(stream), Vec::new(), h2, conn)
        }
    };

    // Boxed: a connection is one allocation of the size of its kind, not of the largest kind.
    if h2 {
        Box::pin(h2::serve(stream, first, conn, permit, &worker, drain)).await;
    } else {
        Box::pin(h1::serve(stream, &first, conn, permit, &worker, drain)).await;
    }
}

/// Detects the protocol of a plain connection. Returns true for HTTP/2 (prior knowledge, RFC 9113
/// section 3.3), and the bytes read so far. `None` if the connection ended or sent nothing in time.
async fn protocol(stream: &TcpStream, time: Duration, mut drain: Drain) -> Option<(bool, Vec<u8>)> {
    let mut first = Vec::new();
    let known = async {
        loop {
            stream.readable().await.ok()?;
            match take(stream, &mut first) {
                Ok(0) => return None,
                Ok(_) if first.starts_with(PREFACE) => return Some(true),
                Ok(_) if PREFACE.starts_with(&first) => {}
                Ok(_) => return Some(false),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    };

    // While draining, a request that comes at once is still served: its client could not know of
    // the drain.
    let leaving = async {
        drain.draining().await;
        sleep(DRAIN_IDLE).await;
    };

    let h2 = tokio::select! {
        known = timeout(time, known) => known.ok().flatten()?,
        () = leaving => return None,
    };
    Some((h2, first))
}

/// Reads the available bytes. Not async, so that waiting connections do not hold its buffer.
fn take(stream: &TcpStream, into: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; FIRST];
    let n = stream.try_read(&mut buffer)?;
    into.extend_from_slice(&buffer[..n]);
    Ok(n)
}

#[cfg(test)]
mod tests;
