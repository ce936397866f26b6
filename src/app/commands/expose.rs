//! `gatelet expose`: a Service, an EndpointSlice and, for a host, an Ingress for one address,
//! written through the API of a running gatelet.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    app::{files, settings},
    k8s::{self, Objects, WriteError},
    objects::{Key, Kind},
    routing::HostPattern,
};

/// Label of the objects of this command. It changes no others.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "gatelet-expose");
/// Annotations with the port.
const TCP_LISTEN: &str = "gatelet.dev/tcp-listen";
const UDP_LISTEN: &str = "gatelet.dev/udp-listen";
/// Annotation with the issuer of the certificate.
const ISSUER: &str = "gatelet.dev/issuer";
/// Maximum length of a Service's name (RFC 1035 label).
const LONGEST_NAME: usize = 63;

/// An address, and where clients find it.
#[derive(Clone, Debug)]
pub struct Exposure {
    /// The place where clients find it.
    pub entrance: Entrance,
    /// The address of the backend; a loopback address is of this device.
    pub to: SocketAddr,
    /// Name of the objects; `None` derives it from the entrance.
    pub name: Option<String>,
    /// Their namespace.
    pub namespace: String,
}

/// The place where clients find an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// A host and path, by HTTP.
    Host {
        /// Host, or `*.` and a suffix.
        host: String,
        /// Path prefix.
        path: String,
        /// HTTPS.
        tls: ExposeTls,
    },
    /// A TCP port.
    Tcp(u16),
    /// A UDP port.
    Udp(u16),
}

impl Entrance {
    /// Returns name, number and protocol of the Service's port.
    fn port(&self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Host { .. } => ("http", 80, "TCP"),
            Self::Tcp(port) => ("tcp", *port, "TCP"),
            Self::Udp(port) => ("udp", *port, "UDP"),
        }
    }
}

/// The use of HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExposeTls {
    /// Plain HTTP is served as well.
    Optional,
    /// Plain HTTP is redirected to HTTPS.
    Required,
    /// The same, with a certificate by this issuer.
    Issued(String),
}

/// The device as EndpointSlices name it.
#[derive(Clone, Debug)]
pub struct Device {
    /// Name of the Node.
    pub node: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// An object and the change that was made.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// `kind/name`
    pub object: String,
    /// `created`, `configured`, `unchanged` or `deleted`.
    pub done: &'static str,
}

/// The reason why not all objects were written.
#[derive(Debug, thiserror::Error)]
pub enum ExposeError {
    /// An argument is invalid.
    #[error("{0}")]
    Argument(String),
    /// No gatelet runs, or its kubeconfig cannot be used.
    #[error("{0}")]
    NoGatelet(String),
    /// An object with that name belongs to something else.
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
}

