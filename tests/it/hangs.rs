//! A hanging core of the data plane is detected, and does not keep the process from ending.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixDatagram,
    process::{Child, ChildStdout, Stdio},
    time::Duration,
};

use super::support::{Backend, Gatelet, eventually, peers};

const HOST: &str = "hangs.example.com";

/// A thread that is stopped, as if it hung.
struct Held {
    holder: Child,
    said: BufReader<ChildStdout>,
}

impl Held {
    /// Stops the threads of this name. Where the system forbids that, prints a note and returns
    /// none.
    fn threads(gatelet: &Gatelet, name: &str) -> Vec<Self> {
        let tasks = format!("/proc/{}/task", gatelet.pid());
        let threads = fs::read_dir(tasks)
            .expect("its threads")
            .filter_map(|task| {
                let path = task.expect("a thread").path();
                let comm = fs::read_to_string(path.join("comm")).ok()?;
                (comm.trim() == name).then(|| path.file_name().expect("a number").to_owned())
            });
        let held: Vec<_> = threads.map(|thread| Self::thread(&thread)).collect();
        assert!(!held.is_empty(), "no thread is called {name}");
        held.into_iter().collect::<Option<_>>().unwrap_or_default()
    }

    fn thread(thread: &OsStr) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/peers/hold_thread.py");
        let mut holder = peers::python()
            .arg(script)
            .arg(thread)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python");
        let mut said = BufReader::new(holder.stdout.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("a line");
        if line.trim() == "held" {
            return Some(Self { holder, said });
        }
        let _ = holder.wait();
        eprintln!("LEFT OUT: a thread cannot be held here (ptrace)");
        None
    }

    fn release(mut self) {
        self.holder
            .stdin
            .take()
            .expect("piped")
            .write_all(b"\n")
            .expect("it waits");
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a line");
        assert_eq!(line.trim(), "released");
        self.holder.wait().expect("its end");
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

#[test]
fn a_core_that_hangs_fails_the_health_checks() {
    let mut gatelet = Gatelet::prepare(&[]);
    let path = gatelet.folder.path().join("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    systemd
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    gatelet.environment("NOTIFY_SOCKET", path.to_str().expect("a plain path"));
    gatelet.environment("WATCHDOG_USEC", "2000000");
    gatelet.spawn();
    gatelet.wait_ready();

    let fed = |systemd: &UnixDatagram| {
        let mut message = [0; 512];
        let length = systemd.recv(&mut message).ok()?;
        Some(message[..length].starts_with(b"WATCHDOG=1"))
    };
    eventually("the watchdog is fed", || fed(&systemd).filter(|fed| *fed));
    assert_eq!(gatelet.admin_page("/readyz"), (200, "ok\n".to_owned()));

    let Some(held) = Held::threads(&gatelet, "proxy-0").pop() else {
        return;
    };
    let (_, text) = eventually("it is not ready", || {
        Some(gatelet.admin_page("/readyz")).filter(|(code, _)| *code == 503)
    });
    assert!(
        text.starts_with("not ready: core 0 has not run for 1"),
        "{text}"
    );
    assert_eq!(gatelet.admin_page("/healthz").0, 503);

    // Responses sent before the detection can still be read; nothing follows.
    systemd.set_nonblocking(true).expect("a flag");
    while fed(&systemd).is_some() {}
    systemd.set_nonblocking(false).expect("a flag");
    systemd
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a timeout");
    assert_eq!(
        fed(&systemd),
        None,
        "the watchdog is fed although a core hangs"
    );
    assert!(
        gatelet.log().contains("a core of the data plane hangs"),
        "{}",
        gatelet.log()
    );

    held.release();
    eventually("it is ready", || {
        (gatelet.admin_page("/readyz").0 == 200).then_some(())
    });
    eventually("the watchdog is fed again", || {
        fed(&systemd).filter(|fed| *fed)
    });
}

#[test]
fn a_core_that_hangs_does_not_outlive_the_grace_time() {
    let mut gatelet = Gatelet::configured("grace = \"3s\"\n");
    let held = Held::threads(&gatelet, "proxy-0");
    if held.is_empty() {
        return;
    }

    gatelet.signal("TERM");

    assert!(gatelet.wait().success(), "{}", gatelet.log());
    assert!(
        gatelet.log().contains("does not end: it is abandoned"),
        "{}",
        gatelet.log()
    );
}

#[test]
fn a_second_signal_ends_a_process_whose_core_hangs() {
    let mut gatelet = Gatelet::configured("grace = \"1h\"\n");
    let held = Held::threads(&gatelet, "proxy-0");
    if held.is_empty() {
        return;
    }

    gatelet.signal("TERM");
    eventually("it drains", || {
        gatelet.log().contains("draining").then_some(())
    });
    gatelet.signal("TERM");

    gatelet.wait();
    assert!(gatelet.log().contains("second signal"), "{}", gatelet.log());
}

#[test]
fn a_second_signal_ends_a_process_whose_control_side_hangs() {
    let backend = Backend::start("hangs");
    let mut gatelet = Gatelet::configured("grace = \"1h\"\n");
    gatelet.serve(&backend.manifests("hangs", HOST), HOST);
    let held = Held::threads(&gatelet, "control");
    if held.is_empty() {
        return;
    }

    gatelet.signal("TERM");
    gatelet.signal("INT");

    gatelet.wait();
    assert!(gatelet.log().contains("second signal"), "{}", gatelet.log());
}
