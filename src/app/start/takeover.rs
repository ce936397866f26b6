//! Gives the place of this process to another one, so that an upgrade loses no request: the running
//! one gives up the state and serves on with its last routes; once the other one serves, it drains.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    time::timeout,
};

use super::shutdown::Signals;
use crate::{app::state_socket, proxy::Listeners, store::Store};

/// The request of the process that takes over.
const TAKE: &[u8; 7] = b"take 1\n";
/// The response once the state is free.
const FREE: &[u8; 5] = b"free\n";
/// The message that it serves.
const SERVES: &[u8; 7] = b"serves\n";

/// The time for a message that is due at once.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The time within which the running process gives up the state.
const RELEASE: Duration = Duration::from_secs(60);
/// The time for which routes may be missing, such as while the API server of a cluster is away.
const ROUTES: Duration = Duration::from_secs(15);
/// The time for tasks that have ended to let go of the store.
const LET_GO: Duration = Duration::from_secs(5);

fn path(state: &Path) -> PathBuf {
    state.join("takeover.sock")
}

// === The process that takes over ===

/// A process that gives its place to this one.
#[derive(Debug)]
pub(super) struct Predecessor(UnixStream);

/// Asks the process with a state directory to give up the state, and waits for that. `None` if
/// there is none.
///
/// # Errors
/// It refuses, or does not respond.
pub(super) async fn ask(state: &Path) -> io::Result<Option<Predecessor>> {
    let mut stream = match UnixStream::connect(path(state)).await {
        Ok(stream) => stream,
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => return Ok(None),
            _ => return Err(error),
        },
    };
    stream.write_all(TAKE).await?;

    let mut response = [0; FREE.len()];
    let read = timeout(RELEASE, stream.read_exact(&mut response)).await;
    let late = || io::Error::other("the running process does not give up the state");
    match read.map_err(|_slow| late())? {
        Ok(_all) if response == *FREE => Ok(Some(Predecessor(stream))),
        Ok(_all) => Err(io::Error::other("the running process knows no takeover")),
        // It has ended, and the state is free.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

impl Predecessor {
    /// Tells it to drain once this process serves what it has served.
    pub(super) async fn end(mut self, listeners: &Listeners) {
        if timeout(ROUTES, listeners.listen()).await.is_err() {
            tracing::warn!("the routes are not known yet: the process before this one ends");
        }
        if let Err(error) = self.0.write_all(SERVES).await {
            tracing::warn!(%error, "the process before this one has ended by itself");
        }
        listeners.are_alone();
    }
}

// === The process that gives its place ===

/// The socket on which others ask for the place of this process.
#[derive(Debug)]
pub(super) struct Place(Option<UnixListener>);

/// A process that asks for the place of this one.
#[derive(Debug)]
pub(super) struct Successor(UnixStream);

impl Place {
    /// Listens on the socket. If that fails, no process can take over.
    pub(super) fn listen(state: &Path) -> Self {
        let listener = state_socket::listen(&path(state));
        if let Err(error) = &listener {
            tracing::warn!(%error, "`gatelet run --takeover` cannot take over from this process");
        }
        Self(listener.ok())
    }

    /// Waits for the next process that asks.
    pub(super) async fn asked(&self) -> Successor {
        loop {
            let Some(listener) = &self.0 else {
                return std::future::pending().await;
            };
            match listener.accept().await {
                Ok((stream, _unnamed)) => match timeout(TIMEOUT, request(stream)).await {
                    Ok(Ok(successor)) => return successor,
                    Ok(Err(error)) => tracing::warn!(%error, "a takeover was refused"),
                    Err(_slow) => tracing::warn!("a takeover was refused: it is too slow"),
                },
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection for a takeover");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }
}

/// Receives a request.
async fn request(mut stream: UnixStream) -> io::Result<Successor> {
    state_socket::check_peer(&stream)?;
    let mut request = [0; TAKE.len()];
    stream.read_exact(&mut request).await?;
    if request != *TAKE {
        return Err(io::Error::other("this gatelet knows no such request"));
    }
    Ok(Successor(stream))
}

/// Tells the process that takes over that the state is free, and waits until it serves. If it ends
/// before, waits for another one. Returns at a signal too.
pub(super) async fn wait(place: &Place, mut successor: Successor, signals: &mut Signals) {
    loop {
        let serves = tokio::select! {
            serves = successor.serves() => serves,
            () = signals.first() => return,
        };
        if serves {
            return;
        }

        tracing::error!(
            "the process that takes over has ended before it served: this one serves on with its \
             last routes, until another one takes over or a signal ends it"
        );
        successor = tokio::select! {
            next = place.asked() => next,
            () = signals.first() => return,
        };
    }
}

impl Successor {
    /// Tells it that the state is free, and waits until it serves. False if it ends before.
    async fn serves(&mut self) -> bool {
        let mut message = [0; SERVES.len()];
        self.0.write_all(FREE).await.is_ok()
            && self.0.read_exact(&mut message).await.is_ok()
            && message == *SERVES
    }
}

/// Closes the store, which unlocks the state directory. False if something still uses it.
pub(super) async fn close(store: Arc<dyn Store>) -> bool {
    let let_go = async {
        while Arc::strong_count(&store) > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(LET_GO, let_go).await.is_err() {
        return false;
    }
    // It syncs its files.
    tokio::task::spawn_blocking(move || drop(store))
        .await
        .is_ok()
}
