//! Verifies by a handshake with our own listener that clients are served a new certificate.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::pki_types::ServerName;
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_rustls::TlsConnector;

use crate::tls::{self, Certificate};

/// Time limit of a handshake.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Number of handshakes that can wait.
const QUEUE: usize = 256;

/// A certificate that a client should be served by now.
#[derive(Debug)]
pub(super) struct Expectation {
    /// Id of its [`CertificateSpec`](crate::acme::spec::CertificateSpec).
    pub(super) id: String,
    /// A host that it covers.
    pub(super) host: String,
    pub(super) certificate: Arc<Certificate>,
}

/// The reason why clients are not served a certificate, as far as a handshake shows.
#[derive(Debug, thiserror::Error)]
enum VerifyError {
    #[error("{0} is not a server name")]
    Name(String),
    #[error("the handshake timed out")]
    Timeout,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the listener sends no certificate")]
    NoCertificate,
    #[error("the listener sends another certificate")]
    OtherCertificate,
}

/// Requests handshakes from [`run`].
#[derive(Debug)]
pub(super) struct Verifier(Option<mpsc::Sender<Expectation>>);

impl Verifier {
    /// Requests a handshake, without waiting for it. Its result is logged.
    pub(super) fn verify(&self, expectation: Expectation) {
        let Some(queue) = &self.0 else { return };
        if let Err(error) = queue.try_send(expectation) {
            let certificate = error.into_inner().id;
            tracing::warn!(certificate, "too many handshakes wait: not verified");
        }
    }
}

/// Returns the verifier, and the task that makes its handshakes with `listener`. Without a listener
/// nothing is verified.
pub(super) fn start(listener: Option<SocketAddr>) -> (Verifier, impl Future<Output = ()> + Send) {
    let (queue, expectations) = mpsc::channel(QUEUE);
    let verifier = Verifier(listener.map(|_| queue));
    let task = async move {
        if let Some(listener) = listener {
            run(listener, expectations).await;
        }
        // The end of the verifier must not end the tasks beside this one.
        std::future::pending::<()>().await;
    };
    (verifier, task)
}

/// Makes the handshakes one after the other and logs their results.
async fn run(listener: SocketAddr, mut expectations: mpsc::Receiver<Expectation>) {
    while let Some(expectation) = expectations.recv().await {
        let Expectation {
            id: certificate,
            host,
            ..
        } = &expectation;
        match verify(listener, &expectation).await {
            Ok(()) => {
                tracing::info!(certificate, host, "a handshake shows the new certificate");
            }
            Err(error) => {
                tracing::error!(certificate, host, %error, "the new certificate is not served");
            }
        }
    }
}

/// Connects to the listener and compares the certificate that it sends.
async fn verify(listener: SocketAddr, expectation: &Expectation) -> Result<(), VerifyError> {
    let name = ServerName::try_from(expectation.host.clone())
        .map_err(|_invalid| VerifyError::Name(expectation.host.clone()))?;
    let received = timeout(TIMEOUT, receive(listener, name))
        .await
        .map_err(|_elapsed| VerifyError::Timeout)??;
    match expectation.certificate.certified().cert.first() {
        Some(leaf) if leaf[..] == received[..] => Ok(()),
        _ => Err(VerifyError::OtherCertificate),
    }
}

/// Returns the leaf certificate that the listener sends for a name, in DER.
async fn receive(listener: SocketAddr, name: ServerName<'static>) -> Result<Vec<u8>, VerifyError> {
    let stream = TcpStream::connect(listener).await?;
    // The certificate is compared, so its issuer does not matter.
    let connector = TlsConnector::from(Arc::new(tls::unverified_config()));
    let stream = connector.connect(name, stream).await?;

    let (_, connection) = stream.get_ref();
    connection
        .peer_certificates()
        .and_then(|chain| chain.first())
        .map(|leaf| leaf.to_vec())
        .ok_or(VerifyError::NoCertificate)
}
