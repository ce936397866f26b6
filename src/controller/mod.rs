//! The pure compiler: Kubernetes objects in, routing table, endpoint sets, wanted certificates, statuses and findings
//! out. No tokio, no client, no clock: whoever drives it hands events in and takes [`Output`] out.
//!
//! `facts` is what is kept of each object, `rules` compiles one Ingress, `index` knows what depends on what.

mod facts;
mod index;
mod output;
mod rules;

pub use index::{Index, Inspect};
pub use output::{CertificateSource, EndpointUpdate, Finding, Output, Secretive, Settings, TlsHost};
pub use rules::ANNOTATIONS;

#[cfg(test)]
mod tests;
