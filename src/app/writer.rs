//! The way back to the objects: statuses and Events, queued, written by one task, never in the way of a compile.

use std::collections::HashSet;

use tokio::sync::mpsc;

use super::mini::MiniWriter;
use crate::{
    controller::Finding,
    objects::{EventNote, StatusPatch},
};

/// What may wait to be written. A full queue drops the oldest wish only in so far as the next compile repeats it.
const QUEUE: usize = 4096;

/// One thing to be written.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Status(StatusPatch),
    Note(EventNote),
}

/// Where it is written to.
pub(crate) enum Target {
    Mini(MiniWriter),
    Kubernetes(crate::k8s::Writer),
}

/// The sending side.
#[derive(Clone, Debug)]
pub(crate) struct Queue(mpsc::Sender<Write>);

impl Queue {
    /// Queues a write without waiting.
    pub(crate) fn push(&self, write: Write) {
        if let Err(error) = self.0.try_send(write) {
            tracing::warn!(%error, "too many statuses and Events wait to be written: one is dropped");
        }
    }
}

/// The queue and the task that empties it.
pub(crate) fn start(target: Target) -> (Queue, impl Future<Output = Result<(), String>> + Send) {
    let (tx, mut rx) = mpsc::channel(QUEUE);
    let task = async move {
        while let Some(write) = rx.recv().await {
            match &target {
                Target::Mini(mini) => mini.write(write).await,
                Target::Kubernetes(writer) => kubernetes(writer, write).await,
            }
        }
        Ok(())
    };
    (Queue(tx), task)
}

async fn kubernetes(writer: &crate::k8s::Writer, write: Write) {
    let (about, done) = match &write {
        Write::Status(patch @ StatusPatch::IngressAddresses { about, .. }) => (about, writer.status(patch).await),
        Write::Note(note) => (&note.about, writer.note(note).await),
    };
    if let Err(error) = done {
        tracing::warn!(object = %about.key, %error, "status or Event not written");
    }
}

/// Turns findings into Events, each once as long as it holds.
#[derive(Debug, Default)]
pub(crate) struct Announced(HashSet<Finding>);

impl Announced {
    /// The findings that are new since the last call.
    pub(crate) fn fresh(&mut self, findings: &[Finding]) -> Vec<Finding> {
        let now: HashSet<Finding> = findings.iter().cloned().collect();
        let mut fresh: Vec<Finding> = now.difference(&self.0).cloned().collect();
        fresh.sort_by(|a, b| (&a.about, &a.field, a.reason).cmp(&(&b.about, &b.field, b.reason)));
        self.0 = now;
        fresh
    }
}
