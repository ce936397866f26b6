use super::*;
use crate::acme::dns::Caa;

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn said(addresses: &[&str], own: &[&str]) -> String {
    let mut addresses: Vec<IpAddr> = addresses.iter().map(|text| address(text)).collect();
    addresses.sort_by_key(IpAddr::is_ipv4);
    let found = dns::Advice {
        addresses,
        addresses_known: true,
        ..dns::Advice::default()
    };

    let failed = Failed {
        name: "a.test",
        wildcard: false,
        method: "http-01",
        port: Some(80),
        identities: &["ca.test".to_owned()],
    };
    let own: Vec<IpAddr> = own.iter().map(|text| address(text)).collect();
    sentences(&failed, &found, &own).join("; ")
}

#[test]
fn a_names_addresses_are_compared_with_this_node() {
    for (addresses, own, expected) in [
        (
            &[][..],
            &["192.0.2.1"][..],
            "a.test has neither an A nor an AAAA record",
        ),
        (
            &["203.0.113.7"],
            &["192.168.1.5"],
            "a.test points to 203.0.113.7; this node has 192.168.1.5; behind NAT 203.0.113.7 must \
            be your router's address, and the router must forward port 80 to this node",
        ),
        (
            &["192.168.1.5"],
            &["192.168.1.5"],
            "a.test points to 192.168.1.5, which cannot be reached from the internet; this node \
            has 192.168.1.5; behind NAT the name must point to your router's address, and the \
            router must forward port 80 to this node",
        ),
        (
            &["192.0.2.1", "2001:db8::1"],
            &["192.0.2.1", "2001:db8::1"],
            "a.test points to this node (2001:db8::1 and 192.0.2.1), so port 80 must be reachable \
            from the internet",
        ),
        (
            &["192.0.2.1", "2001:db8::9"],
            &["192.0.2.1"],
            "a.test points to this node (192.0.2.1) and to 2001:db8::9; the CA may have connected \
            to the latter, as CAs prefer IPv6; this node has 192.0.2.1",
        ),
        (
            &["203.0.113.7"],
            &[],
            "a.test points to 203.0.113.7; this node has an unknown address; behind NAT \
            203.0.113.7 must be your router's address, and the router must forward port 80 to \
            this node",
        ),
    ] {
        assert_eq!(said(addresses, own), expected);
    }
}

#[test]
fn private_addresses_are_recognized() {
    for text in [
        "10.1.2.3",
        "127.0.0.1",
        "169.254.1.1",
        "100.64.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
    ] {
        assert!(is_private(address(text)), "{text}");
    }

    for text in ["100.128.0.1", "172.32.0.1", "198.51.100.1", "2001:db8::1"] {
        assert!(!is_private(address(text)), "{text}");
    }
    assert!(is_of_this_node(address("127.0.0.1")) && !is_of_this_node(address("203.0.113.7")));
}

#[test]
fn caa_records_that_exclude_the_ca_are_reported() {
    let caa = vec![Caa {
        critical: false,
        tag: "issue".to_owned(),
        value: "other.test".to_owned(),
    }];
    let found = dns::Advice {
        caa,
        caa_at: Some("test".to_owned()),
        ..dns::Advice::default()
    };
    let identities = ["ca.test".to_owned()];
    let failed = Failed {
        name: "a.test",
        wildcard: true,
        method: "dns-01",
        port: None,
        identities: &identities,
    };
    assert_eq!(
        sentences(&failed, &found, &[]),
        ["the CAA records of test do not let ca.test issue"]
    );
}
