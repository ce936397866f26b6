//! Composition root: builds everything from `Config`, joins channels, supervises named tasks,
//! drains.

mod accounts;
mod cache;
mod certificates;
mod check;
mod classes;
mod engine;
mod expose;
mod files;
mod health;
mod inspect;
mod issuers;
mod metrics;
mod origin;
mod parsed;
mod proof;
mod publish;
mod role;
mod start;
mod stop;
mod tasks;
mod tidy;
mod trim;
mod watchdog;
mod writer;

pub use check::{CheckError, CheckFinding, CheckReport, KindReport, ReadError, check};
pub use expose::{Device, ExposeError, ExposeTls, Exposure, Written, device, expose};
pub use files::{kubeconfig_path, root_path};
pub use issuers::check as check_issuers;
pub use start::{RunError, run};
