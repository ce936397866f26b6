//! Runs futures and the tasks of hyper's HTTP/2 in tests, on one thread.

use hyper::rt::Executor;

/// Runs a task on this thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// Runs a future, and the local tasks that it starts, with a runtime of its own.
pub(super) fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    tokio::task::LocalSet::new().block_on(&runtime, test)
}
