//! The pure compiler: Kubernetes objects in; routing table, endpoint sets, desired certificates,
//! statuses and findings out. No tokio, no client, no clock: its driver hands events in and takes
//! [`Output`] out.
//!
//! The inputs: `facts` is the extract that is kept of each object, `objects` holds all facts,
//! `annotations` reads those of an Ingress, `peers` those of other controllers, `users` reads
//! Secrets with users, `authorities` those with authorities of certificates, `secrets` finds those
//! that annotations name, `ciphers` reads lists of cipher suites, `config_maps` ConfigMaps with
//! fields, `global_settings` that of ingress-nginx, `class_parameters` those of classes, `regex`
//! reads paths that are regular expressions, `sticky` and `limits` make the terms of sticky
//! sessions and of clients, and `middlewares` and `servers_transport` make what the objects of
//! Traefik ask for, which `traefik` finds. The steps: `classes` decides which Ingresses are
//! served, `host_steps` are those of an Ingress for whole hosts, `ingress` compiles one to a
//! `compiled` result, `access` and `client_certificates` decide who may come in, `backend_tls`
//! makes the terms of TLS to backends, `guards` closes what is guarded otherwise, `hosts`
//! assembles the rules of a host, `canary` gives canaries their part of them, `backends` keeps
//! what routes share, `endpoints` resolves and diagnoses Services, `groups` weighs endpoints by
//! the labels of `pods`, `ports` compiles layer 4 from `port_annotations`, and `certificates`
//! merges what Ingresses claim. `index` composes them, and `dependencies` tells it which parts a
//! change touches.

mod access;
mod annotations;
mod authorities;
mod backend_terms;
mod backend_tls;
mod backends;
mod canary;
mod certificates;
mod ciphers;
mod class_parameters;
mod classes;
mod client_certificates;
mod compiled;
mod config_maps;
mod counted;
mod dependencies;
mod endpoints;
mod expressions;
mod external_auth;
mod facts;
mod finding;
#[cfg(fuzzing)]
pub mod fuzz;
mod global_settings;
mod globals;
mod groups;
mod guards;
mod host_steps;
mod hosts;
mod index;
mod ingress;
mod limits;
mod middlewares;
mod nginx_config;
mod objects;
mod output;
mod pages;
mod passthrough;
pub mod peers;
mod pods;
mod port_annotations;
mod port_entries;
mod ports;
mod references;
mod regex;
mod resolve;
mod secrets;
mod server_url;
mod servers;
mod servers_transport;
mod service_terms;
mod slashes;
mod sticky;
mod traefik;
mod users;

pub use annotations::{ANNOTATIONS, Annotation, AnnotationTable};
pub use authorities::{InvalidAuthorities, ReadAuthorities};
pub use counted::CountedIngresses;
pub use facts::IsStored;
pub use finding::{Finding, Message, Missing, Reason};
pub use index::{Index, Unreported};
pub use objects::{Inspect, InspectError};
pub use output::{
    CertificateSource, DesiredCertificate, EndpointUpdate, ExistingSecret, OtherClass, Output,
    Settings, TlsHost, UnsupportedGuards,
};

#[cfg(test)]
mod tests;
