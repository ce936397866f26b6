//! The socket of a running process from which `gatelet backup` receives the state.

use std::{
    io,
    io::{Read, Write},
    os::unix::net::UnixStream as Stream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::timeout,
};

use super::format::Backup;
use crate::{app::state_socket, store::Store};

/// The request.
const REQUEST: &[u8] = b"backup\n";

/// The beginning of a response that is not a backup.
const ERROR: &[u8] = b"error: ";

/// The time limit of an exchange.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The largest backup in bytes that a client takes.
const MAX_BACKUP: u64 = 1 << 30;

/// Returns the path of the socket.
pub(super) fn path(state: &Path) -> PathBuf {
    state.join("backup.sock")
}

/// Listens on the socket. The caller has locked the state directory.
pub(crate) fn listen(state: &Path) -> io::Result<UnixListener> {
    state_socket::listen(&path(state))
}

/// Sends the state to each client, one after the other.
pub(crate) async fn serve(listener: UnixListener, store: Arc<dyn Store>, node: String) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _unnamed)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection for a backup");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        match timeout(TIMEOUT, respond(stream, &store, &node)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a backup was not sent"),
            Err(_slow) => tracing::warn!("a backup was not sent: its client is too slow"),
        }
    }
}

async fn respond(mut stream: UnixStream, store: &Arc<dyn Store>, node: &str) -> io::Result<()> {
    state_socket::check_peer(&stream)?;
    let mut request = [0; REQUEST.len()];
    stream.read_exact(&mut request).await?;
    if request != REQUEST {
        let text = [ERROR, b"this gatelet knows no such request\n"].concat();
        return stream.write_all(&text).await;
    }

    let (store, node) = (store.clone(), node.to_owned());
    let encoded = tokio::task::spawn_blocking(move || {
        let records = store.snapshot()?;
        Ok::<_, crate::store::StoreError>(Backup::new(&node, records).encode())
    });
    let bytes = match encoded.await.map_err(io::Error::other)? {
        Ok(bytes) => bytes,
        Err(error) => [ERROR, format!("{error}\n").as_bytes()].concat(),
    };
    stream.write_all(&bytes).await?;
    stream.shutdown().await?;
    tracing::info!(bytes = bytes.len(), "a backup was sent");
    Ok(())
}

/// The reason why a process sends no backup.
pub(super) enum FetchError {
    /// No process listens.
    NoProcess(io::Error),
    /// The process refuses, or breaks off.
    Refused(String),
}

/// Receives a backup from the process that listens on a socket.
pub(super) fn fetch(path: &Path) -> Result<Vec<u8>, FetchError> {
    let mut stream = Stream::connect(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => FetchError::NoProcess(error),
        _ => FetchError::Refused(error.to_string()),
    })?;
    let refused = |error: io::Error| FetchError::Refused(error.to_string());
    stream.set_read_timeout(Some(TIMEOUT)).map_err(refused)?;
    stream.write_all(REQUEST).map_err(refused)?;

    let mut bytes = Vec::new();
    let read = stream.take(MAX_BACKUP).read_to_end(&mut bytes);
    read.map_err(refused)?;
    match bytes.strip_prefix(ERROR) {
        None => Ok(bytes),
        Some(why) => {
            let why = String::from_utf8_lossy(why);
            Err(FetchError::Refused(why.trim().to_owned()))
        }
    }
}
