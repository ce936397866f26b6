//! The beginning of TLS with a client: the common configuration, except for a CA that validates a
//! name by TLS-ALPN-01, and for addresses with their own certificate. Connections with the names of
//! some hosts are not for us but for their backends.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};
use tokio_rustls::{
    LazyConfigAcceptor, StartHandshake, TlsAcceptor, rustls::server::Acceptor, server::TlsStream,
};

use super::hello::{self, Hello, Start};
use crate::{
    proxy::Shared,
    routing::{ClientCertificates, Host, Passthrough},
    tls::Server,
};

/// The longest time for a ClientHello where the name in it decides who ends TLS.
pub(crate) const HELLO: Duration = Duration::from_secs(5);

/// The outcome of the beginning.
pub(crate) enum Begun {
    /// We have ended TLS. The client was asked for a certificate with these terms.
    Ours(Box<TlsStream<TcpStream>>, Option<Arc<ClientCertificates>>),
    /// It was a CA's validation, which ends with the handshake.
    Validated,
    /// The backend of a host ends TLS.
    Passed(Box<Passed>),
}

/// A connection whose TLS is passed through.
pub(crate) struct Passed {
    pub(crate) stream: TcpStream,
    /// The bytes that were read from it.
    pub(crate) read: Vec<u8>,
    /// The host, in canonical form.
    pub(crate) host: Host,
    pub(crate) to: Arc<Passthrough>,
}

/// Begins TLS with `client`, which connected to `local`.
pub(crate) async fn begin(
    stream: TcpStream,
    server: &Server,
    shared: &Shared,
    client: IpAddr,
    local: IpAddr,
) -> io::Result<Begun> {
    let table = shared.table.load();
    let (has_passthrough, asks) = (table.has_passthrough(), table.has_client_certificates());
    drop(table);
    if has_passthrough {
        return Box::pin(sort(stream, server, shared, client, local)).await;
    }
    if !asks && !shared.challenges.await_tls() && !server.resolver().has_addresses() {
        let accepted = TlsAcceptor::from(server.config().clone()).accept(stream);
        return accepted
            .await
            .map(|stream| Begun::Ours(Box::new(stream), None));
    }

    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    end_tls(start, server, shared, client, local).await
}

/// Reads the ClientHello, and passes the connection through if it has the name of such a host.
async fn sort(
    stream: TcpStream,
    server: &Server,
    shared: &Shared,
    client: IpAddr,
    local: IpAddr,
) -> io::Result<Begun> {
    let (start, read) = timeout(HELLO, hello::read(&stream)).await??;

    if let Start::Hello(hello) = start
        && let Some((host, to)) = passthrough(shared, &hello)
    {
        let passed = Passed {
            stream,
            read,
            host,
            to,
        };
        return Ok(Begun::Passed(Box::new(passed)));
    }

    let start = resume(stream, &read).await?;
    drop(read);
    end_tls(start, server, shared, client, local).await
}

/// Returns the host that a ClientHello is for, if its TLS is passed through.
fn passthrough(shared: &Shared, hello: &Hello) -> Option<(Host, Arc<Passthrough>)> {
    let host = Host::parse(hello.server_name.as_deref()?).ok()?;
    let to = shared.table.load().passthrough(host.as_str()).cloned()?;
    // A CA validates the name for us, not for the backend.
    let protocols = hello.protocols.iter().map(|one| &**one);
    let is_ours = shared.challenges.has_tls(host.as_str(), protocols);
    (!is_ours).then_some((host, to))
}

/// Lets rustls take the bytes that were read, and reads the rest of the ClientHello if there is
/// any.
pub(crate) async fn resume(
    mut stream: TcpStream,
    read: &[u8],
) -> io::Result<StartHandshake<TcpStream>> {
    let mut acceptor = Acceptor::default();
    let mut rest = read;

    while !rest.is_empty() {
        acceptor.read_tls(&mut rest)?;
        match acceptor.accept() {
            Ok(None) => {}
            // The bytes that were read end with the ClientHello.
            Ok(Some(accepted)) if rest.is_empty() => {
                return Ok(StartHandshake::from_parts(accepted, stream));
            }
            Ok(Some(_)) => return Err(io::ErrorKind::InvalidData.into()),
            Err((error, mut alert)) => {
                let mut bytes = Vec::new();
                alert.write_all(&mut bytes)?;
                stream.write_all(&bytes).await?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }

    LazyConfigAcceptor::new(acceptor, stream).await
}

/// Ends TLS once the ClientHello is known.
async fn end_tls(
    start: StartHandshake<TcpStream>,
    server: &Server,
    shared: &Shared,
    client: IpAddr,
    local: IpAddr,
) -> io::Result<Begun> {
    let challenge = shared.challenges.tls(&start.client_hello(), client);
    if let Some(config) = challenge {
        start.into_stream(config).await?.shutdown().await?;
        return Ok(Begun::Validated);
    }

    let hello = start.client_hello();
    let name = hello.server_name();
    let terms = terms(shared, name, local);
    let asking = terms.and_then(|terms| {
        let authorities = terms.authorities.as_ref().ok()?;
        Some((server.asking(authorities)?, terms))
    });
    let (asking, terms) = asking.unzip();
    let config = server.config_for(name, local, asking);
    let stream = start.into_stream(config).await?;
    Ok(Begun::Ours(Box::new(stream), terms))
}

/// Returns the terms with which a client is asked for its certificate: those of the host with this
/// server name, or else with the local address.
fn terms(shared: &Shared, name: Option<&str>, local: IpAddr) -> Option<Arc<ClientCertificates>> {
    let table = shared.table.load();
    if !table.has_client_certificates() {
        return None;
    }
    let host = name
        .map_or_else(|| Ok(local.to_canonical().into()), Host::parse)
        .ok()?;
    let terms = table.host(Some(host.as_str()))?.client_certificates()?;
    terms.asks().then(|| terms.clone())
}
