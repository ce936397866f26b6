//! Ports of layer 4 in front of programs that users have: an MQTT broker, a database, SSH, and a
//! program that measures throughput.

use std::{
    io::{BufRead, BufReader},
    net::TcpStream,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::support::{
    Folder, Gatelet, backend, eventually, free_port, peers::server_program, run, said,
};

/// The user `nobody` of Debian: a database does not run as root.
const NOBODY: u32 = 65_534;

/// A server, killed with its test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A Service that opens a port for an endpoint; `more` are further annotations.
fn port(name: &str, number: u16, endpoint: u16, more: &str) -> String {
    let metadata = format!(
        "metadata: {{name: {name}, annotations: {{gatelet.dev/tcp-listen: \"{number}:80\"{more}}}}}"
    );
    let service = backend::service(name, "");
    let service = service.replace(&format!("metadata: {{name: {name}}}"), &metadata);
    format!("{service}{}", backend::slice(name, &[endpoint]))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id");
    id.stdout.trim_ascii() == b"0"
}

#[test]
fn an_mqtt_broker_gets_messages_with_and_without_tls() {
    let Some(mut mosquitto) = server_program("usr/sbin/mosquitto") else {
        return;
    };
    let folder = Folder::new();
    let (broker, plain, tls) = (free_port(), free_port(), free_port());
    let config = format!("listener {broker} 127.0.0.1\nallow_anonymous true\nuser root\n");
    let config = folder.write("mosquitto.conf", &config);
    let _broker = Running::start(mosquitto.arg("-c").arg(config).stderr(Stdio::null()));
    let gatelet = Gatelet::start();
    gatelet.apply(&format!(
        "{}{}",
        port("mqtt", plain, broker, ""),
        port("mqtts", tls, broker, ", gatelet.dev/tcp-tls: \"true\"")
    ));

    let ca = gatelet.inner_state().join("ca.pem");
    for (number, is_tls) in [(plain, false), (tls, true)] {
        let client = |name: &str| {
            let mut command = server_program(&format!("usr/bin/{name}")).expect("it is there");
            command.args([
                "-h",
                "127.0.0.1",
                "-p",
                &number.to_string(),
                "-q",
                "1",
                "-t",
                "home",
            ]);
            if is_tls {
                command.args(["--insecure", "--cafile"]).arg(&ca);
            }
            command
        };
        let publish = |text: &str, retained: &str| {
            let mut command = client("mosquitto_pub");
            command
                .args(["-m", text, retained])
                .output()
                .expect("it runs")
        };
        eventually("the broker is reached", || {
            publish("first", "-r").status.success().then_some(())
        });

        let mut subscriber = client("mosquitto_sub");
        let subscriber = subscriber
            .args(["-C", "2", "-W", "60"])
            .stdout(Stdio::piped());
        let mut subscriber = Running::start(subscriber);
        let mut lines = BufReader::new(subscriber.0.stdout.take().expect("a pipe")).lines();
        // The retained message says that the subscription is there.
        assert_eq!(lines.next().expect("a line").expect("text"), "first");
        assert!(publish("second", "-r").status.success());
        assert_eq!(lines.next().expect("a line").expect("text"), "second");
    }
}

#[test]
fn a_database_answers_clients_that_ask_for_tls_first() {
    let bin = "usr/lib/postgresql/15/bin";
    let Some(mut initdb) = server_program(&format!("{bin}/initdb")) else {
        return;
    };
    let folder = Folder::new();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).expect("a folder");
    let run_as = |command: &mut Command| {
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
    };
    if is_root() {
        std::os::unix::fs::chown(&data, Some(NOBODY), Some(NOBODY)).expect("root");
    }
    run_as(&mut initdb);
    let made = initdb
        .args(["-U", "app", "--auth=trust", "--no-sync", "-D"])
        .arg(&data)
        .output();
    let made = made.expect("initdb");
    assert!(made.status.success(), "{made:?}");

    let (endpoint, number) = (free_port(), free_port());
    let mut server = server_program(&format!("{bin}/postgres")).expect("it is there");
    run_as(&mut server);
    server.args([
        "-p",
        &endpoint.to_string(),
        "-k",
        "",
        "-h",
        "127.0.0.1",
        "-D",
    ]);
    let _server = Running::start(server.arg(&data).stderr(Stdio::null()));
    let gatelet = Gatelet::start();
    gatelet.apply(&port("db", number, endpoint, ""));

    // A client asks for TLS before it says anything else, and goes on without.
    let ask = |query: &str| {
        let mut psql = server_program(&format!("{bin}/psql")).expect("it is there");
        let target =
            format!("host=127.0.0.1 port={number} user=app dbname=postgres sslmode=prefer");
        psql.args(["-At", "-c", query, &target])
            .output()
            .expect("psql")
    };
    eventually("the database answers", || {
        ask("select 1").status.success().then_some(())
    });
    let rows = said(&ask("select generate_series(1, 100000)"));
    assert_eq!(rows.lines().count(), 100_000);
    assert_eq!(rows.lines().last(), Some("100000"));
}

