//! Properties of a client connection that are the same for all its requests.

use std::{cell::RefCell, net::SocketAddr, sync::Arc, time::Instant};

use rustls::pki_types::CertificateDer;

use super::{
    request::{error::Kind, fields::Fields},
    upstream::pin::Pins,
};
use crate::{
    routing::ClientCertificates,
    tls::{Resolver, TrustedAuthorities},
};

/// A client connection after accept, PROXY protocol and TLS.
#[derive(Debug)]
pub struct ConnInfo {
    /// The client: the peer of the socket, or the source in a trusted PROXY protocol header.
    pub client: SocketAddr,
    /// The peer of the socket (differs from `client` behind PROXY protocol).
    pub peer: SocketAddr,
    /// The local address the client connected to; from the PROXY protocol header if there was one.
    pub local: SocketAddr,
    /// The port of our listener if the client connected to it directly; `None` if a load balancer
    /// did and sent a PROXY protocol header.
    pub listener: Option<u16>,
    /// `client.ip()` as text, prepared once per connection.
    pub client_ip: Box<str>,
    /// True if `client` is a trusted proxy. Behind the PROXY protocol `client` is the hop before
    /// the balancer.
    pub trusted: bool,
    /// The outcome of the TLS handshake; `None` on a plain connection.
    pub tls: Option<TlsInfo>,
    /// Connections to endpoints that carry requests of this client connection alone.
    pub(super) pins: Pins,
}

/// The outcome of a TLS handshake.
#[derive(Debug)]
pub struct TlsInfo {
    /// SNI in lower case, if the client sent one.
    pub sni: Option<Arc<str>>,
    /// The protocol version for the log (`TLSv1.3`).
    pub version: &'static str,
    /// The resolver that chose the certificate.
    pub resolver: Arc<Resolver>,
    /// The certificate of the client, if it was asked for one.
    pub(super) client: Option<Box<ClientTls>>,
}

/// A client that was asked for a certificate.
#[derive(Debug)]
pub(super) struct ClientTls {
    /// The terms with which it was asked.
    pub(super) asked: Arc<ClientCertificates>,
    /// Its certificate, and those of its issuers; empty if it has shown none.
    pub(super) chain: Box<[CertificateDer<'static>]>,
    /// The authorities to verify it with.
    pub(super) trusted: Arc<TrustedAuthorities>,
    /// The last verdict on it.
    pub(super) verdict: RefCell<Option<Verdict>>,
}

/// A verdict on the certificate of a client.
#[derive(Debug)]
pub(super) struct Verdict {
    /// The terms of the verdict.
    pub(super) terms: Arc<ClientCertificates>,
    /// The time until which it counts.
    pub(super) until: Instant,
    /// The fields for backends, or the error for the client.
    pub(super) outcome: Result<Fields, Kind>,
}
