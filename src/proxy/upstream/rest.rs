//! The rest of a request whose response has begun.

use tokio::task::JoinHandle;

/// The task that sends the rest of a request while its response arrives: an endpoint that responds
/// while it reads needs that, even while the client reads nothing. It ends with the response.
#[derive(Debug)]
pub(crate) struct Rest(JoinHandle<()>);

impl Rest {
    /// Starts the task.
    pub(crate) fn send(rest: impl Future<Output = ()> + 'static) -> Self {
        Self(tokio::task::spawn_local(rest))
    }

    /// Returns true once the rest is sent, or cannot be.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.abort();
    }
}
