//! A client that keeps its connection and shows exactly the bytes that it receives.

use std::{
    fmt,
    io::{self, BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::client_certificates::ClientFiles;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection to a listener.
pub struct Connection(BufReader<Box<dyn Stream>>);

/// A response.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// The status line and the fields.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn field(&self, name: &str) -> Option<&str> {
        super::backend::field(&self.head, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The server announced that it closes the connection after this response.
    pub fn closes(&self) -> bool {
        self.field("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    pub fn open(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self(BufReader::new(Box::new(tcp(addr)?))))
    }

    /// Connects over TLS, for a server name, and accepts any certificate; offers `protocols` by
    /// ALPN.
    pub fn tls(addr: SocketAddr, name: &str, protocols: &[&str]) -> io::Result<Self> {
        Self::tls_with(addr, name, client_config(protocols))
    }

    /// Connects over TLS with a configuration.
    pub fn tls_with(addr: SocketAddr, name: &str, config: ClientConfig) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = StreamOwned::new(connection, tcp(addr)?);
        stream.flush()?;
        Ok(Self(BufReader::new(Box::new(stream))))
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(bytes)?;
        self.0.get_mut().flush()
    }

    /// Sends a GET request and reads the response.
    pub fn get(&mut self, host: &str, path: &str) -> io::Result<Answer> {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
        self.answer()
    }

    /// Reads the next response to a request other than HEAD. An end before its last byte is an
    /// error.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let head = self.head()?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| bad("status line"))?;
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if matches!(status, 100..=199 | 204 | 304) {
            return Ok(answer);
        }
        if answer.field("transfer-encoding").is_some() {
            loop {
                let mut line = String::new();
                self.0.read_line(&mut line)?;
                let size =
                    usize::from_str_radix(line.trim(), 16).map_err(|_bad| bad("chunk size"))?;
                self.exactly(size + 2, &mut answer.body)?;
                answer.body.truncate(answer.body.len() - 2);
                if size == 0 {
                    return Ok(answer);
                }
            }
        }
        match answer.field("content-length").map(str::parse) {
            Some(length) => self.exactly(
                length.map_err(|_bad| bad("Content-Length"))?,
                &mut answer.body,
            )?,
            None => drop(self.0.read_to_end(&mut answer.body)?),
        }
        Ok(answer)
    }

    /// Reads the head of a response.
    pub fn head(&mut self) -> io::Result<String> {
        let mut head = String::new();
        loop {
            let start = head.len();
            if self.0.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if head.len() - start == 2 {
                head.truncate(start);
                return Ok(head);
            }
        }
    }

    /// Appends exactly this many bytes.
    pub fn exactly(&mut self, length: usize, to: &mut Vec<u8>) -> io::Result<()> {
        let start = to.len();
        to.resize(start + length, 0);
        self.0.read_exact(&mut to[start..])
    }

    /// Reads until the other side closes.
    pub fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest)?;
        Ok(rest)
    }
}

/// Returns a configuration that accepts any certificate.
pub fn client_config(protocols: &[&str]) -> ClientConfig {
    client_config_with(protocols, None)
}

/// The same, with a certificate of the client. Nothing checks that the key is its own.
pub fn client_config_with(protocols: &[&str], client: Option<&ClientFiles>) -> ClientConfig {
    client_config_of(rustls::ALL_VERSIONS, protocols, client)
}

/// The same, with these versions of TLS.
pub fn client_config_of(
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
    client: Option<&ClientFiles>,
) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .expect("ring knows them")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any(provider.clone())));
    let mut config = match client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let chain = CertificateDer::pem_file_iter(&client.chain).expect("a file");
            let chain: Result<Vec<_>, _> = chain.collect();
            let key = PrivateKeyDer::from_pem_file(&client.key).expect("a key");
            let key = provider.key_provider.load_private_key(key).expect("a key");
            let own = CertifiedKey::new(chain.expect("a chain"), key);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own)))
        }
    };
    config.alpn_protocols = protocols
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    config
}

fn tcp(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(stream)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("bad {what}"))
}

#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
