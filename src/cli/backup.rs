//! `gatelet backup` and `gatelet restore`.

use std::path::PathBuf;

use super::{Failure, StateFlags, failed, usage};
use crate::{
    app::{self, DecryptionKeys, EncryptionKeys},
    config::{Config, Flags},
};

pub(super) const BACKUP_EXAMPLES: &str = "Examples:
  sudo gatelet backup /root/gatelet.backup
  sudo gatelet backup - | age -r age1... > gatelet.backup.age
  sudo gatelet backup -r age1... gatelet.backup.age      (in builds with the feature `age`)

The file holds every object, certificate and private key: keep it as you keep a key.";

pub(super) const RESTORE_EXAMPLES: &str = "Examples:
  sudo gatelet restore /root/gatelet.backup
  age -d -i key.txt gatelet.backup.age | sudo gatelet restore -
  sudo gatelet restore -i key.txt gatelet.backup.age     (in builds with the feature `age`)
  gatelet restore gatelet.backup --objects | kubectl apply -f -";

#[derive(Debug, clap::Args)]
pub(super) struct BackupArguments {
    /// File to create, with mode 0600, or - for standard output
    file: PathBuf,
    #[command(flatten)]
    state: StateFlags,
    #[command(flatten)]
    encryption: EncryptionFlags,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Encryption, in builds with the feature `age`")]
struct EncryptionFlags {
    /// Encrypt for a recipient of age, age1...; can be repeated
    #[arg(short, long, value_name = "RECIPIENT")]
    recipient: Vec<String>,
    /// Encrypt for the recipients in a file, one in each line; can be repeated
    #[arg(short = 'R', long, value_name = "FILE")]
    recipients_file: Vec<PathBuf>,
    /// Encrypt with the passphrase in a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["recipient", "recipients_file"])]
    passphrase_file: Option<PathBuf>,
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
    #[command(flatten)]
    decryption: DecryptionFlags,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Decryption, in builds with the feature `age`")]
struct DecryptionFlags {
    /// Decrypt with the identities of age in a file; can be repeated
    #[arg(short, long, value_name = "FILE")]
    identity: Vec<PathBuf>,
    /// Decrypt with the passphrase in a file
    #[arg(long, value_name = "FILE", conflicts_with = "identity")]
    passphrase_file: Option<PathBuf>,
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
    let keys = EncryptionKeys {
        recipients: arguments.encryption.recipient,
        recipients_files: arguments.encryption.recipients_file,
        passphrase_file: arguments.encryption.passphrase_file,
    };
    let records = app::backup(&config, &arguments.file, &keys).map_err(failed)?;
    // Standard output may be the backup.
    eprintln!("{}: {records} records", arguments.file.display());
    Ok(())
}

/// Runs `gatelet restore`.
pub(super) fn restore(arguments: RestoreArguments) -> Result<(), Failure> {
    let keys = DecryptionKeys {
        identity_files: arguments.decryption.identity,
        passphrase_file: arguments.decryption.passphrase_file,
    };
    if arguments.objects {
        let list = app::objects_of_backup(&arguments.file, &keys).map_err(failed)?;
        println!("{}", serde_json::to_string_pretty(&list).map_err(failed)?);
        return Ok(());
    }

    let config = load(arguments.state)?;
    let records = app::restore(&config, &arguments.file, &keys).map_err(failed)?;
    println!("{}: {records} records", config.state.display());
    Ok(())
}
