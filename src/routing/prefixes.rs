//! A set of networks that addresses are looked up in. It holds sorted ranges, so that a lookup
//! among thousands of networks is a dozen comparisons.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// The bits of an IPv6 address before those of an IPv4 address mapped into it.
const MAPPED: u8 = 96;

/// A set of networks. A mapped IPv4 address (`::ffff:192.0.2.1`) is the same as the plain one, in
/// networks and in addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Prefixes {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Prefixes {
    /// Reports whether one of the networks has the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => has(&self.v4, address.to_bits()),
            IpAddr::V6(address) => has(&self.v6, address.to_bits()),
        }
    }

    /// Returns true if no address is in it.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

impl FromIterator<IpNet> for Prefixes {
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            let (first, last) = (network.network(), network.broadcast());
            match (first, last) {
                (IpAddr::V4(first), IpAddr::V4(last)) => v4.push((first.to_bits(), last.to_bits())),
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    match mapped(first, last, network.prefix_len()) {
                        Some(range) => v4.push(range),
                        None => v6.push((first.to_bits(), last.to_bits())),
                    }
                }
                // Both ends of a network are of one family.
                _ => {}
            }
        }

        Self {
            v4: merge(v4),
            v6: merge(v6),
        }
    }
}

/// Returns the range of IPv4 addresses that a network of mapped ones stands for.
fn mapped(first: Ipv6Addr, last: Ipv6Addr, length: u8) -> Option<(u32, u32)> {
    if length < MAPPED {
        return None;
    }
    let (first, last) = (first.to_ipv4_mapped()?, last.to_ipv4_mapped()?);
    Some((first.to_bits(), last.to_bits()))
}

/// Sorts ranges, and makes one of those that overlap.
fn merge<T: Ord + Copy>(mut ranges: Vec<(T, T)>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut merged: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

fn has<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    after > 0 && address <= ranges[after - 1].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(networks: &[&str]) -> Prefixes {
        let networks = networks.iter().map(|one| one.parse().expect("a network"));
        networks.collect()
    }

    fn has(prefixes: &Prefixes, address: &str) -> bool {
        prefixes.contains(address.parse().expect("an address"))
    }

    #[test]
    fn an_address_is_found_in_its_network_only() {
        let prefixes = set(&[
            "10.0.0.0/8",
            "192.0.2.7/32",
            "10.1.0.0/16",
            "2001:db8::/32",
            "172.16.5.9/12",
        ]);
        for (address, expected) in [
            ("10.0.0.0", true),
            ("10.255.255.255", true),
            ("11.0.0.0", false),
            ("9.255.255.255", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::1", false),
        ] {
            assert_eq!(has(&prefixes, address), expected, "{address}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_plain_one() {
        let plain = set(&["192.0.2.0/24"]);
        assert!(has(&plain, "::ffff:192.0.2.1"));
        let mapped = set(&["::ffff:192.0.2.0/120"]);
        assert!(has(&mapped, "192.0.2.1") && !has(&mapped, "192.0.3.1"));
        assert_eq!(mapped, plain);
        assert!(has(&set(&["::ffff:0:0/96"]), "203.0.113.1"));
    }

    #[test]
    fn a_network_of_one_family_has_no_address_of_the_other() {
        assert!(!has(&set(&["0.0.0.0/0"]), "2001:db8::1"));
        assert!(!has(&set(&["::/0"]), "192.0.2.1"));
        assert!(!has(&set(&[]), "192.0.2.1") && set(&[]).is_empty());
    }

    proptest::proptest! {
        /// A lookup finds what a comparison with each network finds.
        #[test]
        fn a_lookup_equals_a_walk(
            networks in proptest::collection::vec((0_u32..64, 24_u8..=32), 0..30),
            address in 0_u32..0x4000,
        ) {
            let networks: Vec<IpNet> = networks
                .iter()
                .map(|(bits, length)| {
                    let address = IpAddr::from((bits << 8).to_be_bytes());
                    IpNet::new(address, *length).expect("a network")
                })
                .collect();
            let address = IpAddr::from(address.to_be_bytes());
            let expected = networks.iter().any(|network| network.contains(&address));
            let prefixes: Prefixes = networks.into_iter().collect();
            proptest::prop_assert_eq!(prefixes.contains(address), expected);
        }
    }
}
