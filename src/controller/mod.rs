//! The pure compiler: Kubernetes objects in; routing table, endpoint sets, desired certificates,
//! statuses and findings out. No tokio, no client, no clock: its driver hands events in and takes
//! [`Output`] out.
//!
//! The inputs: `facts` is the extract that is kept of each object, `objects` holds all facts,
//! `annotations` reads those of an Ingress, `peers` those of other controllers, `users` reads
//! Secrets with users, `regex` reads paths that are regular expressions, and `sticky` and
//! `limits` make the terms of sticky sessions and of clients. The steps: `classes` decides which
//! Ingresses are served, `ingress` compiles one to a `compiled` result, `access` decides who may
//! come in, `guards` closes what is guarded otherwise, `hosts` assembles the rules of a host,
//! `canary` gives canaries their part of them, `backends` keeps what routes share, `endpoints`
//! resolves and diagnoses Services, `ports` compiles layer 4 from `port_annotations`, and
//! `certificates` merges what Ingresses claim. `index` composes them, and `dependencies` tells it
//! which parts a change touches.

mod access;
mod annotations;
mod backends;
mod canary;
mod certificates;
mod classes;
mod compiled;
mod dependencies;
mod endpoints;
mod expressions;
mod facts;
mod finding;
#[cfg(fuzzing)]
pub mod fuzz;
mod guards;
mod hosts;
mod index;
mod ingress;
mod limits;
mod objects;
mod output;
mod passthrough;
pub mod peers;
mod port_annotations;
mod port_entries;
mod ports;
mod regex;
mod resolve;
mod slashes;
mod sticky;
mod users;

pub use annotations::{ANNOTATIONS, Annotation, AnnotationTable};
pub use facts::IsStored;
pub use finding::{Finding, Message, Missing, Reason};
pub use index::Index;
pub use objects::{Inspect, InspectError};
pub use output::{
    CertificateSource, DesiredCertificate, EndpointUpdate, ExistingSecret, OtherClass, Output,
    Secretive, Settings, TlsHost, UnsupportedGuards,
};

#[cfg(test)]
mod tests;
