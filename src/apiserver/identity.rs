//! The identity of the API server and of its administrator: a CA, a server certificate, a client
//! certificate, a token, and the key for tokens of ServiceAccounts. They are generated once and
//! stored by the caller.

use std::{fmt, net::IpAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use serde::{Deserialize, Serialize};

use super::{
    authenticate::Auth,
    kubeconfig::{ADMIN, Kubeconfig},
};
use crate::{
    access::{MASTERS, TokenKey, TokenKeyError, User},
    tls::{self, LocalCa},
    util::{hex, stamp},
};

/// An identity that cannot be loaded, generated or used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The stored identity cannot be parsed.
    #[error("the identity of the API server cannot be read: {0}")]
    Damaged(#[from] serde_json::Error),
    /// A certificate cannot be issued.
    #[error("cannot make a certificate for the API server: {0}")]
    Issue(#[from] tls::LocalCaError),
    /// The key for the tokens of ServiceAccounts cannot be made or read.
    #[error(transparent)]
    TokenKey(#[from] TokenKeyError),
    /// TLS does not accept a certificate or key.
    #[error("the identity of the API server is not usable: {0}")]
    Tls(String),
}

/// Keys and certificates of the API server.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    ca: String,
    ca_key: String,
    /// The addresses in the server certificate, sorted.
    addresses: Vec<IpAddr>,
    server: String,
    server_key: String,
    client: String,
    client_key: String,
    token: String,
    /// The key that signs the tokens of ServiceAccounts, as PKCS#8 in base64; empty if the identity
    /// was stored before there were such tokens.
    #[serde(default)]
    token_key: String,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Loads the stored identity, or generates one. The flag is true if the caller must store it
    /// ([`Identity::to_bytes`]).
    ///
    /// `addresses` are those of the node. If they have changed since the last start, the same CA
    /// issues a new server certificate, so that every kubeconfig stays valid.
    pub fn load(
        stored: Option<&[u8]>,
        addresses: &[IpAddr],
    ) -> Result<(Self, bool), IdentityError> {
        let mut addresses: Vec<IpAddr> = addresses.to_vec();
        addresses.extend([
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ]);
        addresses.sort_unstable();
        addresses.dedup();

        let Some(stored) = stored else {
            return Ok((Self::generate(addresses)?, true));
        };
        let mut identity: Self = serde_json::from_slice(stored)?;
        let lacks_key = identity.token_key.is_empty();
        if lacks_key {
            identity.token_key = STANDARD.encode(TokenKey::generate()?);
        }
        if identity.addresses == addresses {
            return Ok((identity, lacks_key));
        }

        // The CA stays the same: kubeconfigs contain its certificate.
        let ca = LocalCa::from_pem(&identity.ca, &identity.ca_key)?;
        let issued = issue_server(&ca, &addresses)?;
        (identity.server, identity.server_key) = (issued.chain_pem, issued.key_pem);
        identity.addresses = addresses;
        Ok((identity, true))
    }

    fn generate(addresses: Vec<IpAddr>) -> Result<Self, IdentityError> {
        let ca = LocalCa::generate("gatelet API")?;
        let server = issue_server(&ca, &addresses)?;
        let client = ca.issue_client(ADMIN, MASTERS)?;
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
            token_key: STANDARD.encode(TokenKey::generate()?),
        })
    }

    /// Returns the bytes to store. They contain keys: only the process may read them.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and addresses are JSON")
    }

    /// Returns the CA's certificate as PEM.
    pub fn ca_pem(&self) -> &str {
        &self.ca
    }

    /// Returns the credentials that the server accepts: the token of the administrator, and those
    /// of ServiceAccounts.
    pub fn auth(&self) -> Result<Auth, IdentityError> {
        let key = STANDARD.decode(&self.token_key);
        let key = TokenKey::from_pkcs8(&key.map_err(|_damaged| TokenKeyError)?)?;
        let admin = User::known(ADMIN, [MASTERS.to_owned()]);
        let ca = (self.ca.clone(), self.ca_key.clone());
        Ok(Auth::new([(&*self.token, admin)], key, ca))
    }

    /// Returns the TLS configuration of the server, which accepts clients with a certificate of the
    /// same CA or without one.
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

    /// Returns the administrator's kubeconfig for the server at this URL. It contains a key: write
    /// it with mode 0600.
    pub fn kubeconfig(&self, server_url: &str) -> String {
        let kubeconfig = Kubeconfig {
            server: server_url,
            ca: &self.ca,
            user: ADMIN,
            certificate: &self.client,
            key: &self.client_key,
            token: Some(&self.token),
            namespace: None,
        };
        kubeconfig.to_string()
    }
}

fn issue_server(ca: &LocalCa, addresses: &[IpAddr]) -> Result<tls::Issued, IdentityError> {
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
