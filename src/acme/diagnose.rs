//! What DNS says of a name that a CA did not accept, beside what this node knows of itself. Never
//! more than advice: DNS may say something else to the CA, and a node behind a router does not know
//! by which address it is reached.

use std::net::{IpAddr, UdpSocket};

use super::dns::{self, caa_allows};

/// What the advice is about.
pub(super) struct Failed<'a> {
    /// The name, without `*.`.
    pub(super) name: &'a str,
    pub(super) wildcard: bool,
    /// The challenge that failed.
    pub(super) method: &'a str,
    /// The port that the CA comes to, where it comes at all.
    pub(super) port: Option<u16>,
    /// The names that the CA goes by in CAA records.
    pub(super) identities: &'a [String],
}

/// All that can be said, in sentences without end. `own` are the addresses that are known to lead
/// here.
pub(super) fn sentences(failed: &Failed<'_>, found: &dns::Advice, own: &[IpAddr]) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(port) = failed.port {
        let v6 = found.ipv6.iter().copied().map(IpAddr::V6);
        let addresses: Vec<IpAddr> = v6
            .chain(found.ipv4.iter().copied().map(IpAddr::V4))
            .collect();
        if !addresses.is_empty() || found.addresses_known {
            said.push(whereto(failed.name, port, &addresses, own));
        }
    }
    let identities: Vec<&str> = failed.identities.iter().map(String::as_str).collect();
    if !identities.is_empty()
        && !caa_allows(
            &found.caa,
            &identities,
            failed.wildcard,
            None,
            failed.method,
        )
    {
        let at = found.caa_at.as_deref().unwrap_or(failed.name);
        said.push(format!(
            "the CAA records of {at} do not let {} issue",
            identities.join(" or ")
        ));
    }
    said.extend(found.problems.iter().map(ToString::to_string));
    said
}

/// Where a name leads, and where it should.
fn whereto(name: &str, port: u16, addresses: &[IpAddr], own: &[IpAddr]) -> String {
    let outside: Vec<IpAddr> = addresses
        .iter()
        .copied()
        .filter(|address| !is_private(*address))
        .collect();
    let (here, elsewhere): (Vec<IpAddr>, Vec<IpAddr>) = outside
        .iter()
        .partition(|address| own.contains(address) || is_of_this_node(**address));
    let list = |addresses: &[IpAddr]| {
        addresses
            .iter()
            .map(IpAddr::to_string)
            .collect::<Vec<_>>()
            .join(" and ")
    };
    let have = if own.is_empty() {
        "an address that is not known".to_owned()
    } else {
        list(own)
    };
    match (outside.len(), here.len()) {
        _ if addresses.is_empty() => format!("{name} has neither an A nor an AAAA record"),
        (0, _) => format!(
            "{name} points to {}, which nobody outside reaches; this node has {have}; behind NAT the name must point to \
             your router's address, and port {port} of that lead here",
            list(addresses)
        ),
        (_, 0) => format!(
            "{name} points to {}; this node has {have}; behind NAT {} must be your router's address, and port {port} of \
             it lead here",
            list(addresses),
            list(&elsewhere)
        ),
        (all, here) if all == here => {
            format!(
                "{name} points here ({}), so port {port} has to be open from outside",
                list(addresses)
            )
        }
        _ => format!(
            "{name} points here ({}) and to {}, where the CA may have gone, to IPv6 first; this node has {have}",
            list(&here),
            list(&elsewhere)
        ),
    }
}

/// Whether an interface of this node has the address. Nothing is sent.
fn is_of_this_node(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Whether it is of no use to who is not in the same network (RFC 1918, RFC 3927, RFC 4193, RFC
/// 4291, RFC 6598).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || shared
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_unique_local()
                || v6.is_unicast_link_local()
        }
    }
}

#[cfg(test)]
mod tests;
