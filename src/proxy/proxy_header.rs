//! Writes the PROXY protocol, versions 1 and 2 (HAProxy's `doc/proxy-protocol.txt`): it tells an
//! endpoint the address of the client, and extensions of version 2 tell about its TLS.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::conn::ConnInfo;
use crate::routing::{Host, ProxyVersion};

/// The start of every header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and the command of a connection that is proxied.
const PROXIED: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
/// Version 2, and the command of a connection that the proxy makes for itself.
const LOCAL: u8 = 0x20;
/// The extension with the protocol that was chosen (`PP2_TYPE_ALPN`).
const PROTOCOL: u8 = 0x01;
/// The extension with the server name that the client asked for (`PP2_TYPE_AUTHORITY`).
const AUTHORITY: u8 = 0x02;
/// The longest value of both.
const MAX_VALUE: usize = 255;
/// The extension about TLS (`PP2_TYPE_SSL`), with its part about the version.
const TLS: u8 = 0x20;
const TLS_VERSION: u8 = 0x21;
/// The client speaks TLS (`PP2_CLIENT_SSL`).
const CLIENT_TLS: u8 = 0x01;

/// The extensions about the TLS of a client, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extensions {
    /// The server name that the client asked for.
    pub(crate) authority: Option<Box<str>>,
    /// The protocol that was chosen.
    pub(crate) protocol: Option<Box<[u8]>>,
    /// The version of TLS that we speak with the client.
    pub(crate) version: Option<&'static str>,
}

impl Extensions {
    /// Reads the extensions in a header. Others, and values that cannot be right, are left out;
    /// `None` if they do not fit into the header.
    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut found = Self::default();
        while let [kind, high, low, rest @ ..] = bytes {
            let length = u16::from_be_bytes([*high, *low]);
            let (value, rest) = rest.split_at_checked(length.into())?;
            bytes = rest;
            if value.is_empty() || value.len() > MAX_VALUE {
                continue;
            }
            match *kind {
                PROTOCOL => found.protocol = Some(value.into()),
                AUTHORITY => {
                    let host = std::str::from_utf8(value).ok();
                    let host = host.and_then(|host| Host::parse(host).ok());
                    found.authority = host.map(|host| host.as_str().into());
                }
                _ => {}
            }
        }
        bytes.is_empty().then_some(found)
    }

    /// Writes those that a version has.
    fn write(&self, version: ProxyVersion) -> Vec<u8> {
        let mut out = Vec::new();
        if version == ProxyVersion::V1 {
            return out;
        }
        if let Some(protocol) = &self.protocol {
            push_extension(&mut out, PROTOCOL, protocol);
        }
        if let Some(authority) = &self.authority {
            push_extension(&mut out, AUTHORITY, authority.as_bytes());
        }
        if version == ProxyVersion::V2Tls {
            out.extend(about_tls(self.version));
        }
        out
    }
}

/// Returns true if bytes begin as a header does.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE) || bytes.starts_with(b"PROXY ")
}

/// Returns the header for connections that have the requests of a client connection; without one,
/// for a connection of our own.
pub(super) fn of_client(version: ProxyVersion, conn: Option<&ConnInfo>) -> Vec<u8> {
    let Some(conn) = conn else {
        return match version {
            ProxyVersion::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
            ProxyVersion::V2 | ProxyVersion::V2Tls => [&SIGNATURE[..], &[LOCAL, 0, 0, 0]].concat(),
        };
    };

    let mut header = header(version, conn.client, conn.local);
    if version == ProxyVersion::V2Tls {
        let tls = conn.tls.as_ref().map(|tls| tls.version);
        append(&mut header, &about_tls(tls));
    }
    header
}

/// Returns the header for a connection of a port from `client` to `server`.
pub(super) fn of_port(
    version: ProxyVersion,
    (client, server): (SocketAddr, SocketAddr),
    extensions: &Extensions,
) -> Vec<u8> {
    let mut header = header(version, client, server);
    let extensions = extensions.write(version);
    if !extensions.is_empty() {
        append(&mut header, &extensions);
    }
    header
}

/// Returns the extension about the TLS of a client, which has shown no certificate; without a
/// version it speaks none.
fn about_tls(version: Option<&str>) -> Vec<u8> {
    let client = version.map_or(0, |_| CLIENT_TLS);
    // 1: no certificate was verified.
    let mut value = vec![client, 0, 0, 0, 1];
    if let Some(version) = version {
        push_extension(&mut value, TLS_VERSION, version.as_bytes());
    }
    let mut extension = Vec::new();
    push_extension(&mut extension, TLS, &value);
    extension
}

fn push_extension(out: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let length = u16::try_from(value.len()).expect("a short value");
    out.push(kind);
    out.extend(length.to_be_bytes());
    out.extend(value);
}

/// Appends extensions to a header of version 2.
fn append(header: &mut Vec<u8>, extensions: &[u8]) {
    header.extend(extensions);
    let length = u16::try_from(header.len() - SIGNATURE.len() - 4).expect("a short header");
    header[SIGNATURE.len() + 2..][..2].copy_from_slice(&length.to_be_bytes());
}

