//! Clients that send nothing or too little, or do not read the responses: the connections that an
//! idle browser, a dead phone or an attacker leaves open. Each runs until gatelet ends it.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rustls::{ClientConnection, pki_types::ServerName};

use super::{
    frames::{DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS, block, frame},
    http::client_config,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const ACK: u8 = 1;
/// The number of responses that are requested and not read, and the size of each: far more than
/// sockets hold.
const ANSWERS: u32 = 60;
const SIZE: u32 = 4 << 20;

/// The settings of gatelet that end connections.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    pub handshake: Duration,
    pub header: Duration,
    pub idle: Duration,
    pub stream: Duration,
}

/// The connection of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Plain,
    /// With TLS, and this protocol by ALPN.
    Tls(&'static str),
}

/// A kind of client.
#[derive(Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub transport: Transport,
    /// The time at which gatelet has to end it, or all its requests.
    pub ends_after: fn(&Timeouts) -> Duration,
    act: fn(&mut Wire, &str) -> io::Result<()>,
}

/// The end of a client.
#[derive(Debug)]
pub struct Ended {
    pub kind: Kind,
    pub after: Duration,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({:?})", self.name, self.transport)
    }
}

impl Default for Timeouts {
    /// The defaults of gatelet.
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            handshake: seconds(10),
            header: seconds(30),
            idle: seconds(75),
            stream: seconds(300),
        }
    }
}

/// Every kind over every transport that it can have.
pub fn kinds() -> Vec<Kind> {
    type Act = fn(&mut Wire, &str) -> io::Result<()>;
    type Ends = fn(&Timeouts) -> Duration;
    let header: Ends = |timeouts| timeouts.header;
    let idle: Ends = |timeouts| timeouts.idle;
    let stream: Ends = |timeouts| timeouts.stream;
    let at_once: Ends = |_| Duration::ZERO;

    let http1: [(&str, Ends, Act); 8] = [
        ("says nothing", header, |wire, _| wire.drain()),
        ("asks once and is idle", idle, |wire, host| {
            wire.write_all(&get(host, "/"))?;
            wire.drain()
        }),
        ("sends half a head", header, |wire, host| {
            wire.write_all(&get(host, "/")[..20])?;
            wire.drain()
        }),
        ("sends a head slowly", header, |wire, host| {
            for byte in get(host, "/").chunks(1).cycle() {
                wire.write_all(byte)?;
                wire.listen(Duration::from_millis(1900))?;
            }
            Ok(())
        }),
        (
            "sends two requests and half a third",
            header,
            |wire, host| {
                let request = get(host, "/");
                wire.write_all(&[&request[..], &request, &request[..20]].concat())?;
                wire.drain()
            },
        ),
        ("sends half a body", stream, |wire, host| {
            let head =
                format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1000\r\n\r\nbegin");
            wire.write_all(head.as_bytes())?;
            wire.drain()
        }),
        ("reads no response", stream, |wire, host| {
            let request = get(host, &format!("/bytes/{SIZE}"));
            wire.write_all(&request.repeat(ANSWERS as usize))?;
            wire.wait_unread()
        }),
        ("ends its direction", at_once, |wire, host| {
            wire.write_all(&get(host, "/"))?;
            wire.end()?;
            wire.drain()
        }),
    ];

    let http2: [(&str, Ends, Act); 11] = [
        ("says nothing", header, |wire, _| wire.drain()),
        ("sends half the preface", header, |wire, _| {
            wire.write_all(&PREFACE[..10])?;
            wire.drain()
        }),
        ("sends the preface alone", header, |wire, _| {
            wire.write_all(PREFACE)?;
            wire.drain()
        }),
        (
            "sends settings and acknowledges nothing",
            header,
            |wire, _| {
                wire.begin(&[])?;
                wire.drain()
            },
        ),
        ("sends settings and acknowledges all", header, |wire, _| {
            wire.begin(&[])?;
            wire.acknowledge()
        }),
        ("asks once and acknowledges all", idle, |wire, host| {
            wire.begin(&[])?;
            wire.request(host, 1, "/", true)?;
            wire.acknowledge()
        }),
        ("asks once and acknowledges nothing", idle, |wire, host| {
            wire.begin(&[])?;
            wire.request(host, 1, "/", true)?;
            wire.drain()
        }),
        ("sends half a head", header, |wire, host| {
            wire.begin(&[])?;
            // No other frame may follow before the end of the field block.
            wire.write_all(&frame(HEADERS, END_STREAM, 1, &fields(host, "/")))?;
            wire.drain()
        }),
        ("sends half a body", stream, |wire, host| {
            wire.begin(&[])?;
            wire.request(host, 1, "/", false)?;
            wire.write_all(&frame(DATA, 0, 1, b"begin"))?;
            wire.acknowledge_until(1)
        }),
        (
            "reads no response and acknowledges all",
            stream,
            |wire, host| {
                // No stream has a window.
                wire.begin(&[(4, 0)])?;
                for stream in 0..ANSWERS {
                    wire.request(host, 2 * stream + 1, &format!("/bytes/{SIZE}"), true)?;
                }
                wire.acknowledge_until(ANSWERS)
            },
        ),
        ("reads no response", stream, |wire, host| {
            wire.begin(&[(4, 1 << 24)])?;
            wire.write_all(&frame(
                super::frames::WINDOW_UPDATE,
                0,
                0,
                &(1_u32 << 30).to_be_bytes(),
            ))?;
            for stream in 0..ANSWERS {
                wire.request(host, 2 * stream + 1, &format!("/bytes/{SIZE}"), true)?;
            }
            wire.wait_unread()
        }),
    ];

    let mut kinds = vec![Kind {
        name: "says nothing before TLS",
        transport: Transport::Tls(""),
        ends_after: |timeouts| timeouts.handshake,
        act: |wire, _| wire.drain(),
    }];
    let mut add = |transports: [Transport; 2],
                   (name, ends_after, act): (&'static str, Ends, Act)| {
        kinds.extend(transports.map(|transport| Kind {
            name,
            transport,
            ends_after,
            act,
        }));
    };
    http1
        .into_iter()
        .for_each(|kind| add([Transport::Plain, Transport::Tls("http/1.1")], kind));
    http2
        .into_iter()
        .for_each(|kind| add([Transport::Plain, Transport::Tls("h2")], kind));
    kinds
}

