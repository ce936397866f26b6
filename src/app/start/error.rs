//! The reasons why the process cannot run, or has ended.

use std::{fmt::Display, io, net::SocketAddr, path::PathBuf};

use crate::{app::tasks::TaskError, proxy::StartError, store, util::port};

/// The reason why the process cannot run, or has ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] store::OpenError),
    /// The key that seals private keys cannot be read.
    #[error(transparent)]
    Seal(#[from] store::SealError),
    /// A restore of a backup was interrupted.
    #[error(
        "the state directory {} is not complete, because a restore was interrupted: run `gatelet \
         restore` again; nothing was changed",
        .0.display()
    )]
    HalfRestored(PathBuf),
    /// The data plane cannot listen.
    #[error(transparent)]
    Proxy(#[from] StartError),
    /// The API cannot listen.
    #[error("{}", cannot_listen(*.addr, .source, "--api"))]
    Api {
        /// The address.
        addr: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// The admin server cannot listen.
    #[error("{}", cannot_listen(*.addr, .source, "--admin"))]
    Admin {
        /// The address.
        addr: SocketAddr,
        /// The error of the system.
        source: io::Error,
    },
    /// A part without an error of its own cannot start.
    #[error("{part}: {error}")]
    Start {
        /// The part.
        part: &'static str,
        /// Text of its error.
        error: String,
    },
    /// A part that must run has ended.
    #[error(transparent)]
    Ended(#[from] TaskError),
}

impl RunError {
    /// Returns a function that converts the error of a part that cannot start.
    pub(super) fn start<E: Display>(part: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Start {
            part,
            error: error.to_string(),
        }
    }
}

fn cannot_listen(addr: SocketAddr, error: &io::Error, flag: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let choose = format!("another address with {flag}");
            format!("cannot listen on {addr}: {}", port::taken(addr, &choose))
        }
        _ => format!("cannot listen on {addr}: {error}; choose another address with {flag}"),
    }
}
