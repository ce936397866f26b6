//! `gatelet backup` and `gatelet restore`.

use std::path::PathBuf;

use super::{Failure, StateFlags, failed, usage};
use crate::{
    app,
    config::{Config, Flags},
};

pub(super) const BACKUP_EXAMPLES: &str = "Examples:
  sudo gatelet backup /root/gatelet.backup
  sudo gatelet backup - | age -r age1... > gatelet.backup.age

The file holds every object, certificate and private key: keep it as you keep a key.";

pub(super) const RESTORE_EXAMPLES: &str = "Examples:
  sudo gatelet restore /root/gatelet.backup
  age -d -i key.txt gatelet.backup.age | sudo gatelet restore -
  gatelet restore gatelet.backup --objects | kubectl apply -f -";

#[derive(Debug, clap::Args)]
pub(super) struct BackupArguments {
    /// File to create, with mode 0600, or - for standard output
    file: PathBuf,
    #[command(flatten)]
    state: StateFlags,
}

#[derive(Debug, clap::Args)]
pub(super) struct RestoreArguments {
    /// Backup to restore, or - for standard input
    file: PathBuf,
    /// Print the objects as manifests for any cluster, and restore nothing
    #[arg(long)]
    objects: bool,
    #[command(flatten)]
    state: StateFlags,
}

fn load(flags: StateFlags) -> Result<Config, Failure> {
    let flags = Flags {
        config: flags.config,
        state: flags.state,
        ..Flags::default()
    };
    Config::load(&flags).map_err(usage)
}

/// Runs `gatelet backup`.
pub(super) fn backup(arguments: BackupArguments) -> Result<(), Failure> {
    let config = load(arguments.state)?;
    let records = app::backup(&config, &arguments.file).map_err(failed)?;
    // Standard output may be the backup.
    eprintln!("{}: {records} records", arguments.file.display());
    Ok(())
}

/// Runs `gatelet restore`.
pub(super) fn restore(arguments: RestoreArguments) -> Result<(), Failure> {
    if arguments.objects {
        let list = app::objects_of_backup(&arguments.file).map_err(failed)?;
        println!("{}", serde_json::to_string_pretty(&list).map_err(failed)?);
        return Ok(());
    }

    let config = load(arguments.state)?;
    let records = app::restore(&config, &arguments.file).map_err(failed)?;
    println!("{}: {records} records", config.state.display());
    Ok(())
}
