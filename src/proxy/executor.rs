//! Runs the tasks of hyper's HTTP/2 in tests on the thread that created them.

use hyper::rt::Executor;

/// Runs a task on this thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
