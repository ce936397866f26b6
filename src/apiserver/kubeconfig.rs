//! The kubeconfig of a user.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// The name of the administrator.
pub(super) const ADMIN: &str = "gatelet-admin";

/// A kubeconfig for one user of one server. It contains a key: write it with mode 0600.
#[derive(Clone)]
pub struct Kubeconfig<'k> {
    /// The URL of the server.
    pub server: &'k str,
    /// The CA of the server's certificate, as PEM.
    pub ca: &'k str,
    /// The name of the user.
    pub user: &'k str,
    /// The client certificate of the user, as PEM.
    pub certificate: &'k str,
    /// The key of the certificate, as PEM.
    pub key: &'k str,
    /// A bearer token, for clients that do not support certificates.
    pub token: Option<&'k str>,
    /// The namespace of commands that name none.
    pub namespace: Option<&'k str>,
}

impl fmt::Debug for Kubeconfig<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubeconfig")
            .field("server", &self.server)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Kubeconfig<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encode = |pem: &str| STANDARD.encode(pem);
        // Every JSON text is a YAML text. The administrator's name has always been plain.
        let quote = |text: &str| match text {
            ADMIN => text.to_owned(),
            _ => Value::from(text).to_string(),
        };
        let namespace = self.namespace.map(quote);
        let optional = |member: &str, value: Option<&str>| {
            let value = value.map(|value| format!("\n    {member}: {value}"));
            value.unwrap_or_default()
        };

        write!(
            f,
            "apiVersion: v1
kind: Config
clusters:
- name: gatelet
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: {user}
  user:
    client-certificate-data: {client}
    client-key-data: {key}{token}
contexts:
- name: gatelet
  context:
    cluster: gatelet
    user: {user}{namespace}
current-context: gatelet
",
            server = self.server,
            user = quote(self.user),
            ca = encode(self.ca),
            client = encode(self.certificate),
            key = encode(self.key),
            token = optional("token", self.token),
            namespace = optional("namespace", namespace.as_deref()),
        )
    }
}
