//! The exchange of one DNS message with one server, over UDP and TCP.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

/// The time limit for the reply to one datagram, and the number of datagrams that are sent.
const DATAGRAM_WAIT: Duration = Duration::from_secs(2);
const DATAGRAMS: usize = 2;
/// The time limits for a TCP connection and for the reply on it.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
const STREAM_WAIT: Duration = Duration::from_secs(5);
/// The length of the header (RFC 1035 section 4.1.1), and the bits QR (is a reply) and TC (is
/// truncated) in its third byte.
const HEADER: usize = 12;
const QR: u8 = 0x80;
const TC: u8 = 0x02;

/// The protocol that is tried first. The other one is tried if it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// UDP, for queries.
    Udp,
    /// TCP, for updates, which should be sent only once.
    Tcp,
}

/// Creates a query without recursion.
pub(super) fn question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name.clone(), kind));
    message
}

/// Queries one server for its own records.
pub(super) async fn query(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
) -> io::Result<Message> {
    let message = question(name, kind);
    let bytes = message.to_vec().map_err(io::Error::other)?;
    let reply = exchange(server, &bytes, First::Udp).await?;
    parse(&message, &reply)
}

/// Parses the reply to a message. Servers may leave out the question.
pub(super) fn parse(message: &Message, reply: &[u8]) -> io::Result<Message> {
    let reply = Message::from_vec(reply).map_err(io::Error::other)?;
    if !reply.queries.is_empty() && reply.queries != message.queries {
        return Err(io::Error::other("the reply is to another question"));
    }
    Ok(reply)
}

/// Sends a message and returns the bytes of the reply, whatever its response code. Bounded in time.
pub(super) async fn exchange(
    server: SocketAddr,
    message: &[u8],
    first: First,
) -> io::Result<Vec<u8>> {
    match first {
        First::Udp => match datagram(server, message).await {
            Ok(reply) if reply[2] & TC == 0 => Ok(reply),
            _ => stream(server, message).await,
        },
        First::Tcp => match stream(server, message).await {
            Ok(reply) => Ok(reply),
            Err(error) => datagram(server, message).await.map_err(|_| error),
        },
    }
}

fn is_reply_to(message: &[u8], reply: &[u8]) -> bool {
    reply.len() >= HEADER && reply[..2] == message[..2] && reply[2] & QR != 0
}

async fn datagram(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let from: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(from).await?;
    socket.connect(server).await?;
    let mut buffer = vec![0; 4096];
    for _ in 0..DATAGRAMS {
        socket.send(message).await?;
        let reply = timeout(DATAGRAM_WAIT, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if is_reply_to(message, &buffer[..length]) {
                    return io::Result::Ok(length);
                }
            }
        });
        if let Ok(length) = reply.await {
            buffer.truncate(length?);
            return Ok(buffer);
        }
    }

    Err(late())
}

async fn stream(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = timeout(CONNECT_WAIT, TcpStream::connect(server))
        .await
        .map_err(|_| late())??;
    let talk = async {
        let length = u16::try_from(message.len()).map_err(io::Error::other)?;
        let mut packet = length.to_be_bytes().to_vec();
        packet.extend_from_slice(message);
        stream.write_all(&packet).await?;
        let mut reply = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut reply).await?;
        if is_reply_to(message, &reply) {
            Ok(reply)
        } else {
            Err(io::Error::other("the message is not a reply"))
        }
    };
    timeout(STREAM_WAIT, talk).await.map_err(|_| late())?
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no reply in time")
}
