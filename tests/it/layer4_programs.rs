//! Ports of layer 4 in front of programs that users have: an MQTT broker, a database, and a program
//! that measures throughput.

use std::{
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use super::support::{
    Folder, Gatelet, backend, eventually, free_port, peers::server_program, said,
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
            "64M",
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
        let received = report["end"]["sum_received"]["bytes"].as_u64();
        // What is still on its way when the sender is done is not counted.
        assert!(received >= Some(32_000_000), "{direction:?}: {report}");
    }
}