impl Kind {
    /// Runs a client until its connection ends; `None` if that takes longer than `patience`.
    pub fn run(
        self,
        http: SocketAddr,
        https: SocketAddr,
        host: &str,
        patience: Duration,
    ) -> Option<Ended> {
        let addr = if self.transport == Transport::Plain {
            http
        } else {
            https
        };
        let mut wire = Wire::connect(addr, self.transport, host).ok()?;
        let began = Instant::now();
        wire.gives_up = began + patience;
        // Any end counts, a reset too.
        let _ = (self.act)(&mut wire, host);
        (Instant::now() < wire.gives_up).then(|| Ended {
            kind: self,
            after: began.elapsed(),
        })
    }
}

/// A connection that is watched for its end.
struct Wire {
    tcp: TcpStream,
    tls: Option<ClientConnection>,
    gives_up: Instant,
}

fn get(host: &str, path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes()
}

fn fields(host: &str, path: &str) -> Vec<u8> {
    block(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", path),
        (":authority", host),
    ])
}

impl Wire {
    fn connect(addr: SocketAddr, transport: Transport, host: &str) -> io::Result<Self> {
        let mut tcp = TcpStream::connect(addr)?;
        tcp.set_nodelay(true)?;
        let mut tls = match transport {
            Transport::Plain | Transport::Tls("") => None,
            Transport::Tls(protocol) => {
                let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
                let config = Arc::new(client_config(&[protocol]));
                Some(ClientConnection::new(config, name).map_err(io::Error::other)?)
            }
        };
        if let Some(tls) = &mut tls {
            while tls.is_handshaking() {
                tls.complete_io(&mut tcp)?;
            }
        }
        tcp.set_read_timeout(Some(Duration::from_millis(200)))?;
        Ok(Self {
            tcp,
            tls,
            gives_up: Instant::now(),
        })
    }

    fn begin(&mut self, settings: &[(u16, u32)]) -> io::Result<()> {
        let settings: Vec<u8> = settings
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        self.write_all(PREFACE)?;
        self.write_all(&frame(SETTINGS, 0, 0, &settings))
    }

