//! Log lines pass a bounded queue to a thread that writes them: a terminal or journal that blocks
//! must not delay a request. Lines beyond the queue are counted and lost.

use std::{
    io::{self, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

/// Capacity of the queue, in lines.
const QUEUE: usize = 4096;
/// Timeout of [`flush`] for each of its two waits.
const LAST: Duration = Duration::from_secs(1);

static QUEUED: OnceLock<SyncSender<Item>> = OnceLock::new();

enum Item {
    Line(Box<[u8]>),
    /// Signals the sender once all items before it are written.
    Flush(SyncSender<()>),
}

/// A writer that puts lines into the queue.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Item")
    }
}

impl Lines {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, waiting) = mpsc::sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(out, &waiting, &counted))?;
        let _first_wins = QUEUED.set(queue.clone());
        Ok(Self { queue, lost })
    }
}

/// Waits until the lines logged so far are written, for two seconds at most. The process calls it
/// before it ends.
pub fn flush() {
    let Some(queue) = QUEUED.get() else { return };
    let began = Instant::now();
    let (done, written) = mpsc::sync_channel(1);
    while queue.try_send(Item::Flush(done.clone())).is_err() {
        if began.elapsed() >= LAST {
            return;
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "the process ends, and a full queue gives no event"
        )]
        thread::sleep(Duration::from_millis(2));
    }
    let _ = written.recv_timeout(LAST);
}

fn write(mut out: impl Write, waiting: &Receiver<Item>, lost: &AtomicU64) {
    while let Ok(item) = waiting.recv() {
        // No place is left to report that logging fails.
        match item {
            Item::Line(line) => {
                let _ = out.write_all(&line);
            }
            Item::Flush(done) => {
                let _ = out.flush();
                let _ = done.send(());
            }
        }

        let missing = lost.swap(0, Relaxed);
        if missing > 0 {
            let _ = writeln!(
                out,
                "{missing} log lines were lost: they came faster than they could be written"
            );
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Item::Line(line.into())).is_err() {
            self.lost.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A writer that blocks while the test holds its lock.
    #[derive(Clone, Default)]
    struct Gate(Arc<Mutex<Vec<u8>>>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("gate").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_blocked_writer_loses_lines_and_delays_no_caller() {
        let gate = Gate::default();
        let mut lines = Lines::start(gate.clone()).expect("a thread");

        let closed = gate.0.lock().expect("gate");
        for _ in 0..QUEUE * 2 {
            lines.write_all(b"line\n").expect("never fails");
        }
        drop(closed);
        flush();

        let text = String::from_utf8(gate.0.lock().expect("gate").clone()).expect("text");
        let written = text.lines().filter(|line| *line == "line").count();
        assert!((QUEUE..QUEUE + 2).contains(&written), "{written}");
        assert!(
            text.contains(&format!("{} log lines were lost", QUEUE * 2 - written)),
            "{}",
            text.len()
        );
    }
}