/// Returns the header without extensions.
fn header(version: ProxyVersion, client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let (client_port, server_port) = (client.port(), server.port());
    let ends = (client.ip().to_canonical(), server.ip().to_canonical());
    // One header has one family.
    let ends = match ends {
        (IpAddr::V4(_), IpAddr::V4(_)) => ends,
        (client, server) => (IpAddr::V6(mapped(client)), IpAddr::V6(mapped(server))),
    };

    match version {
        ProxyVersion::V1 => {
            let family = if ends.0.is_ipv4() { "TCP4" } else { "TCP6" };
            let (client, server) = ends;
            format!("PROXY {family} {client} {server} {client_port} {server_port}\r\n").into_bytes()
        }
        ProxyVersion::V2 | ProxyVersion::V2Tls => {
            let mut header = SIGNATURE.to_vec();
            header.push(PROXIED);
            match ends {
                (IpAddr::V4(client), IpAddr::V4(server)) => {
                    header.extend([TCP_OVER_IPV4, 0, 12]);
                    header.extend(client.octets());
                    header.extend(server.octets());
                }
                (client, server) => {
                    header.extend([TCP_OVER_IPV6, 0, 36]);
                    header.extend(mapped(client).octets());
                    header.extend(mapped(server).octets());
                }
            }
            header.extend(client_port.to_be_bytes());
            header.extend(server_port.to_be_bytes());
            header
        }
    }
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{downstream::proxy_protocol, executor::local};

    #[test]
    fn what_is_written_is_read_again() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        for (client, server) in [
            ("192.0.2.1:1024", "198.51.100.2:1883"),
            ("[2001:db8::1]:65535", "[2001:db8::2]:1"),
            ("[2001:db8::1]:5", "192.0.2.1:1883"),
        ] {
            let (client, server) = (address(client), address(server));
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let bytes = header(version, client, server);
                let mut reading = &bytes[..];
                let read = local(proxy_protocol::read(&mut reading)).expect("a header");
                let read = read.expect("addresses");
                assert_eq!(read.0, client, "{version:?}");
                assert_eq!(read.1.ip().to_canonical(), server.ip(), "{version:?}");
                assert_eq!((read.1.port(), reading), (server.port(), &b""[..]));
            }
        }
    }

    #[test]
    fn extensions_are_counted_and_passed_over() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let ends = (address("192.0.2.1:7"), address("198.51.100.2:8"));
        let mut bytes = header(ProxyVersion::V2Tls, ends.0, ends.1);
        append(&mut bytes, &about_tls(Some("TLSv1.3")));
        let extension = b"\x20\x00\x0f\x01\0\0\0\x01\x21\x00\x07TLSv1.3";
        assert!(bytes.ends_with(extension), "{bytes:?}");
        let plain = b"\x20\x00\x05\0\0\0\0\x01";
        assert_eq!(about_tls(None), plain);

        bytes.extend(b"GET");
        let mut reading = &bytes[..];
        let read = local(proxy_protocol::read(&mut reading)).expect("a header");
        assert_eq!((read, reading), (Some(ends), &b"GET"[..]));
    }

    #[test]
    fn the_name_and_protocol_of_a_client_are_handed_on() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let ends = (address("[2001:db8::1]:7"), address("[2001:db8::2]:8"));
        let known = Extensions {
            authority: Some("a.example".into()),
            protocol: Some(b"mqtt"[..].into()),
            version: None,
        };
        for (version, expected) in [
            (ProxyVersion::V1, Extensions::default()),
            (ProxyVersion::V2, known.clone()),
            (ProxyVersion::V2Tls, known.clone()),
        ] {
            let bytes = of_port(version, ends, &known);
            let mut reading = &bytes[..];
            let read = local(proxy_protocol::read_all(&mut reading)).expect("a header");
            assert_eq!((read, reading), ((Some(ends), expected), &b""[..]));
        }
        let expected = b"\x01\0\x04mqtt\x02\0\x09a.example";
        assert!(of_port(ProxyVersion::V2, ends, &known).ends_with(expected));

        let parse = Extensions::parse;
        assert_eq!(parse(b"\x01\0"), None);
        assert_eq!(parse(b"\x01\0\x02h"), None);
        let nothing = Some(Extensions::default());
        let long = [&b"\x02\x01\0"[..], &[b'a'; 256]].concat();
        for bytes in [
            &b""[..],
            b"\x01\0\0",
            b"\x02\0\x01\xff",
            b"\x05\0\x01x",
            &long,
        ] {
            assert_eq!(parse(bytes), nothing, "{bytes:?}");
        }
    }

    #[test]
    fn a_connection_of_our_own_names_no_client() {
        for version in [ProxyVersion::V1, ProxyVersion::V2, ProxyVersion::V2Tls] {
            let bytes = of_client(version, None);
            let mut reading = &bytes[..];
            let read = local(proxy_protocol::read(&mut reading)).expect("a header");
            assert_eq!((read, reading), (None, &b""[..]), "{version:?}");
        }
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let mapped = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let (client, server) = (
            mapped("[::ffff:192.0.2.1]:7"),
            mapped("[::ffff:192.0.2.2]:8"),
        );
        let written = header(ProxyVersion::V1, client, server);
        assert_eq!(written, b"PROXY TCP4 192.0.2.1 192.0.2.2 7 8\r\n");
    }
}
