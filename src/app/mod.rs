//! Composition root: builds everything from `Config`, joins channels, supervises named tasks,
//! drains.

mod backup;
mod certificates;
mod commands;
mod control;
mod files;
mod inspect;
mod memory;
mod metrics;
mod settings;
pub(crate) mod start;
mod state_socket;
mod tasks;
mod write_queue;

pub use backup::{
    BackupError, DecryptError, DecryptionKeys, EncryptionKeys, KeyError, RestoreError, backup,
    objects_of_backup, restore,
};
pub use certificates::{IssuersError, check_issuers};
pub use commands::{
    CheckFinding, CheckReason, CheckReport, Device, Entrance, ExposeError, ExposeTls, Exposure,
    KindReport, NewUser, NewUserError, ObjectAnnotations, Outcome, ReadError, Written, check,
    device, expose, new_user,
};
pub use files::{kubeconfig_path, root_path};
pub use settings::check_spool;
pub use start::{RunError, run};
pub use tasks::TaskError;
