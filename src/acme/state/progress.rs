//! The current progress with each spec, and notices to the specs' owners.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::sync::mpsc;

use super::notice::{Notice, NoticeReason};
use crate::util::sync::lock;

/// The progress of a spec that waits until an attempt may start.
const WAITING: &str = "waiting for other orders of this account";

/// The current progress by spec, and the channel for notices.
pub(crate) struct Progress {
    doing: Mutex<BTreeMap<String, String>>,
    notices: mpsc::Sender<Notice>,
}

impl Progress {
    pub(crate) fn new(notices: mpsc::Sender<Notice>) -> Self {
        Self {
            doing: Mutex::default(),
            notices,
        }
    }

    pub(crate) fn set(&self, id: &str, doing: &str) {
        lock(&self.doing).insert(id.to_owned(), doing.to_owned());
    }

    /// Records that a spec waits until an attempt may start, unless it has another progress.
    pub(crate) fn wait(&self, id: &str) {
        let mut doing = lock(&self.doing);
        doing
            .entry(id.to_owned())
            .or_insert_with(|| WAITING.to_owned());
    }

    /// Returns true if an attempt for a spec is under way.
    pub(crate) fn is_running(&self, id: &str) -> bool {
        lock(&self.doing)
            .get(id)
            .is_some_and(|doing| doing != WAITING)
    }

    pub(crate) fn clear(&self, id: &str) {
        lock(&self.doing).remove(id);
    }

    pub(crate) fn of(&self, id: &str) -> Option<String> {
        lock(&self.doing).get(id).cloned()
    }

    /// Logs a notice and sends it to the owner of a spec, unless too many notices are queued.
    pub(crate) fn notify(&self, id: &Arc<str>, reason: NoticeReason, message: String) {
        let (certificate, name) = (&**id, reason.name());
        if reason.is_warning() {
            tracing::warn!(certificate, reason = name, message, "certificate");
        } else {
            tracing::info!(certificate, reason = name, message, "certificate");
        }

        // If the receiver lags, only the notice is lost: the log has it already.
        let _full = self.notices.try_send(Notice {
            certificate: id.clone(),
            reason,
            message,
        });
    }
}
