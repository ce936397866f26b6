//! The PROXY protocol, versions 1 and 2 (HAProxy's `doc/proxy-protocol.txt`): the address of the
//! client behind a layer-4 load balancer.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::proxy::proxy_header::Extensions;

/// The start of every header of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, with its CR LF.
const MAX_LINE: usize = 107;
/// The most bytes of addresses and extensions in version 2.
const MAX_V2: usize = 4096;

/// The addresses in a header: the client, and the address it connected to. `None` if the proxy
/// speaks for itself (a health check) or does not know them.
pub(crate) type Addresses = Option<(SocketAddr, SocketAddr)>;

/// Reads the header, and not one byte more.
///
/// # Errors
///
/// `InvalidData` with the reason if the header is missing or malformed.
pub(crate) async fn read<I: AsyncRead + Unpin>(io: &mut I) -> io::Result<Addresses> {
    read_all(io).await.map(|(addresses, _)| addresses)
}

/// The same, with what the header says about the client's TLS.
pub(crate) async fn read_all<I: AsyncRead + Unpin>(
    io: &mut I,
) -> io::Result<(Addresses, Extensions)> {
    let mut start = [0; SIGNATURE.len()];
    io.read_exact(&mut start).await?;
    if start == SIGNATURE {
        return version_2(io).await;
    }
    if !start.starts_with(b"PROXY ") {
        return Err(bad("no PROXY protocol header"));
    }
    // Byte by byte: the bytes after the line belong to TLS or HTTP.
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() >= MAX_LINE {
            return Err(bad("PROXY line too long"));
        }
        line.push(io.read_u8().await?);
    }
    let addresses = version_1(&line[..line.len() - 2])?;
    Ok((addresses, Extensions::default()))
}

fn version_1(line: &[u8]) -> io::Result<Addresses> {
    let line = std::str::from_utf8(line).map_err(|_not| bad("PROXY line is not text"))?;
    let mut words = line.split(' ').skip(1);
    let mut word = || words.next().ok_or_else(|| bad("PROXY line too short"));

    let v6 = match word()? {
        "UNKNOWN" => return Ok(None),
        "TCP4" => false,
        "TCP6" => true,
        _ => return Err(bad("unknown protocol in PROXY line")),
    };
    let ip = |text: &str| match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv6() == v6 => Ok(ip),
        _ => Err(bad("bad address in PROXY line")),
    };
    let port = |text: &str| {
        text.parse::<u16>()
            .map_err(|_not| bad("bad port in PROXY line"))
    };

    let (from, to) = (ip(word()?)?, ip(word()?)?);
    let (from_port, to_port) = (port(word()?)?, port(word()?)?);
    if words.next().is_some() {
        return Err(bad("PROXY line too long"));
    }
    Ok(Some((
        SocketAddr::new(from, from_port),
        SocketAddr::new(to, to_port),
    )))
}

async fn version_2<I: AsyncRead + Unpin>(io: &mut I) -> io::Result<(Addresses, Extensions)> {
    let (command, family, length) = (
        io.read_u8().await?,
        io.read_u8().await?,
        usize::from(io.read_u16().await?),
    );
    if length > MAX_V2 {
        return Err(bad("PROXY header too long"));
    }

    let mut rest = vec![0; length];
    io.read_exact(&mut rest).await?;

    match command {
        0x20 => return Ok((None, Extensions::default())),
        0x21 => {}
        _ => return Err(bad("unknown version or command in PROXY header")),
    }

    let short = || bad("PROXY header too short");
    let (addresses, extensions) = match family {
        0x11 => {
            let (addresses, extensions) = rest.split_at_checked(12).ok_or_else(short)?;
            let (ips, ports) = addresses.split_at(8);
            let ip = |at: usize| {
                IpAddr::V4(Ipv4Addr::new(
                    ips[at],
                    ips[at + 1],
                    ips[at + 2],
                    ips[at + 3],
                ))
            };
            (ends(ip(0), ip(4), ports), extensions)
        }
        0x21 => {
            let (addresses, extensions) = rest.split_at_checked(36).ok_or_else(short)?;
            let (ips, ports) = addresses.split_at(32);
            let ip = |at: usize| {
                let bytes = <[u8; 16]>::try_from(&ips[at..at + 16]).unwrap_or_default();
                IpAddr::V6(Ipv6Addr::from(bytes))
            };
            (ends(ip(0), ip(16), ports), extensions)
        }
        // Unspecified, datagrams, Unix sockets: the client of this connection cannot be one of
        // these.
        _ => return Ok((None, Extensions::default())),
    };
    let extensions = Extensions::parse(extensions);
    let extensions = extensions.ok_or_else(|| bad("bad extension in PROXY header"))?;
    Ok((Some(addresses), extensions))
}

fn ends(from: IpAddr, to: IpAddr, ports: &[u8]) -> (SocketAddr, SocketAddr) {
    let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
    (SocketAddr::new(from, port(0)), SocketAddr::new(to, port(2)))
}

fn bad(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests;
