//! The Secret of a certificate, as it is written: with the annotations of cert-manager, so that
//! what reads those goes on reading them.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{Key, Kind};

/// Label of the Secrets that are ours to write. Gatelet never writes a Secret without it.
pub const MANAGED: &str = "gatelet.dev/managed";
/// Annotation with the name of the issuer, as cert-manager writes it.
pub const ISSUER_NAME: &str = "cert-manager.io/issuer-name";

/// A certificate to be written into a Secret of type `kubernetes.io/tls`.
#[derive(Clone)]
pub struct SecretPatch {
    /// Namespace of the Secret.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// The chain, PEM.
    pub chain: Box<str>,
    /// The private key, PEM.
    pub key: Box<str>,
    /// Name of the issuer.
    pub issuer: Box<str>,
    /// Names and addresses of the certificate.
    pub hosts: Vec<Box<str>>,
    /// Its common name; may be empty.
    pub common_name: Box<str>,
}

impl fmt::Debug for SecretPatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretPatch({}/{})", self.namespace, self.name)
    }
}

impl SecretPatch {
    /// The Secret's key.
    pub fn secret(&self) -> Key {
        Key {
            kind: Kind::Secret,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
        }
    }

    /// Returns the body of a new Secret, which is also the merge patch for one that is ours.
    pub fn body(&self) -> Value {
        let (addresses, names): (Vec<&str>, Vec<&str>) = self
            .hosts
            .iter()
            .map(|host| &**host)
            .partition(|host| host.parse::<std::net::IpAddr>().is_ok());

        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": &*self.name,
                "namespace": &*self.namespace,
                "labels": { MANAGED: "true" },
                "annotations": {
                    "cert-manager.io/alt-names": names.join(","),
                    "cert-manager.io/certificate-name": &*self.name,
                    "cert-manager.io/common-name": &*self.common_name,
                    "cert-manager.io/ip-sans": addresses.join(","),
                    "cert-manager.io/issuer-group": "cert-manager.io",
                    "cert-manager.io/issuer-kind": "ClusterIssuer",
                    ISSUER_NAME: &*self.issuer,
                },
            },
            "type": "kubernetes.io/tls",
            "data": {
                "tls.crt": STANDARD.encode(self.chain.as_bytes()),
                "tls.key": STANDARD.encode(self.key.as_bytes()),
            },
        })
    }

    /// Puts it into an object that is there. `None` if that is not ours, or has it already.
    pub fn put_into(&self, object: &Value) -> Option<Value> {
        if object["metadata"]["labels"][MANAGED] != "true" {
            return None;
        }
        let mut changed = object.clone();
        let body = self.body();
        changed["data"] = body["data"].clone();
        let annotations = changed["metadata"]
            .as_object_mut()?
            .entry("annotations")
            .or_insert(Value::Object(Map::new()));
        for (name, value) in body["metadata"]["annotations"].as_object()? {
            annotations[name] = value.clone();
        }
        (changed != *object).then_some(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patch() -> SecretPatch {
        SecretPatch {
            namespace: "default".into(),
            name: "web-tls".into(),
            chain: "chain".into(),
            key: "the-private-key".into(),
            issuer: "letsencrypt".into(),
            hosts: vec!["a.example".into(), "192.0.2.1".into()],
            common_name: "".into(),
        }
    }

    #[test]
    fn what_is_written_reads_as_cert_managers() {
        let body = patch().body();
        let annotations = &body["metadata"]["annotations"];
        assert_eq!(annotations["cert-manager.io/alt-names"], "a.example");
        assert_eq!(annotations["cert-manager.io/ip-sans"], "192.0.2.1");
        assert_eq!(annotations[ISSUER_NAME], "letsencrypt");
        assert_eq!(body["data"]["tls.crt"], "Y2hhaW4=");
    }

    #[test]
    fn only_our_own_secrets_are_written_and_only_when_they_differ() {
        let mut ours = patch().body();
        ours["metadata"]["labels"]["team"] = "web".into();
        assert_eq!(patch().put_into(&ours), None);
        ours["data"]["tls.crt"] = "b2xk".into();
        let changed = patch().put_into(&ours).expect("a change");
        assert_eq!(
            (
                &changed["data"]["tls.crt"],
                &changed["metadata"]["labels"]["team"]
            ),
            (&"Y2hhaW4=".into(), &"web".into())
        );
        ours["metadata"]["labels"]
            .as_object_mut()
            .expect("an object")
            .remove(MANAGED);
        assert_eq!(patch().put_into(&ours), None);
        assert_eq!(patch().put_into(&json!({ "metadata": {} })), None);
    }

    #[test]
    fn the_key_never_shows_in_debug_output() {
        assert_eq!(format!("{:?}", patch()), "SecretPatch(default/web-tls)");
    }
}
