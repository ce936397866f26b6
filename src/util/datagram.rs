//! UDP sockets that tell which of the addresses of this machine a datagram was sent to, and send
//! the answer from that address (`IP_PKTINFO` of ip(7), `IPV6_PKTINFO` of ipv6(7)).

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::fd::{AsRawFd, RawFd},
    ptr,
};

use socket2::{MaybeUninitSlice, MsgHdr, MsgHdrMut, SockAddr, SockRef};

/// The largest datagram.
const LARGEST: usize = 65_535;
/// Room for the control message of one address.
const CONTROL: usize = 64;
/// The header of a control message: its length, level and type.
const HEADER: usize = size_of::<usize>() + 8;

/// A buffer for one datagram.
#[derive(Debug)]
pub struct DatagramBuffer {
    // Always initialized: the type is that of the system call.
    data: Box<[MaybeUninit<u8>]>,
    control: [MaybeUninit<u8>; CONTROL],
}

/// A datagram that was received.
#[derive(Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Its content.
    pub data: &'a [u8],
    /// Its sender.
    pub from: SocketAddr,
    /// The address of this machine that it was sent to; unspecified if the system does not tell.
    pub to: IpAddr,
}

impl Default for DatagramBuffer {
    fn default() -> Self {
        Self {
            data: vec![MaybeUninit::new(0); LARGEST].into(),
            control: [MaybeUninit::new(0); CONTROL],
        }
    }
}

impl DatagramBuffer {
    /// Returns the first `length` bytes.
    pub fn received(&self, length: usize) -> Option<&[u8]> {
        initialized(&self.data).get(..length)
    }

    /// Fills the buffer by `read`, which returns the number of bytes that it wrote. Returns them.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn of(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<&[u8]> {
        let length = read(initialized_mut(&mut self.data))?;
        Ok(self.received(length).unwrap_or_default())
    }
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

/// Receives a datagram.
///
/// # Errors
/// Those of recvmsg(2).
pub fn receive<'a>(
    socket: SockRef<'_>,
    buffer: &'a mut DatagramBuffer,
) -> io::Result<Datagram<'a>> {
    let mut from = SockAddr::from(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)));
    let mut parts = [MaybeUninitSlice::new(&mut buffer.data)];
    let mut message = MsgHdrMut::new()
        .with_addr(&mut from)
        .with_buffers(&mut parts)
        .with_control(&mut buffer.control);

    let length = socket.recvmsg(&mut message, 0)?;
    let control_length = message.control_len();

    let unknown = || io::Error::from(io::ErrorKind::InvalidData);
    let control = initialized(&buffer.control);
    let control = control.get(..control_length).unwrap_or_default();
    Ok(Datagram {
        data: initialized(&buffer.data)
            .get(..length)
            .ok_or_else(unknown)?,
        from: from.as_socket().ok_or_else(unknown)?,
        to: destination(control).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    })
}

/// Sends a datagram from one of the addresses of this machine. If the system refuses that address,
/// as that of a broadcast, it chooses another one.
///
/// # Errors
/// Those of sendmsg(2).
pub fn send(socket: SockRef<'_>, data: &[u8], from: IpAddr, to: SocketAddr) -> io::Result<()> {
    let parts = [IoSlice::new(data)];
    let to_address = SockAddr::from(to);
    let plain = MsgHdr::new().with_addr(&to_address).with_buffers(&parts);
    if from.is_unspecified() || from.is_multicast() {
        return socket.sendmsg(&plain, 0).map(drop);
    }

    let control = source(from, to.is_ipv6());
    let message = MsgHdr::new().with_addr(&to_address).with_buffers(&parts);
    match socket.sendmsg(&message.with_control(&control), 0) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            socket.sendmsg(&plain, 0).map(drop)
        }
        sent => sent.map(drop),
    }
}

