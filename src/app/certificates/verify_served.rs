//! The last step of a certificate: a handshake with our own listener shows that clients get it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::tls::{self, Certificate};

/// For one handshake.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a client that asks the listener for the host is shown the certificate; `Err` says what
/// it was shown instead, or why there was no handshake.
pub(crate) async fn is_served(
    listener: SocketAddr,
    host: &str,
    certificate: &Certificate,
) -> Result<(), String> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_bad| format!("{host} is no server name"))?;
    let shown = timeout(PATIENCE, shown(listener, name)).await;
    let shown = shown.map_err(|_late| "no handshake in time".to_owned())??;
    match certificate.certified().cert.first() {
        Some(leaf) if leaf[..] == shown[..] => Ok(()),
        _ => Err("clients are shown another certificate".to_owned()),
    }
}

/// The certificate that a client is shown.
async fn shown(listener: SocketAddr, name: ServerName<'static>) -> Result<Vec<u8>, String> {
    let said = |error: std::io::Error| error.to_string();
    let stream = TcpStream::connect(listener).await.map_err(said)?;
    // What is shown is compared, so whom it is from does not matter.
    let connector = TlsConnector::from(Arc::clone(&tls::upstream_config(false, false)));
    let stream = connector.connect(name, stream).await.map_err(said)?;
    let (_, connection) = stream.get_ref();
    let leaf = connection
        .peer_certificates()
        .and_then(|chain| chain.first());
    leaf.map(|leaf| leaf.to_vec())
        .ok_or_else(|| "no certificate was shown".to_owned())
}
