//! Control messages of datagrams (cmsg(3)): the address of this machine, and the length of each of
//! several datagrams in one piece.

use std::net::{IpAddr, Ipv4Addr};

/// Room for the control messages of a piece.
pub(super) const ROOM: usize = 128;
/// The header of a control message: its length, level and type.
pub(super) const HEADER: usize = size_of::<usize>() + 8;

/// The facts that control messages tell about a piece that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The address of this machine that it was sent to; unspecified if the system does not tell.
    pub(super) to: IpAddr,
    /// The length of each datagram in it, but for the last; `None` if there is one alone.
    pub(super) segment: Option<usize>,
}

impl Told {
    /// Reads the messages of the system.
    pub(super) fn read(mut messages: &[u8]) -> Self {
        let mut told = Self {
            to: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            segment: None,
        };
        while let Some(rest) = told.read_one(messages) {
            messages = rest;
        }
        told
    }

    /// Reads the first message. Returns the others.
    fn read_one<'a>(&mut self, messages: &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = messages.split_first_chunk()?;
        let length = usize::from_ne_bytes(*length);
        let (level, rest) = rest.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let data = messages.get(HEADER..length)?;

        match (i32::from_ne_bytes(*level), i32::from_ne_bytes(*kind)) {
            // After the interface comes the local address that an answer is sent from.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let address: &[u8; 4] = data.get(4..)?.first_chunk()?;
                self.to = IpAddr::from(*address);
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let address: &[u8; 16] = data.first_chunk()?;
                self.to = IpAddr::from(*address).to_canonical();
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let segment = i32::from_ne_bytes(*data.first_chunk()?);
                self.segment = usize::try_from(segment).ok().filter(|length| *length > 0);
            }
            _ => {}
        }
        messages.get(length.next_multiple_of(size_of::<usize>())..)
    }
}

/// Control messages for a piece that is sent.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    bytes: [u8; ROOM],
    length: usize,
}

impl Asked {
    /// Creates those of a piece that asks for nothing.
    pub(super) const fn new() -> Self {
        Self {
            bytes: [0; ROOM],
            length: 0,
        }
    }

    /// Asks for a source, on a socket of the family of the destination.
    pub(super) fn source(&mut self, from: IpAddr, is_ipv6: bool) {
        const ANY_INTERFACE: [u8; 4] = [0; 4];
        match (is_ipv6, from) {
            (false, IpAddr::V4(from)) => {
                let parts = [&ANY_INTERFACE[..], &from.octets(), &[0; 4]];
                self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &parts);
            }
            (_, from) => {
                let from = match from {
                    IpAddr::V4(from) => from.to_ipv6_mapped(),
                    IpAddr::V6(from) => from,
                };
                let parts = [&from.octets()[..], &ANY_INTERFACE];
                self.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &parts);
            }
        }
    }

    /// Asks for datagrams of this length in place of the piece.
    pub(super) fn segment(&mut self, length: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &[&length.to_ne_bytes()]);
    }

    /// Returns the messages.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn push(&mut self, level: libc::c_int, kind: libc::c_int, data: &[&[u8]]) {
        let length = HEADER + data.iter().map(|part| part.len()).sum::<usize>();
        let header = [
            &length.to_ne_bytes()[..],
            &level.to_ne_bytes(),
            &kind.to_ne_bytes(),
        ];
        let mut at = self.length;
        for part in header.iter().chain(data) {
            let room = self.bytes.get_mut(at..at + part.len());
            room.expect("both messages fit").copy_from_slice(part);
            at += part.len();
        }
        self.length = at.next_multiple_of(size_of::<usize>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_control_messages_tell_nothing() {
        let mut source = Asked::new();
        source.source(IpAddr::from([192, 0, 2, 1]), false);
        let nothing = Told::read(&[]);
        for message in [
            &[1; 7][..],
            &[255; 64],
            &[0; 64],
            &source.bytes()[..HEADER + 7],
        ] {
            assert_eq!(Told::read(message), nothing, "{message:?}");
            let cut = &message[..message.len().min(HEADER)];
            assert_eq!(Told::read(cut), nothing, "{message:?}");
        }
    }

    #[test]
    fn all_control_messages_are_read() {
        for (from, is_ipv6) in [
            ("192.0.2.1", false),
            ("192.0.2.1", true),
            ("2001:db8::1", true),
        ] {
            let from = from.parse().expect("an address");
            let mut asked = Asked::new();
            asked.source(from, is_ipv6);
            let is_ipv4 = !is_ipv6;
            // The system gives the address of an IPv4 datagram at another place than it takes it.
            let to = if is_ipv4 {
                Told::read(asked.bytes()).to
            } else {
                from
            };
            asked.push(libc::SOL_UDP, libc::UDP_GRO, &[&1200_i32.to_ne_bytes()]);
            let expected = Told {
                to,
                segment: Some(1200),
            };
            assert_eq!(Told::read(asked.bytes()), expected);
        }
    }
}
