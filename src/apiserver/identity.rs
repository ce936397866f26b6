//! Who the API server is and who may talk to it: a CA of its own, a server certificate, the
//! administrator's client certificate and token, made once and kept by the caller; and the
//! kubeconfig that holds them.

use std::{fmt, net::IpAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde::{Deserialize, Serialize};

use crate::{
    tls::{self, LocalCa},
    util::{hex, stamp},
};

/// The name of the administrator in its client certificate, and the group that may do everything.
const ADMIN: (&str, &str) = ("gatelet-admin", "system:masters");

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// What was kept cannot be read.
    #[error("the identity of the API server cannot be read: {0}")]
    Damaged(#[from] serde_json::Error),
    /// A certificate cannot be made.
    #[error("cannot make a certificate for the API server: {0}")]
    Issue(#[from] tls::LocalCaError),
    /// A certificate or key is not good.
    #[error("the identity of the API server is not usable: {0}")]
    Tls(String),
}

/// Keys and certificates of the API server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    ca: String,
    ca_key: String,
    /// What the server certificate is for, sorted.
    addresses: Vec<IpAddr>,
    server: String,
    server_key: String,
    client: String,
    client_key: String,
    token: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// The identity that was kept, or a new one; the flag says whether it has to be kept again, as
    /// it is now ([`Identity::to_bytes`]). `addresses` are those of the node: when there are others
    /// than at the last start, the server certificate is made again by the same CA, so that every
    /// kubeconfig stays good.
    pub fn load(kept: Option<&[u8]>, addresses: &[IpAddr]) -> Result<(Self, bool), IdentityError> {
        let mut wanted: Vec<IpAddr> = addresses.to_vec();
        wanted.extend([
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ]);
        wanted.sort_unstable();
        wanted.dedup();
        let Some(kept) = kept else {
            return Ok((Self::generate(wanted)?, true));
        };
        let mut identity: Self = serde_json::from_slice(kept)?;
        if identity.addresses == wanted {
            return Ok((identity, false));
        }
        let ca = LocalCa::from_pem(&identity.ca, &identity.ca_key)?;
        let issued = server(&ca, &wanted)?;
        (identity.server, identity.server_key) = (issued.chain_pem, issued.key_pem);
        identity.addresses = wanted;
        Ok((identity, true))
    }

    fn generate(addresses: Vec<IpAddr>) -> Result<Self, IdentityError> {
        let ca = LocalCa::generate("gatelet API")?;
        let server = server(&ca, &addresses)?;
        let client = ca.issue_client(ADMIN.0, ADMIN.1)?;
        let token = hex::encode(&stamp::random::<32>());
        Ok(Self {
            ca: ca.root_pem().to_owned(),
            ca_key: ca.key_pem().to_owned(),
            addresses,
            server: server.chain_pem,
            server_key: server.key_pem,
            client: client.chain_pem,
            client_key: client.key_pem,
            token,
        })
    }

    /// What is to be kept, where only the process can read it: it holds keys.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and addresses are JSON")
    }

    /// The CA's certificate, as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// The administrator's bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The server's TLS: its certificate, and clients with one of the same CA, or with none.
    pub fn server_config(&self) -> Result<ServerConfig, IdentityError> {
        let failed = |error: &dyn fmt::Display| IdentityError::Tls(error.to_string());
        let certificate =
            |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|e| failed(&e));
        let mut roots = RootCertStore::empty();
        roots
            .add(certificate(&self.ca)?)
            .map_err(|error| failed(&error))?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), tls::provider())
                .allow_unauthenticated()
                .build()
                .map_err(|error| failed(&error))?;
        let key = PrivateKeyDer::from_pem_slice(self.server_key.as_bytes())
            .map_err(|error| failed(&error))?;
        ServerConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| failed(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate(&self.server)?], key)
            .map_err(|error| failed(&error))
    }

    /// The administrator's kubeconfig for the server at this URL. It holds a key: mode 0600.
    pub fn kubeconfig(&self, server_url: &str) -> String {
        kubeconfig(
            server_url,
            &self.ca,
            &self.client,
            &self.client_key,
            &self.token,
        )
    }
}

/// A kubeconfig with a client certificate and a bearer token: for clients that can do only one of
/// the two.
pub fn kubeconfig(
    server_url: &str,
    ca_pem: &str,
    client_pem: &str,
    client_key_pem: &str,
    token: &str,
) -> String {
    let encode = |pem: &str| STANDARD.encode(pem);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: gatelet
  cluster:
    server: {server_url}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {client}
    client-key-data: {key}
    token: {token}
contexts:
- name: gatelet
  context:
    cluster: gatelet
    user: {user}
current-context: gatelet
",
        user = ADMIN.0,
        ca = encode(ca_pem),
        client = encode(client_pem),
        key = encode(client_key_pem),
    )
}

fn server(ca: &LocalCa, addresses: &[IpAddr]) -> Result<tls::Issued, IdentityError> {
    Ok(ca.issue_server(
        &[
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ],
        addresses,
    )?)
}
