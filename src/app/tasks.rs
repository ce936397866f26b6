//! Supervises the named tasks of the control side. Each runs until the process ends; if one fails,
//! the process ends.

use std::{fmt, future::Future};

use tokio::{
    runtime::Handle,
    task::{JoinError, JoinSet},
};

/// The end of a task that had to go on.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The task returned an error.
    #[error("{task}: {error}")]
    Failed {
        /// Name of the task.
        task: &'static str,
        /// Text of its error.
        error: String,
    },
    /// A task panicked.
    #[error("a task ended early: {0}")]
    Panicked(#[source] JoinError),
}

/// The tasks of the control side.
#[derive(Debug)]
pub(crate) struct Tasks {
    handle: Handle,
    running: JoinSet<Result<&'static str, TaskError>>,
}

impl Tasks {
    /// Spawns its tasks on the runtime of `handle`.
    pub(crate) fn new(handle: Handle) -> Self {
        Self {
            handle,
            running: JoinSet::new(),
        }
    }

    /// Starts a task. `Ok` is a planned end.
    pub(crate) fn spawn<E: fmt::Display>(
        &mut self,
        task: &'static str,
        future: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let named = async move {
            match future.await {
                Ok(()) => Ok(task),
                Err(error) => Err(TaskError::Failed {
                    task,
                    error: error.to_string(),
                }),
            }
        };
        self.running.spawn_on(named, &self.handle);
    }

    /// Starts a task that cannot fail.
    pub(crate) fn spawn_infallible(
        &mut self,
        task: &'static str,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        let named = async move {
            future.await;
            Ok(task)
        };
        self.running.spawn_on(named, &self.handle);
    }

    /// Waits for the first task that fails, and ignores planned ends. Never returns if all tasks
    /// end as planned.
    pub(crate) async fn failure(&mut self) -> TaskError {
        loop {
            match self.running.join_next().await {
                Some(Ok(Ok(task))) => tracing::debug!(task, "task ended"),
                Some(Ok(Err(error))) => return error,
                Some(Err(error)) => return TaskError::Panicked(error),
                None => std::future::pending().await,
            }
        }
    }

    /// Cancels the tasks that still run, and waits for their end.
    pub(crate) async fn shutdown(mut self) {
        self.running.shutdown().await;
    }
}
