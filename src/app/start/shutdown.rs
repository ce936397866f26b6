//! The end of the process: signals, the grace time, and an end that comes even where something
//! hangs.

use std::{
    io, process,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

use crate::{proxy, telemetry, util::drain};

/// How much longer than the grace time the data plane may take before it is left behind.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// How much longer than the grace time the whole end may take.
pub(super) const STOP_MARGIN: Duration = Duration::from_secs(10);

/// How long the process may take to end after a second signal.
const AT_ONCE: Duration = Duration::from_secs(2);

/// SIGTERM and SIGINT as they come.
///
/// A thread of its own hears them, so that a second signal ends the process whatever the other
/// threads do.
#[derive(Debug)]
pub(super) struct Signals {
    /// How many have come.
    count: watch::Receiver<u32>,
}

impl Signals {
    /// Listens from now on. The second signal stops `drain`, and the process soon after.
    pub(super) fn listen(drain: Arc<drain::Signal>) -> io::Result<Self> {
        let (heard, count) = watch::channel(0);
        let runtime = Builder::new_current_thread().enable_io().build()?;
        // Registered before anything else starts: a signal from now on is heard.
        let sources = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            )
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || hear(&runtime, sources, &heard, &drain))?;
        Ok(Self { count })
    }

    /// Waits for the first signal.
    pub(super) async fn first(&mut self) {
        self.wait_for(1).await;
    }

    /// Waits for the second signal.
    pub(super) async fn second(&mut self) {
        self.wait_for(2).await;
    }

    async fn wait_for(&mut self, count: u32) {
        if self.count.wait_for(|heard| *heard >= count).await.is_err() {
            // Nobody listens any more: no signal will come.
            std::future::pending::<()>().await;
        }
    }
}

fn hear(
    runtime: &Runtime,
    (mut terminate, mut interrupt): (Signal, Signal),
    heard: &watch::Sender<u32>,
    drain: &drain::Signal,
) {
    for count in 1..=2 {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        heard.send_replace(count);
    }

    tracing::info!("second signal: ending at once");
    drain.stop();
    thread::sleep(AT_ONCE);
    tracing::error!("the process does not end by itself: something in it hangs");
    telemetry::flush();
    process::exit(1);
}

/// Drains: no new connections, and requests in flight may finish within the grace time. Returns
/// when the data plane is over, when it has used up its time, or at the second signal.
pub(super) async fn drain(
    signals: &mut Signals,
    drain: &drain::Signal,
    grace: Duration,
    data_plane: proxy::Running,
) {
    tracing::info!(
        ?grace,
        "draining: no new connections, requests in flight may finish"
    );
    // A grace time beyond the unit's own limit: it would be killed with requests in flight.
    let patience = grace.saturating_add(STOP_MARGIN);
    let extend = u32::try_from(patience.as_micros()).unwrap_or(u32::MAX);
    let extend = sd_notify::NotifyState::ExtendTimeoutUsec(extend);
    // Outside systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping, extend]);
    insist(patience);

    drain.drain(grace);
    let patience = grace.saturating_add(DRAIN_MARGIN);
    let drained = tokio::task::spawn_blocking(move || data_plane.join(patience));
    tokio::select! {
        drained = drained => {
            if let Ok(false) = drained {
                tracing::error!("a core of the data plane does not end: it is left behind");
            }
        }
        () = signals.second() => {}
    }
    drain.stop();
}

/// Ends the process after `patience` if it has not ended by then.
fn insist(patience: Duration) {
    // No deadline that far is ever reached.
    let Some(_end) = Instant::now().checked_add(patience) else {
        return;
    };
    let insist = move || {
        thread::sleep(patience);
        tracing::error!("the process has not ended within its grace time: something in it hangs");
        telemetry::flush();
        process::exit(1);
    };
    if let Err(error) = thread::Builder::new().name("stop".to_owned()).spawn(insist) {
        tracing::warn!(%error, "nothing ends this process if it hangs");
    }
}
