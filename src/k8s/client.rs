//! The client of a cluster. It reads its credentials again when they are no longer accepted, so
//! that an expired certificate or a replaced kubeconfig needs no restart.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{Request, Response, StatusCode};
use kube::{
    Config,
    client::Body,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{sync::Mutex, time::Instant};

use crate::util::{backoff::Backoff, stamp};

/// The shortest and the longest wait between two readings of credentials that are not accepted. A
/// kubeconfig may name a program that fetches them.
const RENEW: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// The reason why no client could be made.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(String);

/// A client that keeps its credentials up to date. Clones share them.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    kubeconfig: Option<PathBuf>,
    current: ArcSwap<kube::Client>,
    renewal: Mutex<Renewal>,
}

struct Renewal {
    backoff: Backoff,
    /// The earliest time of the next reading.
    next: Instant,
    /// True until the credentials that were read last are accepted.
    untried: bool,
}

/// Makes a client of the cluster that the kubeconfig names, or of the one that this process runs
/// in. Sends nothing yet: the cluster may be unreachable.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let current = ArcSwap::from_pointee(read(kubeconfig).await?);
    let renewal = Renewal {
        backoff: Backoff::new(RENEW.0, RENEW.1),
        next: Instant::now(),
        untried: false,
    };
    Ok(Client(Arc::new(Shared {
        kubeconfig: kubeconfig.map(Path::to_owned),
        current,
        renewal: Mutex::new(renewal),
    })))
}

impl Client {
    /// Returns the namespace that the credentials name, else `default`.
    pub(super) fn default_namespace(&self) -> String {
        self.0.current.load().default_namespace().to_owned()
    }

    /// Sends a request, and a second time with newer credentials if the first response is 401.
    pub(super) async fn send(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Body>, kube::Error> {
        let used = self.0.current.load_full();
        let response = used.send(request.clone().map(Body::from)).await?;
        if response.status() != StatusCode::UNAUTHORIZED || !self.renew(&used).await {
            return Ok(response);
        }

        let response = self
            .0
            .current
            .load_full()
            .send(request.map(Body::from))
            .await?;

        if response.status() != StatusCode::UNAUTHORIZED {
            let mut renewal = self.0.renewal.lock().await;
            if std::mem::take(&mut renewal.untried) {
                renewal.backoff.succeeded();
                tracing::info!("the credentials were read again and are accepted");
            }
        }
        Ok(response)
    }

    /// Reads the credentials again, unless that was done since `used` was taken. Returns whether
    /// `used` is outdated.
    async fn renew(&self, used: &Arc<kube::Client>) -> bool {
        let mut renewal = self.0.renewal.lock().await;
        if !Arc::ptr_eq(used, &self.0.current.load()) {
            return true;
        }
        if Instant::now() < renewal.next {
            return false;
        }

        let read = read(self.0.kubeconfig.as_deref()).await;
        renewal.next = Instant::now() + renewal.backoff.failed(u64::from_le_bytes(stamp::random()));

        match read {
            Ok(client) => {
                self.0.current.store(Arc::new(client));
                renewal.untried = true;
                true
            }
            // The file may be half written: keep the client.
            Err(error) => {
                tracing::warn!(%error, "the credentials cannot be read again");
                false
            }
        }
    }
}

async fn read(kubeconfig: Option<&Path>) -> Result<kube::Client, ConnectError> {
    let config = match kubeconfig {
        Some(path) => {
            let invalid = |error: &dyn std::fmt::Display| {
                ConnectError(format!("{}: {error}", path.display()))
            };

            let file = Kubeconfig::read_from(path).map_err(|error| invalid(&error))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options)
                .await
                .map_err(|error| invalid(&error))?
        }
        None => Config::incluster().map_err(|error| {
            ConnectError(format!("this process does not run in a cluster: {error}"))
        })?,
    };

    // This may run a program of the kubeconfig and wait for it.
    let made = tokio::task::spawn_blocking(move || kube::Client::try_from(config)).await;
    made.map_err(|error| ConnectError(error.to_string()))?
        .map_err(|error| ConnectError(error.to_string()))
}
