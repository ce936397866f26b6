//! Named tasks of the control side: each is meant to run until the process ends; one that ends
//! early ends the process.

use std::future::Future;

use tokio::{runtime::Handle, task::JoinSet};

/// The control side's tasks.
#[derive(Debug)]
pub(crate) struct Tasks {
    handle: Handle,
    running: JoinSet<(&'static str, Result<(), String>)>,
}

impl Tasks {
    pub(crate) fn new(handle: Handle) -> Self {
        Self {
            handle,
            running: JoinSet::new(),
        }
    }

    /// Starts a task. `Ok` is a planned end (drain); `Err` says why it could not go on.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), String>> + Send + 'static,
    ) {
        self.running
            .spawn_on(async move { (name, task.await) }, &self.handle);
    }

    /// Starts a task that cannot fail: its end is planned.
    pub(crate) fn spawn_infallible(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn(name, async move {
            task.await;
            Ok(())
        });
    }

    /// Waits for the first task that fails; planned ends are passed over. Pends for ever when none
    /// is left.
    pub(crate) async fn failure(&mut self) -> String {
        loop {
            match self.running.join_next().await {
                Some(Ok((name, Ok(())))) => tracing::debug!(task = name, "task ended"),
                Some(Ok((name, Err(error)))) => return format!("{name}: {error}"),
                Some(Err(error)) => return format!("a task broke off: {error}"),
                None => std::future::pending().await,
            }
        }
    }

    /// Ends what still runs.
    pub(crate) async fn shutdown(mut self) {
        self.running.shutdown().await;
    }
}
