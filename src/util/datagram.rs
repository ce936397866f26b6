//! UDP sockets that tell which of the addresses of this machine a datagram was sent to, and send
//! the answer from that address (`IP_PKTINFO` of ip(7), `IPV6_PKTINFO` of ipv6(7)).
//!
//! Several datagrams come by one system call, and those that one sender sends in a row as one piece
//! (`UDP_GRO` of udp(7)), which can be sent on as one (`UDP_SEGMENT`).

mod control;

use std::{
    array,
    io::{self, IoSlice},
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    os::fd::{AsRawFd, RawFd},
    ptr,
};

use socket2::{MsgHdr, SockAddr, SockRef};
use tokio::io::{Interest, unix::AsyncFd};

use self::control::{Asked, ROOM, Told};

/// The pieces that come by one system call.
pub const BATCH: usize = 8;
/// The largest piece.
const LARGEST: usize = 65_535;
/// The size of an IPv6 address with its port: `sockaddr_in6`.
const ADDRESS: usize = 28;

/// Buffers for the pieces of one system call. Memory is taken by those alone that were filled once.
#[derive(Debug)]
pub struct DatagramBuffers {
    data: Vec<[u8; LARGEST]>,
    addresses: [[u8; ADDRESS]; BATCH],
    controls: [[u8; ROOM]; BATCH],
    /// The lengths of the data and of the control messages.
    lengths: [(usize, usize); BATCH],
    received: usize,
}

/// One datagram, or several of the same sender and the same length, but for the last one, which may
/// be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagrams<'a> {
    data: &'a [u8],
    segment: Option<usize>,
}

/// Datagrams that were received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// They themselves.
    pub datagrams: Datagrams<'a>,
    /// Their sender.
    pub from: SocketAddr,
    /// The address of this machine that they were sent to; unspecified if the system does not tell.
    pub to: IpAddr,
}

impl Default for DatagramBuffers {
    fn default() -> Self {
        Self {
            data: vec![[0; LARGEST]; BATCH],
            addresses: [[0; ADDRESS]; BATCH],
            controls: [[0; ROOM]; BATCH],
            lengths: [(0, 0); BATCH],
            received: 0,
        }
    }
}

impl DatagramBuffers {
    /// Receives what waits, as far as there are buffers. Returns true if there may be more: that
    /// nothing else waited is known otherwise.
    ///
    /// # Errors
    /// Those of recvmmsg(2).
    pub fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<bool> {
        self.received = 0;
        self.received = receive(socket.as_raw_fd(), self)?;
        Ok(self.received == BATCH)
    }

    /// Returns what was received last.
    pub fn received(&self) -> impl Iterator<Item = Received<'_>> {
        let parts = self.data.iter().zip(&self.addresses).zip(&self.controls);
        let all = parts.zip(self.lengths).take(self.received);
        all.filter_map(|(((data, address), control), (length, control_length))| {
            let told = Told::read(control.get(..control_length)?);
            Some(Received {
                datagrams: Datagrams::new(data.get(..length)?, told.segment),
                from: address_of(address)?,
                to: told.to,
            })
        })
    }
}

impl<'a> From<&'a [u8]> for Datagrams<'a> {
    fn from(data: &'a [u8]) -> Self {
        Self {
            data,
            segment: None,
        }
    }
}

impl<'a> Datagrams<'a> {
    /// Creates them from their bytes, and the length of each but the last if there are several.
    pub fn new(data: &'a [u8], length: Option<usize>) -> Self {
        Self {
            data,
            segment: length.filter(|length| (1..data.len()).contains(length)),
        }
    }

    /// Returns the bytes of all together.
    pub fn total(&self) -> usize {
        self.data.len()
    }

