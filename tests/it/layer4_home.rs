//! The five services of a home, as `docs/layer4.md` shows them.

use std::{net::UdpSocket, thread, time::Duration};

use super::{
    layer4::{echo, echoed},
    support::{Gatelet, eventually, free_port, gatelet::NODE},
};

/// Returns the objects on the page.
fn shown() -> &'static str {
    let page = include_str!("../../docs/layer4.md");
    let (_, section) = page.split_once("## Five services").expect("the section");
    let (_, block) = section.split_once("```yaml\n").expect("its objects");
    block.split_once("```").expect("their end").0
}

/// Starts an endpoint that sends back each datagram. Returns its port.
fn datagram_echo() -> u16 {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
    let port = socket.local_addr().expect("its address").port();
    thread::spawn(move || {
        let mut buffer = [0; 2000];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    port
}

/// Returns what a port sends back for a datagram; `None` if nothing comes.
fn datagram_echoed(port: u16, text: &str) -> Option<String> {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).ok()?;
    socket.connect(("127.0.0.1", port)).ok()?;
    let patience = Some(Duration::from_secs(1));
    socket.set_read_timeout(patience).ok()?;
    socket.send(text.as_bytes()).ok()?;
    let mut buffer = [0; 2000];
    let length = socket.recv(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// An EndpointSlice with one port of this machine.
fn slice(service: &str, name: &str, protocol: &str, port: u16) -> String {
    format!(
        "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {service}-{name}
  labels: {{kubernetes.io/service-name: {service}}}
  annotations: {{gatelet.dev/connect: loopback}}
addressType: IPv4
endpoints: [{{addresses: [192.0.2.1], nodeName: {NODE}}}]
ports: [{{name: {name}, protocol: {protocol}, port: {port}}}]
"
    )
}

#[test]
fn the_services_of_the_page_are_reached() {
    let mut objects = shown().to_owned();
    let mut open_at = |listen: &str, inner: u16| {
        let port = free_port();
        assert!(objects.contains(listen), "{listen}: {objects}");
        objects = objects.replace(listen, &format!("listen: \"{port}:{inner}\""));
        port
    };
    let mqtt = open_at("listen: \"1883\"", 1883);
    let git = open_at("listen: \"2222:22\"", 22);
    // UDP and TCP.
    let dns = open_at("listen: \"53\"", 53);
    let database = open_at("listen: \"5432\"", 5432);
    let vpn = open_at("listen: \"51820\"", 51820);

    // Clients of the test come from the loopback.
    let house = "192.168.0.0/16";
    assert!(objects.contains(house), "{objects}");
    let objects = objects.replace(house, "127.0.0.0/8");

    let slices = [
        slice("mqtt", "mqtt", "TCP", echo()),
        slice("git", "ssh", "TCP", echo()),
        slice("dns", "dns", "UDP", datagram_echo()),
        slice("dns", "dns-tcp", "TCP", echo()),
        slice("db", "postgresql", "TCP", echo()),
        slice("vpn", "wireguard", "UDP", datagram_echo()),
    ];
    let gatelet = Gatelet::start();
    gatelet.apply(&(objects + &slices.concat()));

    for port in [mqtt, git, dns, database] {
        let open = || (echoed(port, "hello").as_deref() == Some("hello")).then_some(());
        eventually("the port is open", open);
    }
    for port in [dns, vpn] {
        let open = || (datagram_echoed(port, "hello").as_deref() == Some("hello")).then_some(());
        eventually("the port is open", open);
    }
    let findings = gatelet.status()["findings"].to_string();
    assert_eq!(findings, "[]");
}
