//! Finds the process that listens on a port.

use std::{fs, net::SocketAddr, path::Path};

/// One sentence for a port that is taken: who has it, as far as we may see, and what to do.
/// `choose` is the other way out.
pub fn taken(addr: SocketAddr, choose: &str) -> String {
    let holder = match holder(Path::new("/proc"), addr.port()) {
        Some(name) => format!("{name} listens there; stop it"),
        None => {
            let port = addr.port();
            format!(
                "something else listens there \
                 (as root, `ss -ltnp 'sport = :{port}'` shows what); stop it"
            )
        }
    };
    format!("{holder}, or choose {choose}")
}

/// Returns name and id of the process that listens on a TCP port; `None` if this process may not
/// see it.
fn holder(proc: &Path, port: u16) -> Option<String> {
    let sockets: Vec<String> = ["net/tcp", "net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(proc.join(table)).ok())
        .flat_map(|table| {
            table
                .lines()
                .filter_map(|line| listening(line, port))
                .collect::<Vec<String>>()
        })
        .map(|inode| format!("socket:[{inode}]"))
        .collect();

    let processes = fs::read_dir(proc).ok()?.flatten().map(|entry| entry.path());
    for process in processes.filter(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok())
    }) {
        let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
            continue;
        };

        let mut targets = descriptors
            .flatten()
            .filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        if targets.any(|target| {
            sockets
                .iter()
                .any(|socket| target.as_os_str() == socket.as_str())
        }) {
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            let id = process
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            return Some(format!("{} (process {id})", name.trim()));
        }
    }

    None
}

/// The inode of a line of /proc/net/tcp (proc_pid_net(5)) if it is of a socket that listens on the
/// port.
fn listening(line: &str, port: u16) -> Option<String> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?;
    let (_address, hex) = local.rsplit_once(':')?;
    (state == "0A" && u16::from_str_radix(hex, 16) == Ok(port)).then(|| inode.to_owned())
}

#[cfg(test)]
mod tests;
