//! The pure compiler: Kubernetes objects in, routing table, endpoint sets, wanted certificates,
//! statuses and findings out. No tokio, no client, no clock: whoever drives it hands events in and
//! takes [`Output`] out.
//!
//! `facts` is what is kept of each object, `annotations` what those of an Ingress say, `peers` what
//! those of other controllers mean and `guards` what that closes, `classes` says which Ingresses
//! are served, `rules` compiles one, `regex` reads paths that are regular expressions, `index`
//! knows what depends on what, `hosts` assembles the rules of a host, `endpoints` diagnoses
//! Services without endpoints, `wishes` puts together which certificates there are and which are
//! asked for.

mod annotations;
mod certificates;
mod classes;
mod endpoints;
mod facts;
#[cfg(fuzzing)]
pub mod fuzz;
mod guards;
mod hosts;
mod index;
mod ingress;
mod output;
pub mod peers;
mod regex;

pub use annotations::{ANNOTATIONS, Annotation};
pub use index::{Index, Inspect};
pub use output::{
    CertificateSource, DesiredCertificate, EndpointUpdate, Finding, OtherClass, Output, Secretive,
    Settings, TlsHost, UnsupportedGuards,
};

#[cfg(test)]
mod tests;
