//! Starts and ends the data plane: one thread with its own runtime per core.

use std::{
    cell::Cell,
    convert::Infallible,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    runtime::{Builder, LocalOptions},
    task::JoinSet,
    time::timeout,
};

use super::{
    Settings, Shared,
    listen::{self, Acceptor, StartError},
    worker::Worker,
};
use crate::{limit::Connections, tls::Server, util::drain::Drain};

/// A running data plane.
#[derive(Debug)]
pub struct Running {
    /// Addresses of the HTTP listeners.
    pub http: Vec<SocketAddr>,
    /// Addresses of the HTTPS listeners.
    pub https: Vec<SocketAddr>,
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

/// Binds every listener and starts a thread per core.
pub fn start(
    settings: Settings,
    shared: Arc<Shared>,
    tls: Option<Arc<Server>>,
    drain: Drain,
) -> Result<Running, StartError> {
    let cores = cores(settings.workers);
    let mut http = Vec::new();
    let mut https = Vec::new();
    let mut per_core: Vec<Vec<_>> = (0..cores).map(|_| Vec::new()).collect();

    let addresses = settings
        .http
        .iter()
        .map(|addr| (*addr, false))
        .chain(settings.https.iter().map(|addr| (*addr, true)));
    for (addr, secure) in addresses {
        let (bound, sockets) = listen::bind(addr, cores, &settings)?;
        if secure { &mut https } else { &mut http }.push(bound);
        let tls = tls.clone().filter(|_| secure);
        for (core, socket) in per_core.iter_mut().zip(sockets) {
            core.push((socket, tls.clone()));
        }
    }

    // From here on the settings have the ports that the system chose.
    let settings = Arc::new(Settings {
        http: http.clone(),
        https: https.clone(),
        ..settings
    });

    let connections = Connections::new(
        settings.max_connections,
        settings.max_connections_per_client,
    );

    let mut threads = Vec::new();
    // Nothing is sent: the channel closes when the last thread has ended.
    let (running, over) = mpsc::sync_channel(0);
    for (index, listeners) in per_core.into_iter().enumerate() {
        let (settings, shared) = (settings.clone(), shared.clone());
        let (connections, drain) = (connections.clone(), drain.clone());
        let running = running.clone();

        let (built, outcome) = mpsc::sync_channel::<io::Result<()>>(1);
        // A local runtime, built on its thread, saves the scheduler of a `LocalSet`.
        let core = move || {
            let _running = running;
            let runtime = match Builder::new_current_thread()
                .enable_all()
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
                    open: Rc::new(Cell::new(0)),
                    drain,
                };
                run(listeners, acceptor).await;
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
        http,
        https,
        threads,
        over,
    })
}

/// Runs one core until it has drained.
async fn run(listeners: Vec<(std::net::TcpListener, Option<Arc<Server>>)>, acceptor: Acceptor) {
    let mut loops = JoinSet::new();
    for (listener, tls) in listeners {
        loops.spawn_local(listen::accept(listener, tls, acceptor.clone()));
    }

    let mut drain = acceptor.drain.clone();
    let grace = drain.draining().await;

    let empty = async {
        while loops.join_next().await.is_some() {}
        while acceptor.open.get() + acceptor.worker.tunnels.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };

    tokio::select! {
        _all = timeout(grace, empty) => {}
        () = drain.stopped() => {}
    }
}
