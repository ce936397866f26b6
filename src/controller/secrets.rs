//! Finds the Secrets that annotations name, and reads what backends and clients are verified with.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use super::{
    CertificateSource, InspectError, Reason,
    facts::SecretFact,
    objects::{Name, Objects},
};
use crate::routing::{Authorities, HostPattern, Identity};

/// The reason why a Secret cannot be used, and the same for people.
pub(super) type Problem = (Reason, String);

/// Returns the name of the Secret that an object in a namespace means: `name`, or `namespace/name`
/// with its own namespace.
///
/// # Errors
/// If it is in another namespace, whose users must not decide about this object.
pub(super) fn name(namespace: &Arc<str>, text: &str) -> Result<Name, Problem> {
    match text.split_once('/') {
        Some((other, name)) if *other == **namespace => Ok((namespace.clone(), name.into())),
        None => Ok((namespace.clone(), text.into())),
        Some(_) => {
            let message = "Secrets of other namespaces are not read".to_owned();
            Err((Reason::InvalidAnnotation, message))
        }
    }
}

/// Returns a Secret. `lacks` completes "does not exist, or": Secrets without what gatelet reads are
/// not kept.
///
/// # Errors
/// If it is not known.
pub(super) fn find<'a>(
    objects: &'a Objects,
    name: &Name,
    lacks: &str,
) -> Result<&'a SecretFact, Problem> {
    let secret = &name.1;
    let unknown = || match objects.secrets_refused {
        true => {
            let message = format!("the cluster does not show Secret {secret}");
            (Reason::SecretsForbidden, message)
        }
        false => {
            let message = format!("Secret {secret} does not exist, or {lacks}");
            (Reason::SecretNotFound, message)
        }
    };
    objects.secrets.get(name).ok_or_else(unknown)
}

/// Returns the certificates and keys of the Secrets that Ingresses name under `tls`, each once.
pub(super) fn pairs<'a>(
    objects: &'a Objects,
    ingresses: &BTreeSet<Name>,
) -> Vec<(&'a [u8], &'a [u8])> {
    let facts = ingresses.iter().filter_map(|name| {
        let fact = objects.ingresses.get(name)?;
        Some((&name.0, fact))
    });
    let facts = facts.filter(|(_, fact)| !fact.spec.tls.is_empty() && objects.is_ours(fact));
    let names = facts.flat_map(|(namespace, fact)| {
        let secrets = fact
            .spec
            .tls
            .iter()
            .filter_map(|tls| tls.secret_name.as_deref());
        secrets.map(|secret| (namespace.clone(), secret.into()))
    });

    let mut known: HashSet<&Name> = HashSet::new();
    let mut pairs = Vec::new();
    for name in names {
        let Some((name, fact)) = objects.secrets.get_key_value(&name) else {
            continue;
        };
        if let Ok(CertificateSource::Secret {
            chain, private_key, ..
        }) = &fact.holds
            && known.insert(name)
        {
            pairs.push((&**chain, &*private_key.0));
        }
    }
    pairs
}

/// Reads the authorities in a Secret.
///
/// # Errors
/// If there are none, or they cannot be used.
pub(super) fn authorities(
    objects: &Objects,
    name: &Name,
    fact: &SecretFact,
) -> Result<Authorities, Problem> {
    let secret = &name.1;
    let raw = match &fact.authorities {
        Some(Ok(raw)) => raw,
        Some(Err(why)) => return Err(unusable(secret, why)),
        None => {
            let message = format!("Secret {secret} has no key ca.crt");
            return Err((Reason::InvalidSecret, message));
        }
    };
    let read = (objects.read_authorities)(&raw.ca, raw.crl.as_deref());
    read.map_err(|why| unusable(secret, &why.to_string()))
}

/// Reads the authorities in the key `tls.crt` of a Secret.
///
/// # Errors
/// If there are none, or they cannot be used.
pub(super) fn authorities_in_chain(
    objects: &Objects,
    name: &Name,
    fact: &SecretFact,
) -> Result<Authorities, Problem> {
    let chain = fact.pair.as_ref().and_then(|pair| pair.chain.as_ref());
    let Some(chain) = chain else {
        let why = "tls.crt is missing or not base64";
        return Err(unusable(&name.1, why));
    };
    let read = (objects.read_authorities)(chain, None);
    // The reader names the key that authorities usually have.
    read.map_err(|why| unusable(&name.1, &why.to_string().replace("ca.crt", "tls.crt")))
}

/// Reads the certificate with its key in a Secret; `None` if it has neither.
///
/// # Errors
/// If they cannot be used.
pub(super) fn identity(
    objects: &Objects,
    name: &Name,
    fact: &SecretFact,
) -> Result<Option<Identity>, Problem> {
    let Some(pair) = &fact.pair else {
        return Ok(None);
    };
    let Some((chain, key)) = pair.both() else {
        let why = "tls.crt or tls.key is missing or not base64";
        return Err(unusable(&name.1, why));
    };
    match (objects.inspect)(chain, &key.0, &HostPattern::Any) {
        Err(InspectError::Invalid(why)) => Err(unusable(&name.1, &why)),
        // It is for no host.
        Ok(()) | Err(InspectError::Mismatch(_)) => {
            Ok(Some(Identity::new(chain.clone(), key.clone())))
        }
    }
}

fn unusable(secret: &str, why: &str) -> Problem {
    let message = format!("Secret {secret} cannot be used: {why}");
    (Reason::InvalidSecret, message)
}
