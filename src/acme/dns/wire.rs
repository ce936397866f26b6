//! One DNS message to one server and its answer, by UDP and TCP.

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

/// How long one datagram is waited for, and how many are sent.
const DATAGRAM_WAIT: Duration = Duration::from_secs(2);
const DATAGRAMS: usize = 2;
/// How long a TCP connection may take, and the answer on it.
const CONNECT_WAIT: Duration = Duration::from_secs(3);
const STREAM_WAIT: Duration = Duration::from_secs(5);
/// RFC 1035 4.1.1: the header, which has the ID first, then QR (an answer), OPCODE, AA, TC (cut
/// off), RD.
const HEADER: usize = 12;
const QR: u8 = 0x80;
const TC: u8 = 0x02;

/// What is tried first; the other one follows when that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// For questions.
    Udp,
    /// For changes, which are to be sent once if that is possible.
    Tcp,
}

/// A question for `server` itself: no recursion.
pub(super) fn question(name: &Name, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name.clone(), kind));
    message
}

/// Asks one server for what it has itself.
pub(super) async fn ask(server: SocketAddr, name: &Name, kind: RecordType) -> io::Result<Message> {
    let message = question(name, kind);
    let bytes = message.to_vec().map_err(io::Error::other)?;
    let answer = exchange(server, &bytes, First::Udp).await?;
    parse(&message, &answer)
}

/// Reads the answer to a message. Servers may leave out the question.
pub(super) fn parse(message: &Message, answer: &[u8]) -> io::Result<Message> {
    let answer = Message::from_vec(answer).map_err(io::Error::other)?;
    if !answer.queries.is_empty() && answer.queries != message.queries {
        return Err(io::Error::other("the answer is to another question"));
    }
    Ok(answer)
}

/// Sends a message and gives back the bytes of its answer, whatever that says. Bounded in time.
pub(super) async fn exchange(
    server: SocketAddr,
    message: &[u8],
    first: First,
) -> io::Result<Vec<u8>> {
    match first {
        First::Udp => match datagram(server, message).await {
            Ok(answer) if answer[2] & TC == 0 => Ok(answer),
            _ => stream(server, message).await,
        },
        First::Tcp => match stream(server, message).await {
            Ok(answer) => Ok(answer),
            Err(error) => datagram(server, message).await.map_err(|_| error),
        },
    }
}

fn answers(message: &[u8], answer: &[u8]) -> bool {
    answer.len() >= HEADER && answer[..2] == message[..2] && answer[2] & QR != 0
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
        let answer = timeout(DATAGRAM_WAIT, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                if answers(message, &buffer[..length]) {
                    return io::Result::Ok(length);
                }
            }
        });
        if let Ok(length) = answer.await {
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
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        if answers(message, &answer) {
            Ok(answer)
        } else {
            Err(io::Error::other("not an answer"))
        }
    };
    timeout(STREAM_WAIT, talk).await.map_err(|_| late())?
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer")
}