/// Returns the control message that names the source of a datagram, for a socket of the family of
/// its destination.
fn source(from: IpAddr, is_ipv6: bool) -> Vec<u8> {
    const ANY_INTERFACE: [u8; 4] = [0; 4];
    let (level, kind, data) = match (is_ipv6, from) {
        (false, IpAddr::V4(from)) => {
            let data = [ANY_INTERFACE, from.octets(), [0; 4]].concat();
            (libc::IPPROTO_IP, libc::IP_PKTINFO, data)
        }
        (_, from) => {
            let from = match from {
                IpAddr::V4(from) => from.to_ipv6_mapped(),
                IpAddr::V6(from) => from,
            };
            let data = [&from.octets()[..], &ANY_INTERFACE].concat();
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, data)
        }
    };

    let mut message = Vec::with_capacity(CONTROL);
    message.extend((HEADER + data.len()).to_ne_bytes());
    message.extend(level.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(data);
    message.resize(message.len().next_multiple_of(size_of::<usize>()), 0);
    message
}

/// Returns the destination that control messages name.
fn destination(mut control: &[u8]) -> Option<IpAddr> {
    loop {
        let (length, rest) = control.split_first_chunk()?;
        let length = usize::from_ne_bytes(*length);
        let (level, rest) = rest.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let data = control.get(HEADER..length)?;

        match (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind)) {
            // After the interface comes the local address that an answer is sent from.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let address: &[u8; 4] = data.get(4..)?.first_chunk()?;
                return Some(IpAddr::from(*address));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let address: &[u8; 16] = data.first_chunk()?;
                return Some(IpAddr::from(*address).to_canonical());
            }
            _ => {}
        }
        control = control.get(length.next_multiple_of(size_of::<usize>())..)?;
    }
}

#[allow(unsafe_code, reason = "the system call's type has no safe way back")]
fn initialized(bytes: &[MaybeUninit<u8>]) -> &[u8] {
    // SAFETY: a `DatagramBuffer` is made with all its bytes set, and nothing unsets them.
    unsafe { &*(ptr::from_ref(bytes) as *const [u8]) }
}

#[allow(unsafe_code, reason = "the system call's type has no safe way back")]
fn initialized_mut(bytes: &mut [MaybeUninit<u8>]) -> &mut [u8] {
    // SAFETY: as above.
    unsafe { &mut *(ptr::from_mut(bytes) as *mut [u8]) }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn the_answer_comes_from_the_address_that_was_asked() {
        for (listen, asked) in [
            ("0.0.0.0:0", "127.0.0.7"),
            ("[::]:0", "127.0.0.7"),
            ("[::]:0", "::1"),
        ] {
            let Ok(server) = UdpSocket::bind(listen) else {
                continue; // A machine without IPv6.
            };
            let local = server.local_addr().expect("its address");
            tell_addresses(&server, local.is_ipv6()).expect("a known option");
            let asked: IpAddr = asked.parse().expect("an address");
            let client = UdpSocket::bind(SocketAddr::new(
                if asked.is_ipv4() {
                    IpAddr::from([127, 0, 0, 1])
                } else {
                    asked
                },
                0,
            ));
            let client = client.expect("a port");
            // Nothing but the address that was asked may answer.
            client
                .connect(SocketAddr::new(asked, local.port()))
                .expect("connected");

            let large = vec![7; 60_000];
            for sent in [&b"hello"[..], b"", &large] {
                client.send(sent).expect("sent");
                let mut buffer = DatagramBuffer::default();
                let got = receive(SockRef::from(&server), &mut buffer).expect("a datagram");
                assert_eq!((got.data, got.to), (sent, asked));
                let from = got.from;
                send(SockRef::from(&server), got.data, got.to, from).expect("answered");
                let mut echo = vec![0; LARGEST];
                let length = client.recv(&mut echo).expect("the answer");
                assert_eq!(&echo[..length], sent);
            }
        }
    }

    #[test]
    fn strange_control_messages_name_no_address() {
        for message in [
            &[][..],
            &[1; 7],
            &[255; 64],
            &[0; 64],
            &source(IpAddr::from([192, 0, 2, 1]), false)[..HEADER + 7],
        ] {
            let mut message = message.to_vec();
            assert_eq!(destination(&message), None, "{message:?}");
            message.truncate(HEADER);
            assert_eq!(destination(&message), None, "{message:?}");
        }
    }
}