    fn request(&mut self, host: &str, stream: u32, path: &str, ends: bool) -> io::Result<()> {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.write_all(&frame(HEADERS, flags, stream, &fields(host, path)))
    }

    /// Ends the client's direction.
    fn end(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            tls.write_tls(&mut self.tcp)?;
        }
        self.tcp.shutdown(Shutdown::Write)
    }

    /// Reads for this long; the end of the stream is an error.
    fn listen(&mut self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.read_some(&mut [0; 4096])?;
        }
        Ok(())
    }

    /// Reads and discards everything until the end.
    fn drain(&mut self) -> io::Result<()> {
        loop {
            self.read_some(&mut [0; 4096])?;
        }
    }

    /// Reads nothing until the server is gone.
    fn wait_unread(&self) -> io::Result<()> {
        // An error on the socket, such as a reset, shows without reading.
        while Instant::now() < self.gives_up {
            if let Some(error) = self.tcp.take_error()? {
                return Err(error);
            }
            if has_ended(&self.tcp) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }

    /// Answers PING and SETTINGS until the end.
    fn acknowledge(&mut self) -> io::Result<()> {
        self.acknowledge_until(u32::MAX)
    }

    /// The same until this many streams have ended.
    fn acknowledge_until(&mut self, streams: u32) -> io::Result<()> {
        let mut seen = Vec::new();
        let mut over = 0;
        while over < streams {
            let mut buffer = [0; 4096];
            let n = self.read_some(&mut buffer)?;
            seen.extend_from_slice(&buffer[..n]);

            while let Some(length) = frame_length(&seen) {
                let (kind, flags) = (seen[3], seen[4]);
                match kind {
                    SETTINGS if flags & ACK == 0 => {
                        self.write_all(&frame(SETTINGS, ACK, 0, &[]))?;
                    }
                    PING if flags & ACK == 0 => {
                        self.write_all(&frame(PING, ACK, 0, &seen[9..length]))?;
                    }
                    RST_STREAM => over += 1,
                    DATA | HEADERS if flags & END_STREAM != 0 && streams != u32::MAX => over += 1,
                    _ => {}
                }
                seen.drain(..length);
            }
        }
        Ok(())
    }

    /// Reads the bytes that arrive within a moment, perhaps none. The end of the stream is an
    /// error, and so is the end of the time limit.
    fn read_some(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if Instant::now() >= self.gives_up {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let read = match &mut self.tls {
            None => self.tcp.read(buffer),
            Some(tls) => rustls::Stream::new(tls, &mut self.tcp).read(buffer),
        };
        match read {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                ) =>
            {
                Ok(0)
            }
            other => other,
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            None => self.tcp.write_all(bytes),
            Some(tls) => {
                let mut stream = rustls::Stream::new(tls, &mut self.tcp);
                stream.write_all(bytes)?;
                stream.flush()
            }
        }
    }
}

/// Returns the length of the first frame once it is complete.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let [a, b, c, ..] = *bytes else { return None };
    let length = 9 + (usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c));
    (bytes.len() >= length).then_some(length)
}

/// Returns whether the server's end of a connection is closed. The client's end cannot tell before
/// it has read everything.
fn has_ended(tcp: &TcpStream) -> bool {
    let (Ok(client), Ok(server)) = (tcp.local_addr(), tcp.peer_addr()) else {
        return true;
    };
    !open_connections(server.port()).contains(&client.port())
}

/// The ports of the clients whose connections a server on this port of IPv4 has not closed, as the
/// kernel lists them.
pub fn open_connections(server: u16) -> Vec<u16> {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let port = |addr: &str| u16::from_str_radix(addr.rsplit_once(':')?.1, 16).ok();
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the kernel's table");

    let rows = table.lines().filter_map(|line| {
        // number, local address, remote address, state
        let mut row = line.split_whitespace().skip(1);
        let (local, remote, state) = (row.next()?, row.next()?, row.next()?);
        let open = [ESTABLISHED, CLOSE_WAIT].contains(&state) && port(local) == Some(server);
        open.then(|| port(remote)).flatten()
    });
    rows.collect()
}
