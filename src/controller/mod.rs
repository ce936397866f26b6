//! The pure compiler: Kubernetes objects in, routing table, endpoint sets, wanted certificates, statuses and findings
//! out. No tokio, no client, no clock: whoever drives it hands events in and takes [`Output`] out.
//!
//! `facts` is what is kept of each object, `annotations` what those of an Ingress say, `rules` compiles one Ingress,
//! `classes` says which Ingresses are served, `index` knows what depends on what, `wishes` puts together which certificates there are and which are asked for.

mod annotations;
mod classes;
mod facts;
mod index;
mod output;
mod rules;
mod wishes;

pub use annotations::{ANNOTATIONS, Annotation};
pub use index::{Index, Inspect};
pub use output::{
    CertificateSource, EndpointUpdate, Finding, OtherClass, Output, Secretive, Settings, TlsHost, Wish, WishKey,
    WishRenewal,
};

#[cfg(test)]
mod tests;
