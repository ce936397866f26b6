//! Opens the state directory: the store, and the local CA in it.

use std::sync::Arc;

use super::{error::RunError, listeners::API_IDENTITY};
use crate::{
    acme,
    app::{control::cache, files},
    cluster,
    config::Config,
    store::{self, Area, Areas, Batch, Health, SealKeys, Store},
    tls::LocalCa,
};

/// Keys of the local CA in the store.
const CA_CERTIFICATE: &str = "ca/certificate";
const CA_KEY: &str = "ca/key";

/// The areas of all modules that use the store.
pub(crate) const AREAS: Areas = Areas::new(&[
    acme::plan::record::AREAS,
    cluster::AREAS,
    cache::AREAS,
    &[sealed(CA_KEY), sealed(API_IDENTITY)],
]);

const fn sealed(prefix: &'static str) -> Area {
    Area {
        prefix,
        sealed: true,
        ..Area::PLAIN
    }
}

/// The opened state.
pub(super) struct State {
    pub(super) store: Arc<dyn Store>,
    /// The condition of the store, for `status`.
    pub(super) health: String,
    pub(super) local_ca: Arc<LocalCa>,
}

impl State {
    /// Opens the store, recovers it if it is damaged, and loads or generates the local CA.
    pub(super) fn open(config: &Config) -> Result<Self, RunError> {
        if files::restore_mark_path(&config.state).exists() {
            return Err(RunError::HalfRestored(config.state.clone()));
        }
        let keys = SealKeys::read(&config.store)?;
        let (store, health) = store::open_sealed(&config.state, AREAS, keys)?;
        let health = report(&health);
        let local_ca = load_ca(&*store, config)?;

        let root = files::root_path(&config.state);
        if let Err(error) = files::write(&root, local_ca.root_pem(), 0o644) {
            tracing::warn!(%error, "the local CA's root was not written");
        }
        Ok(Self {
            store,
            health,
            local_ca: Arc::new(local_ca),
        })
    }
}

fn load_ca(store: &dyn Store, config: &Config) -> Result<LocalCa, RunError> {
    const PART: &str = "the local CA";
    let read = |key| store.get(key).map_err(RunError::start(PART));
    if let (Some(certificate), Some(key)) = (read(CA_CERTIFICATE)?, read(CA_KEY)?) {
        let pem = |bytes| String::from_utf8(bytes).map_err(RunError::start(PART));
        let ca = LocalCa::from_pem(&pem(certificate)?, &pem(key)?);
        return ca.map_err(RunError::start(PART));
    }

    let name = format!("gatelet local CA of {}", config.node);
    let ca = LocalCa::generate(&name).map_err(RunError::start(PART))?;
    let batch = Batch::new()
        .put(CA_CERTIFICATE, ca.root_pem())
        .put(CA_KEY, ca.key_pem());
    store.commit(batch).map_err(RunError::start(PART))?;
    Ok(ca)
}

/// Logs what was recovered, and returns it for `status`.
fn report(health: &Health) -> String {
    match health {
        Health::Good => "good".to_owned(),
        Health::Repaired { records } => {
            tracing::warn!(
                records,
                "the store lacked records that its mirror had; they were restored"
            );

            format!("repaired: {records} records were restored from the mirror")
        }
        Health::Rebuilt { aside, records } => {
            tracing::error!(
                aside = %aside.display(),
                records,
                "the store was damaged: set aside, and rebuilt from its mirror"
            );

            format!(
                "rebuilt: {records} records were restored, the damaged store is at {}",
                aside.display()
            )
        }
        Health::MemoryOnly { why, records } => {
            tracing::error!(
                why,
                records,
                "the state cannot be stored: changes are lost at a restart"
            );

            format!("in memory only, with {records} records from before: {why}")
        }
    }
}