impl Exposure {
    /// Builds the objects, in the order in which they are written. Sends no request.
    pub fn objects(&self, device: &Device) -> Result<Vec<Value>, ExposeError> {
        if self.to.port() == 0 || self.to.ip().is_unspecified() {
            let message = format!(
                "{} cannot be connected to; name an address and a port",
                self.to
            );
            return Err(ExposeError::Argument(message));
        }

        let name = self.object_name();
        let labels = json!({ MANAGED_BY.0: MANAGED_BY.1 });
        let metadata =
            |name: &str| json!({ "name": name, "namespace": self.namespace, "labels": labels });

        let (port_name, port, protocol) = self.entrance.port();
        let target = self.to.port();
        let mut ports = json!([{ "name": port_name, "port": port, "targetPort": target }]);
        if protocol != "TCP" {
            ports[0]["protocol"] = protocol.into();
        }
        let mut service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(&name),
            "spec": { "ports": ports },
        });
        let slice_metadata = metadata(&self.slice_name(&name));
        let slice = self.slice(&name, device, slice_metadata)?;

        match &self.entrance {
            Entrance::Host { host, path, tls } => {
                let ingress = ingress(&name, metadata(&name), (host, path), tls)?;
                Ok(vec![service, slice, ingress])
            }
            Entrance::Tcp(port) => {
                service["metadata"]["annotations"] = json!({ TCP_LISTEN: port.to_string() });
                Ok(vec![service, slice])
            }
            Entrance::Udp(port) => {
                service["metadata"]["annotations"] = json!({ UDP_LISTEN: port.to_string() });
                Ok(vec![service, slice])
            }
        }
    }

    fn slice(
        &self,
        service: &str,
        device: &Device,
        mut metadata: Value,
    ) -> Result<Value, ExposeError> {
        metadata["labels"]["kubernetes.io/service-name"] = service.into();
        let family = if self.to.is_ipv4() { "IPv4" } else { "IPv6" };
        let mut endpoint = json!({ "addresses": [self.to.ip()] });

        if self.to.ip().is_loopback() {
            // The real API refuses loopback addresses in EndpointSlices, and so does ours. The
            // slice has the address of the device, and the annotation makes its node connect to
            // loopback.
            let only = if self.to.is_ipv4() {
                "127.0.0.1"
            } else {
                "::1"
            };
            if self.to.ip().to_string() != only {
                let message = format!(
                    "{} cannot be a backend; of the loopback addresses, only {only} can",
                    self.to.ip()
                );
                return Err(ExposeError::Argument(message));
            }

            // Without an own address, any valid one does: the annotation overrides it.
            let own = device
                .addresses
                .iter()
                .find(|ip| ip.is_ipv4() == self.to.is_ipv4())
                .copied();
            let documentation: IpAddr = match self.to {
                SocketAddr::V4(_) => Ipv4Addr::new(192, 0, 2, 1).into(),
                SocketAddr::V6(_) => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]),
            };

            metadata["annotations"]["gatelet.dev/connect"] = "loopback".into();
            endpoint =
                json!({ "addresses": [own.unwrap_or(documentation)], "nodeName": device.node });
        }

        let (name, _, protocol) = self.entrance.port();
        let mut ports = json!([{ "name": name, "port": self.to.port() }]);
        if protocol != "TCP" {
            ports[0]["protocol"] = protocol.into();
        }
        Ok(json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata,
            "addressType": family,
            "endpoints": [endpoint],
            "ports": ports,
        }))
    }

    /// Returns the name of the slice. The address type of a slice cannot be changed, so there is
    /// one for each.
    fn slice_name(&self, name: &str) -> String {
        if self.to.is_ipv4() {
            format!("{name}-ipv4")
        } else {
            format!("{name}-ipv6")
        }
    }

    /// Returns the configured name, or host and path with dashes for all characters that a name
    /// cannot have, or the port.
    fn object_name(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }

        let text = match &self.entrance {
            Entrance::Host { host, path, .. } => {
                format!("{}{path}", host.replace('*', "wildcard")).to_ascii_lowercase()
            }
            Entrance::Tcp(_) | Entrance::Udp(_) => {
                let (name, port, _) = self.entrance.port();
                format!("{name}-{port}")
            }
        };
        let words = text
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty());
        let mut name = words.collect::<Vec<&str>>().join("-");

        // The name of a Service begins with a letter.
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            name.insert_str(0, "host-");
        }

        // The hash keeps names apart that begin alike.
        if name.len() > LONGEST_NAME {
            name.truncate(LONGEST_NAME - 9);
            // Writing into a string cannot fail.
            let _ = write!(name, "-{:08x}", crc32fast::hash(text.as_bytes()));
        }

        name
    }
}

