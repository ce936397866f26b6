//! Large request bodies in files: an endpoint is asked when they are whole, as by nginx, and
//! nothing is left of those that end early.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use super::support::{Backend, Folder, Gatelet, Nginx, eventually, gatelet::program, nginx};

const HOST: &str = "app.example.com";
const LENGTH: usize = 4 << 20;

/// Begins an upload that lacks its end.
fn begin(port: u16) -> TcpStream {
    let mut client = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    let head = format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {LENGTH}\r\n\r\n");
    client.write_all(head.as_bytes()).expect("sent");
    client.write_all(&vec![b'a'; LENGTH - 3]).expect("sent");
    client
}

fn metric(gatelet: &Gatelet, name: &str) -> u64 {
    let (_, page) = gatelet.admin_page("/metrics");
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().parse().ok()).expect(name)
}

fn buffering(directory: &Folder, most: &str) -> (Gatelet, Backend) {
    let backend = Backend::start("app");
    let directory = directory.path().display();
    let gatelet = Gatelet::configured(&format!(
        "[proxy]\nspool_directory = \"{directory}\"\nmax_spool_bytes = \"{most}\"\n"
    ));
    let text = backend.manifests("app", HOST).replace(
        "kind: Ingress\nmetadata: {name: app}\n",
        "kind: Ingress\nmetadata:\n  name: app\n  annotations:\n    \
         nginx.ingress.kubernetes.io/proxy-request-buffering: \"on\"\n",
    );
    gatelet.serve(&text, HOST);
    (gatelet, backend)
}

#[test]
fn an_endpoint_is_asked_for_a_whole_upload_as_by_nginx() {
    let directory = Folder::new();
    let (gatelet, backend) = buffering(&directory, "64MiB");
    let before = backend.count();
    let mut client = begin(gatelet.http);
    eventually("most of the body is in a file", || {
        (metric(&gatelet, "gatelet_spool_bytes ") > 3 << 20).then_some(())
    });
    let mut with_nginx = nginx::program().map(|_| {
        let server = format!(
            "location / {{ client_max_body_size 0; proxy_pass http://127.0.0.1:{}; }}",
            backend.port
        );
        let nginx = Nginx::start(&server);
        (begin(nginx.port), nginx)
    });
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(backend.count(), before, "the backend was asked");
    let names = fs::read_dir(directory.path())
        .expect("the directory")
        .count();
    assert_eq!(names, 0);

    let clients = with_nginx.iter_mut().map(|(client, _)| client);
    for (number, client) in std::iter::once(&mut client).chain(clients).enumerate() {
        client.write_all(b"END").expect("sent");
        let mut status = [0; 12];
        client.read_exact(&mut status).expect("a response");
        assert_eq!(&status, b"HTTP/1.1 200");
        assert_eq!(backend.count(), before + number as u64 + 1);
    }
    eventually("the file is closed", || {
        (metric(&gatelet, "gatelet_spool_bytes ") == 0).then_some(())
    });
}

#[test]
fn nothing_is_left_of_clients_that_leave_and_full_spools_stream() {
    let directory = Folder::new();
    let (gatelet, backend) = buffering(&directory, "64MiB");
    let before = backend.count();
    let client = begin(gatelet.http);
    eventually("the body is in a file", || {
        (metric(&gatelet, "gatelet_spool_bytes ") > 1 << 20).then_some(())
    });
    drop(client);
    eventually("the file is closed", || {
        (metric(&gatelet, "gatelet_spool_bytes ") == 0).then_some(())
    });
    assert_eq!(backend.count(), before);

    let (gatelet, backend) = buffering(&directory, "2MiB");
    let before = backend.count();
    let mut client = begin(gatelet.http);
    eventually("the backend is asked", || {
        (backend.count() > before).then_some(())
    });
    client.write_all(b"END").expect("sent");
    let mut status = [0; 12];
    client.read_exact(&mut status).expect("a response");
    assert_eq!(&status, b"HTTP/1.1 200");
    let refused = "gatelet_spooled_bodies_total{outcome=\"refused\"} ";
    assert_eq!(metric(&gatelet, refused), 1);
}

#[test]
fn a_directory_that_is_missing_is_an_error_of_the_check() {
    let folder = Folder::new();
    let text = format!(
        "[proxy]\nspool_directory = \"{}/missing\"\n",
        folder.path().display()
    );
    let config = folder.write("gatelet.toml", &text);
    let config = config.display().to_string();
    let objects = folder.write("app.yaml", "");
    let objects = objects.display().to_string();
    for arguments in [
        &["config", "check", "--config", &config][..],
        &["check", &objects, "--config", &config],
    ] {
        let output = program().args(arguments).output().expect("gatelet runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("proxy.spool_directory"), "{said}");
        assert!(said.contains("/missing: No such file"), "{said}");
    }
}