#[test]
fn much_data_goes_both_ways() {
    let Some(mut server) = server_program("usr/bin/iperf3") else {
        return;
    };
    let (endpoint, number) = (free_port(), free_port());
    server.args(["-s", "-B", "127.0.0.1", "-p", &endpoint.to_string()]);
    let _server = Running::start(server.stdout(Stdio::null()));
    let gatelet = Gatelet::start();
    gatelet.apply(&port("iperf", number, endpoint, ""));

    let measure = |direction: &[&str]| {
        let mut client = server_program("usr/bin/iperf3").expect("it is there");
        client.args([
            "-c",
            "127.0.0.1",
            "-p",
            &number.to_string(),
            "-J",
            "-n",
            "512M",
            "-P",
            "2",
        ]);
        client.args(direction).output().expect("iperf3")
    };
    eventually("the server answers", || {
        measure(&[]).status.success().then_some(())
    });
    for direction in [&[][..], &["-R"], &["--bidir"]] {
        let output = eventually("the server is free", || {
            let output = measure(direction);
            output.status.success().then_some(output)
        });
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
        // iperf3 does not count bytes that arrive after the sender has ended, which buffers on the
        // way can hold many of. One direction may be much slower, also without anything in between:
        // both end when the first is done.
        let received = ["sum_received", "sum_received_bidir_reverse"]
            .map(|sum| report["end"][sum]["bytes"].as_u64());
        let total: u64 = received.iter().flatten().sum();
        let least = received.iter().flatten().min();
        assert!(
            total >= 256_000_000 && least > Some(&1_000_000),
            "{direction:?}: {report}"
        );
    }
}

/// Files go both ways through SSH, whose server speaks first, and a session goes on while its port
/// gets another endpoint.
#[test]
fn files_go_both_ways_over_ssh() {
    let Some(mut sshd) = server_program("usr/sbin/sshd") else {
        return;
    };
    let folder = Folder::new();
    let key = |name: &str| {
        let path = folder.path().join(name);
        let mut keygen = Command::new("ssh-keygen");
        run(keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&path));
        path
    };
    let (host, client) = (key("host"), key("client"));
    let (endpoint, number) = (free_port(), free_port());
    let config = format!(
        "ListenAddress 127.0.0.1:{endpoint}\nHostKey {}\nAuthorizedKeysFile {}.pub\n\
         StrictModes no\nUsePAM yes\nPidFile none\nPasswordAuthentication no\n\
         Subsystem sftp internal-sftp\n",
        host.display(),
        client.display()
    );
    let config = folder.write("sshd_config", &config);
    // As root it would need a user of its own, which its package makes.
    let user = if is_root() {
        let work = folder.path();
        std::os::unix::fs::chown(work, Some(NOBODY), Some(NOBODY)).expect("root");
        for file in [&host, &client.with_extension("pub"), &config] {
            std::os::unix::fs::chown(file, Some(NOBODY), Some(NOBODY)).expect("root");
        }
        sshd.uid(NOBODY).gid(NOBODY);
        "nobody".to_owned()
    } else {
        run(Command::new("id").arg("-un")).trim().to_owned()
    };
    sshd.args(["-D", "-e", "-f"]).arg(&config);
    let _server = Running::start(sshd.stderr(Stdio::null()));
    let gatelet = Gatelet::start();
    gatelet.apply(&port("git", number, endpoint, ""));

    let sftp = |commands: &str| {
        let batch = folder.write("batch", commands);
        let mut sftp = Command::new("sftp");
        sftp.args([
            "-q",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
        ]);
        sftp.args(["-o", "ConnectTimeout=10", "-P", &number.to_string(), "-i"]);
        sftp.arg(&client).arg("-b").arg(batch);
        sftp.arg(format!("{user}@127.0.0.1"))
            .output()
            .expect("sftp")
    };
    let up = folder.path().join("up");
    let bytes: Vec<u8> = (0..8_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    std::fs::write(&up, &bytes).expect("a file");
    let (there, back) = (folder.path().join("there"), folder.path().join("back"));
    let commands = format!(
        "put {} {there}\nget {there} {}\n",
        up.display(),
        back.display(),
        there = there.display()
    );
    eventually("the files have gone both ways", || {
        sftp(&commands).status.success().then_some(())
    });
    assert!(std::fs::read(&back).expect("the file") == bytes);
}