/// Builds the Ingress of a host and path.
fn ingress(
    name: &str,
    metadata: Value,
    (host, path): (&str, &str),
    tls: &ExposeTls,
) -> Result<Value, ExposeError> {
    let wrong = |message: String| Err(ExposeError::Argument(message));
    let host = match HostPattern::parse(host) {
        Ok(HostPattern::Any) => return wrong("the host is empty".to_owned()),
        Ok(pattern) => pattern.to_string(),
        Err(error) => return wrong(format!("{host:?}: {error}")),
    };
    if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
        return wrong(format!("{host:?} is an address; rules are for host names"));
    }
    if !path.starts_with('/') {
        return wrong(format!("the path {path:?} does not begin with /"));
    }

    let backend = json!({ "service": { "name": name, "port": { "number": 80 } } });
    let path = json!({ "path": path, "pathType": "Prefix", "backend": backend });
    let mut ingress = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": metadata,
        "spec": {
            "ingressClassName": "gatelet",
            "rules": [{ "host": host, "http": { "paths": [path] } }],
        },
    });

    if *tls != ExposeTls::Optional {
        ingress["spec"]["tls"] = json!([{ "hosts": [host] }]);
    }
    if let ExposeTls::Issued(issuer) = tls {
        ingress["metadata"]["annotations"] = json!({ ISSUER: issuer });
    }
    Ok(ingress)
}

/// Returns the device without its Node, for objects that are only printed.
pub fn device(node: &str) -> Device {
    Device {
        node: node.to_owned(),
        addresses: settings::own_address().into_iter().collect(),
    }
}

/// Writes the objects through the API of the kubeconfig in `state`. Returns them and the changes.
pub fn expose(
    state: &Path,
    exposure: &Exposure,
) -> Result<(Vec<Value>, Vec<Written>), ExposeError> {
    let failed = |error: &dyn std::fmt::Display| ExposeError::NoGatelet(error.to_string());
    crate::tls::install();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed(&error))?;
    runtime.block_on(write(state, exposure))
}

async fn write(
    state: &Path,
    exposure: &Exposure,
) -> Result<(Vec<Value>, Vec<Written>), ExposeError> {
    // Report invalid arguments before any request.
    exposure.objects(&Device {
        node: String::new(),
        addresses: Vec::new(),
    })?;

    let kubeconfig = files::kubeconfig_path(state);
    if let Err(error) = std::fs::File::open(&kubeconfig) {
        return Err(ExposeError::NoGatelet(format!(
            "{}: {error}; `gatelet run` writes it: name its state directory with --state",
            kubeconfig.display()
        )));
    }

    let client = k8s::connect(Some(&kubeconfig))
        .await
        .map_err(|error| ExposeError::NoGatelet(error.to_string()))?;
    let api = Objects::new(client);
    let nodes = api.list(Kind::Node).await.map_err(|error| {
        ExposeError::NoGatelet(format!(
            "no gatelet answers at the API of {} ({error}); is it running?",
            kubeconfig.display()
        ))
    })?;
    let objects = exposure.objects(&node(&nodes)?)?;

    let keys: Vec<Key> = objects.iter().filter_map(key).collect();
    let mut known = Vec::new();
    for key in &keys {
        let there = api.find(key).await.map_err(|source| ExposeError::Api {
            object: key.to_string(),
            source,
        })?;
        if let Some(there) = &there {
            check_owned(exposure, key, there)?;
        }
        known.push(there);
    }

    // A dry run first, so that all objects are written or none.
    for ((object, key), there) in objects.iter().zip(&keys).zip(&known) {
        put(&api.dry_run(), key, object, there.as_ref()).await?;
    }

    let mut written = Vec::new();
    for ((object, key), there) in objects.iter().zip(&keys).zip(&known) {
        written.push(put(&api, key, object, there.as_ref()).await?);
    }

    // Delete the slice of the other address type if an earlier run wrote it.
    let slice = &keys[1];
    let other = match slice.name.strip_suffix("-ipv4") {
        Some(name) => format!("{name}-ipv6"),
        None => slice.name.replace("-ipv6", "-ipv4"),
    };
    let other = Key {
        name: other.into(),
        ..slice.clone()
    };

    let failed = |source| ExposeError::Api {
        object: other.to_string(),
        source,
    };
    if let Some(there) = api.find(&other).await.map_err(failed)?
        && check_owned(exposure, &other, &there).is_ok()
    {
        api.delete(&other).await.map_err(failed)?;
        written.push(Written {
            object: title(&other),
            done: "deleted",
        });
    }

    Ok((objects, written))
}

