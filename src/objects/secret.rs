//! The Secret of a certificate, as it is written: with the annotations of cert-manager, so that
//! what reads those goes on reading them.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::{Key, Kind};
use crate::util::hash::sha256;

/// Label of the Secrets that are ours to write, with the value `true`. With any other value a
/// Secret is never written; without the label, only if [`owner`] says so.
pub const MANAGED: &str = "gatelet.dev/managed";
/// Annotation with the name of the issuer, as cert-manager writes it.
pub const ISSUER_NAME: &str = "cert-manager.io/issuer-name";
/// Annotation with the SHA-256 of the `tls.crt` that gatelet wrote, in hexadecimal.
pub const WRITTEN: &str = "gatelet.dev/written";

/// The owner of a Secret's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Gatelet: the Secret has the label.
    Gatelet,
    /// Gatelet, but the label has been removed.
    Unlabelled,
    /// A person or another program: gatelet never writes it.
    Other,
}

/// Returns the owner of a Secret by its label [`MANAGED`]. Programs that prune labels also remove
/// ours: a Secret without it is still gatelet's if its `tls.crt` is the one that gatelet wrote.
pub fn owner(label: Option<&str>, is_written: bool) -> Owner {
    match label {
        Some("true") => Owner::Gatelet,
        None if is_written => Owner::Unlabelled,
        _ => Owner::Other,
    }
}

/// Returns true if the annotation [`WRITTEN`] is that of this `tls.crt`.
pub fn is_written(annotation: Option<&str>, chain: &[u8]) -> bool {
    annotation.is_some_and(|written| written == sha256(chain))
}

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
    /// The chain in the Secret until now, if gatelet wrote it: the Secret may be overwritten even
    /// if both its label and its annotation are gone.
    pub replaces: Option<Arc<[u8]>>,
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
                    WRITTEN: sha256(self.chain.as_bytes()),
                },
            },
            "type": "kubernetes.io/tls",
            "data": {
                "tls.crt": STANDARD.encode(self.chain.as_bytes()),
                "tls.key": STANDARD.encode(self.key.as_bytes()),
            },
        })
    }

    /// Puts it into an object that is there, and puts back the label if it was removed. `None` if
    /// the object is not ours, or has all of it already.
    pub fn put_into(&self, object: &Value) -> Option<Value> {
        let metadata = &object["metadata"];
        let chain = object["data"]["tls.crt"].as_str().unwrap_or_default();
        let chain = STANDARD.decode(chain).unwrap_or_default();
        // A label that is no text counts as one with another value.
        let label = metadata["labels"].get(MANAGED);
        let label = label.map(|label| label.as_str().unwrap_or_default());
        let is_written = is_written(metadata["annotations"][WRITTEN].as_str(), &chain)
            || self.replaces.as_deref() == Some(&*chain);
        if owner(label, is_written) == Owner::Other {
            return None;
        }

        let mut changed = object.clone();
        let body = self.body();
        changed["data"] = body["data"].clone();
        for part in ["labels", "annotations"] {
            let known = changed["metadata"]
                .as_object_mut()?
                .entry(part)
                .or_insert_with(|| Value::Object(Map::new()));
            if known.is_null() {
                *known = Value::Object(Map::new());
            }
            for (name, value) in body["metadata"][part].as_object()? {
                known.as_object_mut()?.insert(name.clone(), value.clone());
            }
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
            replaces: None,
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
        for label in [
            json!({}),
            json!({ MANAGED: "false" }),
            json!({ MANAGED: true }),
        ] {
            ours["metadata"]["labels"] = label;
            assert_eq!(patch().put_into(&ours), None, "{ours}");
        }
        assert_eq!(patch().put_into(&json!({ "metadata": {} })), None);
    }

    #[test]
    fn a_removed_label_comes_back_if_the_content_is_ours() {
        let whole = patch().body();
        let mut pruned = whole.clone();
        pruned["metadata"]
            .as_object_mut()
            .expect("an object")
            .remove("labels");
        assert_eq!(patch().put_into(&pruned), Some(whole));

        // So does a renewed certificate reach it.
        let renewed = SecretPatch {
            chain: "newer".into(),
            ..patch()
        };
        assert_eq!(renewed.put_into(&pruned), Some(renewed.body()));

        // Set to another value, the label gives the Secret away.
        pruned["metadata"]["labels"] = json!({ MANAGED: "false" });
        assert_eq!(patch().put_into(&pruned), None);
        pruned["metadata"]["labels"] = json!({});
        pruned["data"]["tls.crt"] = "b2xk".into();
        assert_eq!(patch().put_into(&pruned), None);
    }

    #[test]
    fn a_chain_of_ours_is_replaced_without_label_and_annotation() {
        let mut pruned = patch().body();
        pruned["metadata"] = json!({ "name": "web-tls" });
        assert_eq!(patch().put_into(&pruned), None);

        let renewed = SecretPatch {
            chain: "newer".into(),
            replaces: Some((*b"chain").into()),
            ..patch()
        };
        let changed = renewed.put_into(&pruned).expect("a change");
        assert_eq!(changed["metadata"]["labels"], json!({ MANAGED: "true" }));
        assert_eq!(changed["data"], renewed.body()["data"]);

        // Somebody else may have written it in the meantime, or have given it away.
        pruned["data"]["tls.crt"] = "b2xk".into();
        assert_eq!(renewed.put_into(&pruned), None);
        pruned["data"] = patch().body()["data"].clone();
        pruned["metadata"]["labels"] = json!({ MANAGED: "false" });
        assert_eq!(renewed.put_into(&pruned), None);
    }

    #[test]
    fn the_key_never_shows_in_debug_output() {
        assert_eq!(format!("{:?}", patch()), "SecretPatch(default/web-tls)");
    }
}
