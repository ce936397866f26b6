//! `gatelet kubeconfig --user`: a kubeconfig for a person or a program, with the rights of a role.

use std::{path::Path, time::Duration};

use rcgen::{CertificateParams, KeyPair};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    apiserver::{
        CLIENT_CERTIFICATES, ClientCertificate, ClientCertificateRequest, Kubeconfig as Text,
    },
    app::{commands::expose::Written, files},
    k8s::{self, Objects, WriteError},
    objects::{Key, Kind},
};

/// A person or program that receives a kubeconfig.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The name.
    pub name: String,
    /// The role that the user is bound to.
    pub role: Option<String>,
    /// The namespace of the binding; without one the role counts in all of them.
    pub namespace: Option<String>,
    /// The time for which the certificate is valid.
    pub life: Duration,
}

/// The reason why there is no kubeconfig.
#[derive(Debug, thiserror::Error)]
pub enum NewUserError {
    /// No gatelet runs, or its kubeconfig cannot be used.
    #[error("{0}")]
    NoGatelet(String),
    /// There is no role of that name.
    #[error("{0}")]
    NoRole(String),
    /// A binding of that name is for something else.
    #[error("{0}")]
    Taken(String),
    /// The API refuses a request.
    #[error("{object}: {source}")]
    Api {
        /// The object.
        object: String,
        /// The error of the API.
        source: WriteError,
    },
    /// The key cannot be made.
    #[error("the key: {0}")]
    Key(#[from] rcgen::Error),
}

/// Returns a kubeconfig for a new user, and the binding to its role, through the API of the
/// kubeconfig in `state`.
///
/// # Errors
///
/// No gatelet runs, or it refuses a request.
pub fn new_user(state: &Path, user: &NewUser) -> Result<(String, Option<Written>), NewUserError> {
    let failed = |error: &dyn std::fmt::Display| NewUserError::NoGatelet(error.to_string());
    crate::tls::install();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    runtime.block_on(create(state, user))
}

async fn create(state: &Path, user: &NewUser) -> Result<(String, Option<Written>), NewUserError> {
    let path = files::kubeconfig_path(state);
    let failed = |error: &dyn std::fmt::Display| {
        NewUserError::NoGatelet(format!("{}: {error}", path.display()))
    };
    let server = server(&path).map_err(|error| failed(&error))?;
    let client = k8s::connect(Some(&path))
        .await
        .map_err(|error| failed(&error))?;
    let api = Objects::new(client);

    // The role first: without it the kubeconfig would be good for nothing.
    let role = match &user.role {
        Some(role) => Some(find_role(&api, user, role).await?),
        None => None,
    };
    let (certificate, key) = certificate(&api, user).await?;
    let written = match role {
        Some(role) => Some(bind(&api, user, &role).await?),
        None => None,
    };

    let text = Text {
        server: &server,
        ca: &certificate.ca,
        user: &user.name,
        certificate: &certificate.certificate,
        key: &key,
        token: None,
        namespace: user.namespace.as_deref(),
    };
    Ok((text.to_string(), written))
}

/// Returns the URL of the server in a kubeconfig of gatelet.
fn server(path: &Path) -> std::io::Result<String> {
    #[derive(Deserialize)]
    struct File {
        clusters: Vec<Named>,
    }
    #[derive(Deserialize)]
    struct Named {
        cluster: Cluster,
    }
    #[derive(Deserialize)]
    struct Cluster {
        server: String,
    }

    let text = std::fs::read(path)?;
    let file: File = serde_saphyr::from_slice(&text)
        .map_err(|error| std::io::Error::other(error.to_string()))?;
    let first = file.clusters.into_iter().next();
    first
        .map(|named| named.cluster.server)
        .ok_or_else(|| std::io::Error::other("it names no cluster"))
}

/// Returns the role as a binding names it: a ClusterRole, else a Role of the namespace.
async fn find_role(api: &Objects, user: &NewUser, role: &str) -> Result<Value, NewUserError> {
    let key = |kind, namespace: &str| Key {
        kind,
        namespace: namespace.into(),
        name: role.into(),
    };
    let namespace = user.namespace.as_deref();
    let mut candidates = vec![key(Kind::ClusterRole, "")];
    candidates.extend(namespace.map(|namespace| key(Kind::Role, namespace)));

    for key in candidates {
        let failed = |source| NewUserError::Api {
            object: key.to_string(),
            source,
        };
        if api.find(&key).await.map_err(failed)?.is_some() {
            return Ok(json!({
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": key.kind.name(),
                "name": role,
            }));
        }
    }
    Err(NewUserError::NoRole(match namespace {
        Some(namespace) => {
            format!("there is no ClusterRole {role}, and no Role {namespace}/{role}")
        }
        None => format!("there is no ClusterRole {role}"),
    }))
}

/// Makes a key, and lets the server certify it.
async fn certificate(
    api: &Objects,
    user: &NewUser,
) -> Result<(ClientCertificate, String), NewUserError> {
    let key = KeyPair::generate()?;
    let request = CertificateParams::default()
        .serialize_request(&key)?
        .pem()?;
    let body = json!(ClientCertificateRequest {
        user: user.name.clone(),
        request,
        seconds: user.life.as_secs(),
    });

    let object = || format!("certificate of {}", user.name);
    let issued = api
        .post(CLIENT_CERTIFICATES, &body)
        .await
        .map_err(|source| NewUserError::Api {
            object: object(),
            source,
        })?;
    let issued = serde_json::from_value(issued)
        .map_err(|error| NewUserError::NoGatelet(format!("{}: {error}", object())))?;
    Ok((issued, key.serialize_pem()))
}

/// Creates the binding of a user to a role, unless it exists.
async fn bind(api: &Objects, user: &NewUser, role: &Value) -> Result<Written, NewUserError> {
    let name = format!(
        "{}-{}",
        user.name,
        role["name"].as_str().unwrap_or_default()
    );
    let key = Key {
        kind: match user.namespace {
            Some(_) => Kind::RoleBinding,
            None => Kind::ClusterRoleBinding,
        },
        namespace: user.namespace.as_deref().unwrap_or_default().into(),
        // These two may be in the name of a user, but not in that of an object.
        name: name.replace(['/', '%'], "-").into(),
    };
    let subject = json!({
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "User",
        "name": user.name,
    });
    let failed = |source| NewUserError::Api {
        object: key.to_string(),
        source,
    };
    let written = |done| Written {
        object: format!("{}/{}", key.kind.name().to_lowercase(), key.name),
        done,
    };

    if let Some(known) = api.find(&key).await.map_err(failed)? {
        let subjects = known["subjects"].as_array();
        let has = subjects.is_some_and(|subjects| subjects.contains(&subject));
        return match has && known["roleRef"] == *role {
            true => Ok(written("unchanged")),
            false => Err(NewUserError::Taken(format!(
                "{key} exists, and is not for this user and role"
            ))),
        };
    }
    let object = json!({
        "apiVersion": key.kind.api_version(),
        "kind": key.kind.name(),
        "metadata": { "name": &*key.name, "namespace": &*key.namespace },
        "roleRef": role,
        "subjects": [subject],
    });
    api.create(&key, &object).await.map_err(failed)?;
    Ok(written("created"))
}
