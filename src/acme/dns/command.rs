//! A program that publishes and removes records, with the arguments of lego's `exec` provider.

use std::{path::PathBuf, pin::pin, process::Stdio, time::Duration};

use hickory_proto::rr::Name;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command as Process,
    time::timeout,
};

use super::{
    error::Failure,
    record::Action,
    service::{Service, Working},
};

/// The time limit for the program.
const LIMIT: Duration = Duration::from_secs(28);
/// The time for which output is still read after the program has ended. Processes that it left
/// behind may keep the pipes open.
const GRACE: Duration = Duration::from_millis(500);
/// The largest number of bytes kept of each output.
const KEPT: usize = 600;

/// The program to run.
#[derive(Clone, Debug)]
pub struct CommandSettings {
    /// An absolute path, or a name to find in `PATH`.
    pub program: PathBuf,
    /// The arguments before `present` or `cleanup`, the name and the value.
    pub arguments: Vec<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Command(CommandSettings);

impl Command {
    pub(super) fn new(settings: CommandSettings) -> Self {
        Self(settings)
    }

    /// Runs the program with only `PATH` in its environment. It must exit with status 0.
    async fn run(&self, action: Action, fqdn: &str, value: &str) -> Result<(), Failure> {
        let mut process = Process::new(&self.0.program);
        process
            .args(&self.0.arguments)
            .args([action.as_str(), fqdn, value])
            .env_clear()
            .kill_on_drop(true);
        if let Some(path) = std::env::var_os("PATH") {
            process.env("PATH", path);
        }
        process
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());

        let mut child = process
            .spawn()
            .map_err(|error| Failure::new(format!("the program cannot be started: {error}")))?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let ended = {
            let reading =
                async { tokio::join!(head(pipes.0, &mut output), head(pipes.1, &mut errors)) };
            let (mut reading, mut all_read) = (pin!(reading), false);
            let running = async {
                tokio::select! {
                    status = child.wait() => status,
                    _ = &mut reading => {
                        all_read = true;
                        child.wait().await
                    }
                }
            };
            let ended = timeout(LIMIT, running).await;

            // If the program is late, this kills it, which usually ends the output.
            drop(child);
            if !all_read {
                let _ = timeout(GRACE, reading).await;
            }
            ended
        };

        errors.push(b' ');
        errors.append(&mut output);
        let output = String::from_utf8_lossy(&errors);

        match ended {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(Failure::new(format!(
                "the program ended with {status}: {output}"
            ))),
            Ok(Err(error)) => Err(Failure::new(format!(
                "waiting for the program failed: {error}"
            ))),
            Err(_) => Err(Failure::new(format!(
                "the program ran longer than {} s: {output}",
                LIMIT.as_secs()
            ))),
        }
    }
}

impl Service for Command {
    fn at(&self) -> String {
        self.0.program.display().to_string()
    }

    fn change<'a>(&'a self, action: Action, name: &'a Name, value: &'a str) -> Working<'a, ()> {
        Box::pin(async move { self.run(action, &name.to_ascii(), value).await })
    }
}

/// Reads a pipe to its end and keeps the beginning.
async fn head(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let mut buffer = [0; 1024];
    let Some(mut pipe) = pipe else { return };
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..length.min(KEPT - kept.len())]);
    }
}