    /// Returns each of them.
    pub fn each(&self) -> impl Iterator<Item = &'a [u8]> {
        let length = self.segment.unwrap_or(LARGEST);
        let is_empty = self.data.is_empty();
        let empty = is_empty.then_some(self.data);
        self.data.chunks(length).chain(empty)
    }

    /// Sends them by a socket that is connected.
    ///
    /// # Errors
    /// Those of send(2): the first one, after the others were sent.
    pub fn send(&self, socket: SockRef<'_>) -> io::Result<()> {
        if let Some(segment) = self.segment() {
            let mut asked = Asked::new();
            asked.segment(segment);
            let parts = [IoSlice::new(self.data)];
            let message = MsgHdr::new().with_buffers(&parts);
            let sent = socket.sendmsg(&message.with_control(asked.bytes()), 0);
            if !cannot_split(&sent) {
                return sent.map(drop);
            }
        }
        send_all(self.each().map(|one| socket.send(one)))
    }

    /// Sends them from one of the addresses of this machine. If the system refuses that address, as
    /// that of a broadcast, it chooses another one.
    ///
    /// # Errors
    /// Those of sendmsg(2): the first one, after the others were sent.
    pub fn send_from(&self, socket: SockRef<'_>, from: IpAddr, to: SocketAddr) -> io::Result<()> {
        let address = SockAddr::from(to);
        let mut source = Asked::new();
        if !from.is_unspecified() && !from.is_multicast() {
            source.source(from, to.is_ipv6());
        }

        let send = |data: &[u8], asked: &Asked| {
            let parts = [IoSlice::new(data)];
            let message = MsgHdr::new().with_addr(&address).with_buffers(&parts);
            match asked.bytes() {
                [] => socket.sendmsg(&message, 0),
                control => socket.sendmsg(&message.with_control(control), 0),
            }
        };

        if let Some(segment) = self.segment() {
            let mut asked = source.clone();
            asked.segment(segment);
            let sent = send(self.data, &asked);
            if !cannot_split(&sent) {
                return sent.map(drop);
            }
        }

        send_all(self.each().map(|one| match send(one, &source) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => send(one, &Asked::new()),
            sent => sent,
        }))
    }

    fn segment(&self) -> Option<u16> {
        u16::try_from(self.segment?).ok()
    }
}

/// Sends all, and returns the first error.
fn send_all(sent: impl Iterator<Item = io::Result<usize>>) -> io::Result<()> {
    let mut outcome = Ok(());
    for one in sent {
        if let (Ok(()), Err(error)) = (&outcome, one) {
            outcome = Err(error);
        }
    }
    outcome
}

/// Returns true if the system cannot send a piece as several datagrams: they are larger than those
/// of the next network, or its device cannot do it.
fn cannot_split(sent: &io::Result<usize>) -> bool {
    let error = sent.as_ref().err().and_then(io::Error::raw_os_error);
    matches!(error, Some(libc::EINVAL | libc::EIO | libc::EMSGSIZE))
}

/// Lets a socket tell the address that datagrams were sent to.
///
/// # Errors
/// The system does not know the option.
pub fn tell_addresses(socket: &impl AsRawFd, is_ipv6: bool) -> io::Result<()> {
    let (level, option) = match is_ipv6 {
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
        false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
    };
    set(socket.as_raw_fd(), level, option)
}

/// Lets datagrams that one sender sends in a row come as one piece.
///
/// # Errors
/// The system does not know the option (Linux 5.0).
pub fn join_datagrams(socket: &impl AsRawFd) -> io::Result<()> {
    set(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_GRO)
}

