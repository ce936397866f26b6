//! Ends the process: signals, the drain within the grace time, and a forced end if something hangs.

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

/// Time beyond the grace time after which the data plane is abandoned.
const DRAIN_MARGIN: Duration = Duration::from_secs(1);

/// Time beyond the grace time after which the process is forced to end.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Time after a second signal after which the process is forced to end.
const SECOND_SIGNAL_LIMIT: Duration = Duration::from_secs(2);

/// Receives SIGTERM and SIGINT.
///
/// It has a thread of its own, so that a second signal ends the process whatever the other threads
/// do.
#[derive(Debug)]
pub(super) struct Signals {
    /// Number of signals so far.
    count: watch::Receiver<u32>,
}

impl Signals {
    /// Handles signals from now on. The second one stops `drain`, and soon after the process.
    pub(super) fn listen(drain: Arc<drain::Signal>) -> io::Result<Self> {
        let (sender, count) = watch::channel(0);
        let runtime = Builder::new_current_thread().enable_io().build()?;
        // Registered here, so that no signal from now on is missed.
        let sources = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
            )
        };
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || handle_signals(&runtime, sources, &sender, &drain))?;
        Ok(Self { count })
    }

    /// Waits for the first signal.
    pub(super) async fn first(&mut self) {
        self.wait_for(1).await;
    }

    /// Waits for the second signal.
    async fn second(&mut self) {
        self.wait_for(2).await;
    }

    async fn wait_for(&mut self, count: u32) {
        if self.count.wait_for(|seen| *seen >= count).await.is_err() {
            // The thread has ended, and no signal will come.
            std::future::pending::<()>().await;
        }
    }
}

/// Counts two signals, and then forces the process to end.
#[allow(
    clippy::disallowed_methods,
    reason = "the thread is its own; it works even if no runtime does"
)]
fn handle_signals(
    runtime: &Runtime,
    (mut terminate, mut interrupt): (Signal, Signal),
    sender: &watch::Sender<u32>,
    drain: &drain::Signal,
) {
    for count in 1..=2 {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        sender.send_replace(count);
    }

    tracing::info!("second signal: ending at once");
    drain.stop();
    thread::sleep(SECOND_SIGNAL_LIMIT);
    tracing::error!("the process does not end by itself: something in it hangs");
    telemetry::flush();
    process::exit(1);
}

/// Drains: accepts no new connections, and lets requests in flight finish within the grace time.
/// Returns when the data plane has ended, when its time is up, or at the second signal.
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

    // Without this, systemd kills the process with requests in flight if the grace time is longer
    // than the limit of the unit.
    let limit = grace.saturating_add(STOP_MARGIN);
    let extension = u32::try_from(limit.as_micros()).unwrap_or(u32::MAX);
    let extension = sd_notify::NotifyState::ExtendTimeoutUsec(extension);
    // It fails if systemd has not started the process.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping, extension]);
    force_end_after(limit);

    drain.drain(grace);
    let limit = grace.saturating_add(DRAIN_MARGIN);
    let drained = tokio::task::spawn_blocking(move || data_plane.join(limit));
    tokio::select! {
        drained = drained => {
            if let Ok(false) = drained {
                tracing::error!("a core of the data plane does not end: it is abandoned");
            }
        }
        () = signals.second() => {}
    }

    drain.stop();
}

/// Ends the process after `limit` if it still runs then.
fn force_end_after(limit: Duration) {
    // A deadline beyond the range of the clock is never reached.
    let Some(_deadline) = Instant::now().checked_add(limit) else {
        return;
    };
    #[allow(
        clippy::disallowed_methods,
        reason = "the thread is its own; it works even if no runtime does"
    )]
    let force = move || {
        thread::sleep(limit);
        tracing::error!("the process has not ended within its grace time: something in it hangs");
        telemetry::flush();
        process::exit(1);
    };
    if let Err(error) = thread::Builder::new().name("stop".to_owned()).spawn(force) {
        tracing::warn!(%error, "the process is not forced to end if it hangs");
    }
}
