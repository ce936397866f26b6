//! The pure compiler: Kubernetes objects in, routing table, endpoint sets, wanted certificates, statuses and findings
//! out. No tokio, no client, no clock: whoever drives it hands events in and takes [`Output`] out.

mod output;

pub use output::{CertificateSource, EndpointUpdate, Finding, Output, Secretive, Settings, TlsHost};
