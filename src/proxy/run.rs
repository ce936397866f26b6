//! Starts and ends the data plane: one thread with its own runtime per core.

use std::{
    cell::Cell,
    convert::Infallible,
    io,
    rc::Rc,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    sync::watch,
    task::JoinSet,
    time::timeout,
};

use super::{
    Settings, Shared, clock,
    downstream::{
        listen::{self, Acceptor, PortSocket, StartError},
        listeners::{Listeners, OpenListeners, Sockets},
    },
    l4,
    worker::Worker,
};
use crate::{
    limit::Connections,
    routing::{Listener, Port},
    tls::Server,
    util::drain::Drain,
};

/// The most threads of a core for files of request bodies.
const MAX_DISK_THREADS: usize = 2;

/// A running data plane.
#[derive(Debug)]
pub struct Running {
    /// Its listeners.
    pub listeners: Arc<Listeners>,
    threads: Vec<JoinHandle<()>>,
    /// Each core holds the other end until it has drained.
    over: mpsc::Receiver<Infallible>,
}

impl Running {
    /// Waits until every core has drained, for at most `limit`. Returns true if all have.
    ///
    /// A core that has not drained is left running; its thread ends with the process.
    pub fn join(self, limit: Duration) -> bool {
        if self.over.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
            return false;
        }
        for thread in self.threads {
            // A core that panicked has been reported by the panic itself.
            let _ = thread.join();
        }
        true
    }
}

/// Returns the number of cores for the setting `workers`; 0 means all.
pub fn cores(workers: usize) -> usize {
    match workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

/// Opens the listeners and starts a thread per core.
pub fn start(
    settings: Settings,
    listeners: &[Listener],
    sockets: Sockets,
    shared: Arc<Shared>,
    tls: Option<Arc<Server>>,
    drain: Drain,
) -> Result<Running, StartError> {
    let cores = cores(settings.workers);
    let settings = Arc::new(settings);
    let open = Listeners::new(
        settings.clone(),
        shared.clone(),
        cores,
        sockets,
        drain.clone(),
    );
    open.replace(listeners)?;

    let connections = Connections::new(
        settings.max_connections,
        settings.max_connections_per_client,
    );

    let mut threads = Vec::new();
    // Nothing is sent: the channel closes when the last thread has ended.
    let (running, over) = mpsc::sync_channel(0);
    for index in 0..cores {
        let (settings, shared, tls) = (settings.clone(), shared.clone(), tls.clone());
        let (connections, drain) = (connections.clone(), drain.clone());
        let listeners = open.subscribe();
        let running = running.clone();

        let (built, outcome) = mpsc::sync_channel::<io::Result<()>>(1);
        // A local runtime, built on its thread, saves the scheduler of a `LocalSet`.
        let core = move || {
            let _running = running;
            let runtime = match Builder::new_current_thread()
                .enable_all()
                // For files of request bodies: further work waits.
                .max_blocking_threads(MAX_DISK_THREADS)
                .on_thread_unpark(clock::woke)
                .build_local(LocalOptions::default())
            {
                Ok(runtime) => runtime,
                Err(error) => return built.send(Err(error)).unwrap_or_default(),
            };
            drop(built);
            runtime.block_on(async move {
                let worker = Worker::new(index, settings, shared);
                let acceptor = Acceptor {
                    worker,
                    connections,
                    tls,
                    open: Rc::new(Cell::new(0)),
                };
                run(index, listeners, acceptor, drain).await;
            });
        };

        threads.push(
            std::thread::Builder::new()
                .name(format!("proxy-{index}"))
                .spawn(core)?,
        );
        // Only errors are sent.
        outcome.recv().unwrap_or(Ok(()))?;
    }

    Ok(Running {
        listeners: Arc::new(open),
        threads,
        over,
    })
}

/// Runs one core until it has drained.
async fn run(
    core: usize,
    mut listeners: watch::Receiver<OpenListeners>,
    acceptor: Acceptor,
    mut drain: Drain,
) {
    let mut loops = JoinSet::new();
    let grace = loop {
        let open = listeners.borrow_and_update().clone();
        for listener in open.iter() {
            if let Some(socket) = listener.take(core) {
                let (listener, acceptor) = (listener.clone(), acceptor.clone());
                loops.spawn_local(async move {
                    let drain = listener.signal.subscribe();
                    let bound = listener.bound;
                    match socket {
                        PortSocket::Tcp(socket) => {
                            listen::accept(socket, &listener, acceptor, drain).await;
                        }
                        PortSocket::Udp(socket) => {
                            let port = Port::udp(bound.address.port());
                            l4::udp::serve(socket, port, acceptor.worker, drain).await;
                        }
                    }
                });
            }
        }

        tokio::select! {
            grace = drain.draining() => break grace,
            Ok(()) = listeners.changed() => {}
            Some(_closed) = loops.join_next() => {}
        }
    };

    for listener in listeners.borrow().iter() {
        listener.signal.drain(grace);
    }

    let empty = async {
        while loops.join_next().await.is_some() {}
        while acceptor.open.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };

    tokio::select! {
        _all = timeout(grace, empty) => {}
        () = drain.stopped() => {}
    }
}