/// Registers a socket with the reactor, for reading and errors alone.
///
/// # Errors
/// The system has no room for another one.
#[allow(unsafe_code, reason = "tokio's own type waits for writing too")]
pub fn register(socket: UdpSocket) -> io::Result<AsyncFd<UdpSocket>> {
    let interest = Interest::READABLE | Interest::ERROR;
    // SAFETY: a `UdpSocket` has one descriptor, which is open as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

#[allow(unsafe_code, reason = "there is no safe way to say it")]
fn set(socket: RawFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: it reads from a place that is ours and lasts.
    let outcome =
        unsafe { libc::setsockopt(socket, level, option, ptr::from_ref(&on).cast(), length) };
    match outcome {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Fills buffers with what waits. Returns the number of those that are filled.
#[allow(unsafe_code, reason = "there is no safe way to call it")]
fn receive(socket: RawFd, buffers: &mut DatagramBuffers) -> io::Result<usize> {
    let mut data = buffers.data.iter_mut();
    let mut parts: [libc::iovec; BATCH] = array::from_fn(|_| {
        let data = data.next().expect("as many buffers as parts");
        libc::iovec {
            iov_base: data.as_mut_ptr().cast(),
            iov_len: LARGEST,
        }
    });

    // SAFETY: all of its fields are numbers and pointers, which may be zero.
    let mut messages: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let places = buffers.addresses.iter_mut().zip(&mut buffers.controls);
    for ((message, part), (address, control)) in messages.iter_mut().zip(&mut parts).zip(places) {
        let header = &mut message.msg_hdr;
        header.msg_name = address.as_mut_ptr().cast();
        header.msg_namelen = ADDRESS as libc::socklen_t;
        (header.msg_iov, header.msg_iovlen) = (part, 1);
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = ROOM as _;
    }

    // SAFETY: each pointer leads to a place of the length beside it, and all last until it returns.
    let count = unsafe {
        let no_timeout = ptr::null_mut();
        libc::recvmmsg(socket, messages.as_mut_ptr(), BATCH as _, 0, no_timeout)
    };
    let count = usize::try_from(count).map_err(|_negative| io::Error::last_os_error())?;
    for (lengths, message) in buffers.lengths.iter_mut().zip(&messages) {
        // A datagram without its end is worse than none.
        let length = match message.msg_hdr.msg_flags & libc::MSG_TRUNC {
            0 => message.msg_len as usize,
            _ => usize::MAX,
        };
        *lengths = (length, message.msg_hdr.msg_controllen as _);
    }
    Ok(count)
}

/// Reads an address of the system: `sockaddr_in` of ip(7), `sockaddr_in6` of ipv6(7).
fn address_of(bytes: &[u8; ADDRESS]) -> Option<SocketAddr> {
    let (family, rest) = bytes.split_first_chunk()?;
    let (port, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            let address: &[u8; 4] = rest.first_chunk()?;
            Some((Ipv4Addr::from(*address), port).into())
        }
        libc::AF_INET6 => {
            let (flow, rest) = rest.split_first_chunk()?;
            let (address, rest) = rest.split_first_chunk::<16>()?;
            let (flow, scope) = (u32::from_ne_bytes(*flow), rest.first_chunk()?);
            let (address, scope) = (Ipv6Addr::from(*address), u32::from_ne_bytes(*scope));
            Some(SocketAddrV6::new(address, port, flow, scope).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a socket that waits for datagrams, as those of ports.
    fn server(listen: &str) -> Option<(UdpSocket, SocketAddr)> {
        let server = UdpSocket::bind(listen).ok()?;
        let local = server.local_addr().expect("its address");
        tell_addresses(&server, local.is_ipv6()).expect("a known option");
        join_datagrams(&server).expect("a known option");
        server.set_nonblocking(true).expect("a known option");
        Some((server, local))
    }

    /// Returns a client of an address that nothing else may answer.
    fn client(asked: IpAddr, port: u16) -> UdpSocket {
        let own = match asked {
            IpAddr::V4(_) => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(_) => asked,
        };
        let client = UdpSocket::bind((own, 0)).expect("a port");
        client.connect((asked, port)).expect("connected");
        client
    }

    /// Receives until so many bytes have come. Returns the datagrams of each piece.
    fn receive(socket: &UdpSocket, bytes: usize) -> Vec<Vec<Vec<u8>>> {
        let (mut buffers, mut pieces, mut count) = (DatagramBuffers::default(), Vec::new(), 0);
        while count < bytes {
            // All were sent by the same system, so they are here or lost.
            buffers.receive(socket).expect("datagrams");
            for one in buffers.received() {
                count += one.datagrams.total();
                pieces.push(one.datagrams.each().map(<[u8]>::to_vec).collect());
            }
        }
        pieces
    }

    #[test]
    fn the_answer_comes_from_the_address_that_was_asked() {
        for (listen, asked) in [
            ("0.0.0.0:0", "127.0.0.7"),
            ("[::]:0", "127.0.0.7"),
            ("[::]:0", "::1"),
        ] {
            let Some((server, local)) = server(listen) else {
                continue; // A machine without IPv6.
            };

            let asked: IpAddr = asked.parse().expect("an address");
            let client = client(asked, local.port());

            let large = vec![7; 60_000];
            for sent in [&b"hello"[..], b"", &large] {
                client.send(sent).expect("sent");
                let mut buffers = DatagramBuffers::default();
                assert!(!buffers.receive(&server).expect("a datagram"));
                let got: Vec<Received<'_>> = buffers.received().collect();
                assert_eq!(got.len(), 1);
                assert_eq!((got[0].datagrams, got[0].to), (sent.into(), asked));
                let answer = got[0].datagrams;
                answer
                    .send_from(SockRef::from(&server), asked, got[0].from)
                    .expect("answered");

                let mut echo = vec![0; LARGEST];
                let length = client.recv(&mut echo).expect("the answer");
                assert_eq!(&echo[..length], sent);
            }
        }
    }

    #[test]
    fn several_datagrams_come_by_one_call() {
        let (server, local) = server("127.0.0.1:0").expect("a port");
        let clients: Vec<UdpSocket> = (0..BATCH + 1)
            .map(|_| client(local.ip(), local.port()))
            .collect();

        for client in &clients {
            client.send(b"x").expect("sent");
        }
        let mut buffers = DatagramBuffers::default();
        for (count, is_full) in [(BATCH, true), (1, false)] {
            assert_eq!(buffers.receive(&server).expect("datagrams"), is_full);
            assert_eq!(buffers.received().count(), count);
        }
        let error = buffers.receive(&server).expect_err("nothing waits");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(buffers.received().count(), 0);
    }

    #[test]
    fn a_row_of_datagrams_is_sent_on_as_one_piece() {
        let (server, local) = server("127.0.0.1:0").expect("a port");
        let client = client(local.ip(), local.port());
        join_datagrams(&client).expect("a known option");
        client.set_nonblocking(true).expect("a known option");
        let data: Vec<u8> = (0..10_500_u32).map(|at| (at / 7) as u8).collect();
        let row = Datagrams::new(&data, Some(1000));
        let expected: Vec<Vec<u8>> = data.chunks(1000).map(<[u8]>::to_vec).collect();

        row.send(SockRef::from(&client)).expect("sent");
        let pieces = receive(&server, data.len());
        assert_eq!(pieces, std::slice::from_ref(&expected));

        let to = client.local_addr().expect("its address");
        let server = SockRef::from(&server);
        row.send_from(server, local.ip(), to).expect("sent");
        assert_eq!(receive(&client, data.len()), [expected]);
    }

    #[test]
    fn a_row_that_cannot_be_split_is_sent_one_by_one() {
        let (server, local) = server("127.0.0.1:0").expect("a port");
        let client = client(local.ip(), local.port());
        let data = [5; 150];
        let few = Datagrams::new(&data[..3], Some(1));
        few.send(SockRef::from(&client)).expect("sent");
        assert_eq!(receive(&server, 3), [vec![vec![5]; 3]]);

        // More datagrams than the system makes of one piece.
        let many = Datagrams::new(&data, Some(1));
        many.send(SockRef::from(&client)).expect("sent");
        let pieces = receive(&server, data.len());
        assert_eq!(pieces, vec![[[5]]; data.len()]);
    }
}
