//! The manifests folder of the mini cluster: its files are applied at the start and whenever they
//! change, through the API.
//!
//! A file that cannot be read or parsed as a whole is not applied at all, because it may be half
//! written. What a file no longer contains stays in the cluster, and so does what a deleted file
//! contained.

mod changes;
mod finding;
mod folder;
mod pass;
#[cfg(test)]
mod tests;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};

use self::{changes::Changes, pass::Pass};
use crate::apiserver::Applier;

pub use finding::{Finding, Reason};

/// The interval between passes while the system reports changes: files behind links change without
/// a report, and objects that were refused for a passing reason are tried again.
const WATCHED: Duration = Duration::from_secs(60);

/// The interval between passes while the system does not report changes.
const UNWATCHED: Duration = Duration::from_secs(15);

/// The findings that hold, as they are shared with `status`.
pub type Findings = watch::Receiver<Arc<[Finding]>>;

/// The follower of a folder.
pub struct Manifests {
    pass: Pass,
    changes: Changes,
    findings: watch::Sender<Arc<[Finding]>>,
}

impl Manifests {
    /// Makes a follower of `folder`, and the receiver of its findings.
    pub fn new(folder: PathBuf, applier: Applier) -> (Self, Findings) {
        let (findings, receiver) = watch::channel(Arc::default());
        let follower = Self {
            changes: Changes::new(),
            pass: Pass::new(folder, applier),
            findings,
        };
        (follower, receiver)
    }

    /// Applies the files, and again whenever they change. Runs until it is dropped.
    pub async fn run(mut self) {
        let mut is_timed = false;
        loop {
            let (folders, findings) = self.pass.run(self.changes.busy(), is_timed).await;
            let known = self.findings.borrow().clone();
            for finding in findings.iter().filter(|finding| !known.contains(finding)) {
                finding.log();
            }
            self.findings.send_replace(findings.into());

            let pause = match self.changes.watch(&folders) {
                true => WATCHED,
                false => UNWATCHED,
            };
            is_timed = tokio::select! {
                () = self.changes.next() => false,
                () = sleep(pause) => true,
            };
        }
    }
}