/// Returns the device of the mini cluster: its only Node.
fn node(nodes: &[Value]) -> Result<Device, ExposeError> {
    let [node] = nodes else {
        return Err(ExposeError::NoGatelet(
            "this is not the API of a gatelet: it does not have exactly one Node".to_owned(),
        ));
    };

    let listed = node["status"]["addresses"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let internal = listed
        .iter()
        .filter(|one| one["type"] == "InternalIP")
        .filter_map(|one| one["address"].as_str());

    Ok(Device {
        node: node["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        addresses: internal
            .filter_map(|address| address.parse().ok())
            .collect(),
    })
}

/// Checks that an existing object may be changed: this command wrote it, for the same host and path
/// or under a configured name.
fn check_owned(exposure: &Exposure, key: &Key, there: &Value) -> Result<(), ExposeError> {
    if there["metadata"]["labels"][MANAGED_BY.0] != MANAGED_BY.1 {
        let message = format!(
            "{key} exists and was not written by `gatelet expose`; choose another name with --name"
        );
        return Err(ExposeError::Taken(message));
    }

    // Two hosts can result in one name: neither overwrites the other.
    if let Entrance::Host { host, path, .. } = &exposure.entrance
        && key.kind == Kind::Ingress
        && exposure.name.is_none()
    {
        let rule = &there["spec"]["rules"][0];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let there = (text(&rule["host"]), text(&rule["http"]["paths"][0]["path"]));
        if !there.0.eq_ignore_ascii_case(host) || there.1 != *path {
            let (host, path) = there;
            let message = format!("{key} exists for {host}{path}; choose another name with --name");
            return Err(ExposeError::Taken(message));
        }
    }

    Ok(())
}

async fn put(
    api: &Objects,
    key: &Key,
    object: &Value,
    existing: Option<&Value>,
) -> Result<Written, ExposeError> {
    let failed = |source| ExposeError::Api {
        object: key.to_string(),
        source,
    };

    let Some(existing) = existing else {
        api.create(key, object).await.map_err(|error| match error {
            WriteError::Refused(StatusCode::NOT_FOUND, message)
                if message.contains("namespaces") =>
            {
                let message = format!(
                    "{message}; create it first: kubectl create namespace {}",
                    key.namespace
                );
                failed(WriteError::Refused(StatusCode::NOT_FOUND, message))
            }
            other => failed(other),
        })?;
        return Ok(Written {
            object: title(key),
            done: "created",
        });
    };

    // Remove what an earlier run wrote and this one does not.
    let mut patch = object.clone();
    if key.kind == Kind::EndpointSlice && patch["metadata"]["annotations"].is_null() {
        patch["metadata"]["annotations"] = json!({ "gatelet.dev/connect": null });
    }
    if key.kind == Kind::Service && patch["metadata"]["annotations"].is_null() {
        patch["metadata"]["annotations"] = json!({ TCP_LISTEN: null });
    }
    if key.kind == Kind::Ingress && patch["spec"]["tls"].is_null() {
        patch["spec"]["tls"] = Value::Null;
    }
    if key.kind == Kind::Ingress && patch["metadata"]["annotations"].is_null() {
        patch["metadata"]["annotations"] = json!({ ISSUER: null });
    }

    let after = api.merge(key, &patch).await.map_err(failed)?;
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let done = if version(existing) == version(&after) {
        "unchanged"
    } else {
        "configured"
    };

    Ok(Written {
        object: title(key),
        done,
    })
}

fn key(object: &Value) -> Option<Key> {
    let kind = Kind::find(object["apiVersion"].as_str()?, object["kind"].as_str()?)?;
    let text = |key: &str| object["metadata"][key].as_str().map(Arc::from);
    Some(Key {
        kind,
        namespace: text("namespace")?,
        name: text("name")?,
    })
}

fn title(key: &Key) -> String {
    format!("{}/{}", key.kind.name().to_ascii_lowercase(), key.name)
}

#[cfg(test)]
mod tests;