/// A subscriber stays at its broker after that is not an endpoint any more, until the limit; then
/// it comes to the next one.
#[test]
fn a_subscriber_leaves_a_broker_that_is_gone_after_the_limit() {
    const LIMIT: Duration = Duration::from_secs(8);

    let Some(mosquitto) = server_program("usr/sbin/mosquitto") else {
        return;
    };
    drop(mosquitto);
    let folder = Folder::new();
    let broker = |name: &str| {
        let listen = free_port();
        let config = format!("listener {listen} 127.0.0.1\nallow_anonymous true\nuser root\n");
        let config = folder.write(name, &config);
        let mut mosquitto = server_program("usr/sbin/mosquitto").expect("it is there");
        (
            listen,
            Running::start(mosquitto.arg("-c").arg(config).stderr(Stdio::null())),
        )
    };
    let ((old, _first), (new, _second)) = (broker("old.conf"), broker("new.conf"));
    let number = free_port();
    let gatelet = Gatelet::configured(&format!(
        "[proxy]\ntcp_drain_timeout = \"{}s\"\n",
        LIMIT.as_secs()
    ));
    gatelet.apply(&port("mqtt", number, old, ""));

    let client = |program: &str, at: u16| {
        let mut command = server_program(&format!("usr/bin/{program}")).expect("it is there");
        command.args([
            "-h",
            "127.0.0.1",
            "-p",
            &at.to_string(),
            "-q",
            "1",
            "-t",
            "home",
        ]);
        command
    };
    let publish = |at: u16, text: &str| {
        let mut command = client("mosquitto_pub", at);
        let output = command.args(["-m", text, "-r"]).output().expect("it runs");
        output.status.success().then_some(())
    };
    eventually("the broker is reached", || publish(number, "first"));
    eventually("the other one is there", || publish(new, "moved"));
    let mut subscriber = client("mosquitto_sub", number);
    let subscriber = subscriber
        .args(["-C", "3", "-W", "120"])
        .stdout(Stdio::piped());
    let mut subscriber = Running::start(subscriber);
    let mut lines = BufReader::new(subscriber.0.stdout.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!(next(), "first");

    // The endpoint is another one: new connections go there, and the old one goes on.
    let moved = Instant::now();
    gatelet.apply(&port("mqtt", number, new, ""));
    eventually("new connections go to the next broker", || {
        let mut command = client("mosquitto_sub", number);
        let output = command
            .args(["-C", "1", "-W", "5"])
            .output()
            .expect("it runs");
        said(&output).contains("moved").then_some(())
    });
    assert!(moved.elapsed() < LIMIT, "the test is too slow");
    publish(old, "second").expect("it is sent");
    assert_eq!(next(), "second");

    assert_eq!(next(), "moved");
    assert!(moved.elapsed() >= LIMIT, "{:?}", moved.elapsed());
}

/// Other ports open and close, and none of the connections feels it.
#[test]
fn transfers_go_on_while_ports_open_and_close() {
    let Some(mut server) = server_program("usr/bin/iperf3") else {
        return;
    };
    let (endpoint, number) = (free_port(), free_port());
    server.args(["-s", "-B", "127.0.0.1", "-p", &endpoint.to_string()]);
    let _server = Running::start(server.stdout(Stdio::null()));
    let gatelet = Gatelet::start();
    gatelet.apply(&port("iperf", number, endpoint, ""));
    let client = |seconds: &str| {
        let mut client = server_program("usr/bin/iperf3").expect("it is there");
        client.args([
            "-c",
            "127.0.0.1",
            "-p",
            &number.to_string(),
            "-J",
            "--bidir",
        ]);
        client.args(["-t", seconds, "-b", "20M"]);
        client
    };
    eventually("the server answers", || {
        client("1")
            .output()
            .expect("iperf3")
            .status
            .success()
            .then_some(())
    });

    let mut long = client("8");
    let long = long.stdout(Stdio::piped()).spawn().expect("iperf3");
    let others: Vec<u16> = (0..8).map(|_| free_port()).collect();
    let is_open = |at: u16| TcpStream::connect(("127.0.0.1", at)).is_ok();
    for round in 0..4 {
        let open: Vec<u16> = others.iter().copied().skip(round % 2).step_by(2).collect();
        let mut listen = format!("{number}:80");
        for other in &open {
            listen += &format!(",{other}:80");
        }
        let annotation = format!("gatelet.dev/tcp-listen={listen}");
        gatelet.kubectl(&["annotate", "--overwrite", "service/iperf", &annotation]);
        eventually("the ports are those", || {
            let is_right = |at: &u16| is_open(*at) == open.contains(at);
            others.iter().all(is_right).then_some(())
        });
    }
    let output = long.wait_with_output().expect("iperf3");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert!(output.status.success(), "{report}");
    for sum in ["sum_received", "sum_received_bidir_reverse"] {
        let bytes = report["end"][sum]["bytes"].as_u64();
        assert!(bytes >= Some(10_000_000), "{sum}: {report}");
    }
}
