//! Entry points for `fuzz/`: objects of any content. Each panics when an invariant does not hold.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;

use super::{Index, Settings, UnsupportedGuards, regex};
use crate::objects::{Event, Kind, RawObject};

/// Compiles objects, given as JSON documents separated by NUL bytes, beside a Service that the
/// Ingresses may name.
pub fn compile(data: &[u8]) {
    let settings = Settings {
        controller: "gatelet.dev/ingress-controller".into(),
        namespace: "gatelet".into(),
        classes: Vec::new(),
        classless: true,
        standalone: true,
        default_backend: None,
        ssl_redirect: true,
        hsts: None,
        node: "pi1".into(),
        addresses: Vec::new(),
        issuers: BTreeSet::new(),
        aliases: Default::default(),
        default_issuer: None,
        own_ports: Default::default(),
        tcp_services: None,
        udp_services: None,
        nginx_configmap: None,
        open_ports: vec![crate::util::port_range::PortRange::ALL],
        unsupported_guards: UnsupportedGuards::default(),
    };
    let mut index = Index::new(settings, Box::new(|_chain, _key, _pattern| Ok(())));

    let service = br#"{"metadata":{"name":"web","namespace":"a"},"spec":{"ports":[{"port":80}]}}"#;
    apply(&mut index, Kind::Service, service);

    for body in data.split(|byte| *byte == 0) {
        let Some((kind, body)) = body.split_first() else {
            continue;
        };
        apply(
            &mut index,
            Kind::ALL[usize::from(*kind) % Kind::ALL.len()],
            body,
        );
        drop(index.compile());
    }

    // A second compile without a change returns nothing new.
    drop(index.compile());
    let again = index.compile();
    assert!(again.table.is_none() && again.findings.is_none() && again.certificates.is_none());
}

fn apply(index: &mut Index, kind: Kind, body: &[u8]) {
    if let Ok(object) = RawObject::parse(kind, Bytes::copy_from_slice(body)) {
        index.apply(Event::Apply(Arc::new(object)));
    }
}

/// Finds the paths that a regular expression could match.
pub fn regular_expression(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(!regex::could_match(text).is_empty());
    }
}
