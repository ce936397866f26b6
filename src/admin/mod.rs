//! Health, readiness, metrics, and inspection of the live process, over plain HTTP/1.1 on a
//! loopback address.

mod inspect;
mod report;
mod server;

pub use inspect::{ExplainRequest, Inspect, Operation, OperationError, Unhealthy, UrlError};
pub use report::{
    BackendReport, CandidateReport, CertificateReport, CertsReport, EndpointReport, ExplainReport,
    FindingReport, GuardReport, HostReport, IssuanceReport, LeaderReport, OtherClassReport,
    PortReport, Severity, StatusReport, StepReport, UnreadReport,
};
pub use server::serve;
