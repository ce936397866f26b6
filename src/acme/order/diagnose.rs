//! Compares the DNS records of a name whose validation failed with the addresses of this node. The
//! result is only advice: the CA may see other records, and a node behind a router does not know
//! its public address.

use std::net::{IpAddr, UdpSocket};

use crate::acme::dns::{self, caa_allows};

/// The failed validation.
pub(crate) struct Failed<'a> {
    /// The name, without `*.`.
    pub(crate) name: &'a str,
    pub(crate) wildcard: bool,
    /// The type of the challenge that failed.
    pub(crate) method: &'a str,
    /// The port that the CA connects to, for challenges over TCP.
    pub(crate) port: Option<u16>,
    /// The names that stand for the CA in CAA records.
    pub(crate) identities: &'a [String],
}

/// Returns the findings, as sentences without a full stop. `own` are the addresses that are known
/// to lead to this node.
pub(crate) fn sentences(failed: &Failed<'_>, found: &dns::Advice, own: &[IpAddr]) -> Vec<String> {
    let mut findings = Vec::new();

    if let Some(port) = failed.port {
        let addresses = &found.addresses;
        if !addresses.is_empty() || found.addresses_known {
            findings.push(compare_addresses(failed.name, port, addresses, own));
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
        findings.push(format!(
            "the CAA records of {at} do not let {} issue",
            identities.join(" or ")
        ));
    }

    findings.extend(found.problems.iter().map(ToString::to_string));
    findings
}

/// Compares the addresses of a name with those of this node.
fn compare_addresses(name: &str, port: u16, addresses: &[IpAddr], own: &[IpAddr]) -> String {
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
        "an unknown address".to_owned()
    } else {
        list(own)
    };

    match (outside.len(), here.len()) {
        _ if addresses.is_empty() => format!("{name} has neither an A nor an AAAA record"),
        (0, _) => format!(
            "{name} points to {}, which cannot be reached from the internet; this node has \
            {have}; behind NAT the name must point to your router's address, and the router must \
            forward port {port} to this node",
            list(addresses)
        ),
        (_, 0) => format!(
            "{name} points to {}; this node has {have}; behind NAT {} must be your router's \
            address, and the router must forward port {port} to this node",
            list(addresses),
            list(&elsewhere)
        ),
        (all, here) if all == here => {
            format!(
                "{name} points to this node ({}), so port {port} must be reachable from the \
                internet",
                list(addresses)
            )
        }
        _ => format!(
            "{name} points to this node ({}) and to {}; the CA may have connected to the \
            latter, as CAs prefer IPv6; this node has {have}",
            list(&here),
            list(&elsewhere)
        ),
    }
}

/// Returns true if an interface of this node has the address. Sends nothing.
fn is_of_this_node(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Returns true if the address can only be reached from its own network (RFC 1918, RFC 3927, RFC
/// 4193, RFC 4291, RFC 6598).
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
