//! Sockets that the service manager holds while gatelet restarts. The test plays its part.

use std::{net::TcpListener, os::fd::AsRawFd as _, process::Command};

use socket2::SockRef;

use super::support::{Backend, Gatelet, http::Connection};

const HOST: &str = "held.example.com";

/// Starts gatelet with a socket, as `sd_listen_fds(3)` describes.
fn spawn(gatelet: &mut Gatelet, held: &TcpListener) {
    let run = gatelet.run_command();
    let mut command = Command::new("bash");
    command
        .args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&\"$HELD\""])
        .arg(run.get_program())
        .args(run.get_args())
        .env("HELD", held.as_raw_fd().to_string())
        .env("LISTEN_FDS", "1");
    SockRef::from(held).set_cloexec(false).expect("an option");
    gatelet.spawn_command(command);
    SockRef::from(held).set_cloexec(true).expect("an option");
}

#[test]
fn connections_wait_for_the_next_process() {
    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut gatelet = Gatelet::prepare(&[]);
    gatelet.http = held.local_addr().expect("bound").port();
    spawn(&mut gatelet, &held);
    gatelet.wait_ready();
    let backend = Backend::start("held");
    gatelet.serve(&backend.manifests("held", HOST), HOST);

    // A connection from before the end, and one from while no gatelet runs.
    let mut served = Connection::open(gatelet.http_addr()).expect("a connection");
    assert_eq!(served.get(HOST, "/").expect("a response").status, 200);
    gatelet.signal("TERM");
    assert_eq!(gatelet.wait().code(), Some(0), "{}", gatelet.log());
    let mut waiting = Connection::open(gatelet.http_addr()).expect("it waits");
    let request = format!("GET / HTTP/1.1\r\nhost: {HOST}\r\n\r\n");
    waiting.send(request.as_bytes()).expect("sent");

    spawn(&mut gatelet, &held);
    let response = waiting.answer().expect("a response");
    assert_eq!(response.status, 200, "{}", gatelet.log());
}
