//! The client of a cluster. Its credentials are read again when they are no longer accepted: a
//! certificate that ran out and a kubeconfig that was replaced need no restart.

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

/// Between two readings of credentials that are not accepted: a kubeconfig may name a program that
/// gets them.
const SOONEST: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_secs(60);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConnectError(String);

/// A client whose credentials are those that are there now.
#[derive(Clone)]
pub struct Client(Arc<Shared>);

struct Shared {
    kubeconfig: Option<PathBuf>,
    current: ArcSwap<kube::Client>,
    renewal: Mutex<Renewal>,
}

struct Renewal {
    backoff: Backoff,
    /// Not to be read again before this.
    next: Instant,
    /// What was read last was not accepted yet.
    untried: bool,
}

/// A client of the cluster that the kubeconfig is for, or of the one that this process runs in.
/// Nothing is sent yet: the cluster may be away.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<Client, ConnectError> {
    let current = ArcSwap::from_pointee(read(kubeconfig).await?);
    let renewal = Renewal {
        backoff: Backoff::new(SOONEST, LATEST),
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
    /// The namespace that the credentials name, else `default`.
    pub(super) fn default_namespace(&self) -> String {
        self.0.current.load().default_namespace().to_owned()
    }

    /// Sends a request; once more, if it is refused for its credentials and there may be others by
    /// now.
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
                tracing::info!("the credentials were read again, and are accepted");
            }
        }
        Ok(response)
    }

    /// Whether there are others now than those that were used.
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
            // Maybe half written.
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
            let wrong = |error: &dyn std::fmt::Display| {
                ConnectError(format!("{}: {error}", path.display()))
            };
            let file = Kubeconfig::read_from(path).map_err(|error| wrong(&error))?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(file, &options)
                .await
                .map_err(|error| wrong(&error))?
        }
        None => Config::incluster()
            .map_err(|error| ConnectError(format!("no cluster around this process: {error}")))?,
    };
    // It may run a program and wait for it.
    let made = tokio::task::spawn_blocking(move || kube::Client::try_from(config)).await;
    made.map_err(|error| ConnectError(error.to_string()))?
        .map_err(|error| ConnectError(error.to_string()))
}
