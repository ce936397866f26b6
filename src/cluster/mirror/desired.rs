//! The EndpointSlices that mirror an Endpoints object.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::objects::{ObjectError, RawObject};

/// The most addresses that are mirrored for one set of ports.
pub(super) const MAX_ADDRESSES: usize = 1000;

/// The most pairs of a port and an address that are read from one object. A thousand addresses with
/// a hundred ports fit; more would need memory that a small device does not have.
pub(super) const MAX_PAIRS: usize = 1 << 17;

/// `addressType` of an EndpointSlice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    /// Returns the value of `addressType`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }
}

/// An EndpointSlice without its metadata.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) family: Family,
    /// `endpoints`, the ready ones first.
    pub(super) endpoints: Vec<Value>,
    pub(super) ports: Vec<Value>,
}

/// The slices that an Endpoints object requires.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Desired {
    pub(super) slices: Vec<Slice>,
    /// The number of addresses beyond the limits.
    pub(super) skipped: usize,
}

/// `v1` Endpoints.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Endpoints {
    subsets: Vec<Subset>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Subset {
    addresses: Vec<Address>,
    not_ready_addresses: Vec<Address>,
    ports: Vec<Port>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Address {
    ip: String,
    hostname: String,
    node_name: Option<String>,
    target_ref: Option<Value>,
}

#[derive(Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: String,
    port: i64,
    protocol: String,
    app_protocol: Option<String>,
}

/// The readiness of each address, by its number in [`Offers::addresses`].
type Addresses = BTreeMap<usize, bool>;

/// Returns one slice for each family and each set of ports with the same addresses.
pub(super) fn desired(endpoints: &RawObject) -> Result<Desired, ObjectError> {
    let Endpoints { subsets } = endpoints.view()?;
    let offers = Offers::read(&subsets);

    let mut desired = Desired {
        skipped: offers.skipped,
        ..Desired::default()
    };

    for (ports, addresses) in offers.by_addresses() {
        let mut order: Vec<(&Address, bool)> = addresses
            .iter()
            .map(|(&number, &ready)| (offers.addresses[number], ready))
            .collect();
        order.sort_by_key(|(address, ready)| (!ready, &address.ip, uid(address)));
        desired.skipped += order.len().saturating_sub(MAX_ADDRESSES);
        order.truncate(MAX_ADDRESSES);

        let ports: Vec<Value> = ports.iter().map(|port| port.to_value()).collect();
        for family in [Family::V4, Family::V6] {
            let endpoints = of_family(family, &order);
            if !endpoints.is_empty() {
                desired.slices.push(Slice {
                    family,
                    endpoints,
                    ports: ports.clone(),
                });
            }
        }
    }

    Ok(desired)
}

/// The addresses that offer each port, over all subsets (pkg/api/v1/endpoints `RepackSubsets`).
#[derive(Debug, Default)]
struct Offers<'e> {
    /// Each address once, even if several subsets have it.
    addresses: Vec<&'e Address>,
    /// In the order of the subsets. `None` stands for a subset without ports.
    ports: Vec<(Option<&'e Port>, Addresses)>,
    skipped: usize,
}

impl<'e> Offers<'e> {
    fn read(subsets: &'e [Subset]) -> Self {
        let mut offers = Self::default();
        let (mut numbers, mut places, mut pairs) = (HashMap::new(), HashMap::new(), 0_usize);

        for subset in subsets {
            let ready = subset.addresses.iter().map(|address| (address, true));
            let others = subset
                .not_ready_addresses
                .iter()
                .map(|address| (address, false));

            for (address, ready) in ready.chain(others) {
                pairs += subset.ports.len().max(1);
                if pairs > MAX_PAIRS {
                    offers.skipped += 1;
                    continue;
                }

                let number = *numbers
                    .entry((address.ip.as_str(), uid(address)))
                    .or_insert_with(|| {
                        offers.addresses.push(address);
                        offers.addresses.len() - 1
                    });

                let ports = subset.ports.iter().map(Some);
                for port in ports.chain(subset.ports.is_empty().then_some(None)) {
                    let place = *places.entry(port).or_insert_with(|| {
                        offers.ports.push((port, Addresses::new()));
                        offers.ports.len() - 1
                    });
                    // One subset is enough to make an address not ready.
                    let known = offers.ports[place].1.entry(number).or_insert(ready);
                    *known &= ready;
                }
            }
        }

        offers
    }

    /// Groups the ports that have the same addresses.
    fn by_addresses(&self) -> Vec<(Vec<&'e Port>, &Addresses)> {
        let mut groups: Vec<(Vec<&Port>, &Addresses)> = Vec::new();
        let mut places = HashMap::new();
        for (port, addresses) in &self.ports {
            let place = *places.entry(addresses).or_insert_with(|| {
                groups.push((Vec::new(), addresses));
                groups.len() - 1
            });
            groups[place].0.extend(*port);
        }
        groups
    }
}

impl Port {
    fn to_value(&self) -> Value {
        let mut value = json!({ "name": self.name, "port": self.port, "protocol": self.protocol });
        if let Some(application) = &self.app_protocol {
            value["appProtocol"] = application.as_str().into();
        }
        value
    }
}

/// `targetRef.uid`, by which two addresses with the same IP differ.
fn uid(address: &Address) -> &str {
    reference(address, "uid")
}

fn reference<'a>(address: &'a Address, member: &str) -> &'a str {
    address
        .target_ref
        .as_ref()
        .and_then(|of| of[member].as_str())
        .unwrap_or_default()
}

/// The endpoints of one family. The last one wins among those that a slice cannot tell apart.
fn of_family(family: Family, addresses: &[(&Address, bool)]) -> Vec<Value> {
    let (mut endpoints, mut places) = (Vec::new(), HashMap::new());
    for (address, ready) in addresses {
        // The API takes IP addresses only.
        let Ok(ip) = address.ip.parse::<IpAddr>() else {
            continue;
        };
        if ip.is_ipv4() != (family == Family::V4) {
            continue;
        }

        let endpoint = endpoint(ip, address, *ready);
        let same = (
            ip,
            &address.hostname,
            reference(address, "namespace"),
            reference(address, "name"),
        );

        match places.get(&same) {
            Some(&place) => endpoints[place] = endpoint,
            None => {
                places.insert(same, endpoints.len());
                endpoints.push(endpoint);
            }
        }
    }

    endpoints
}

fn endpoint(ip: IpAddr, address: &Address, ready: bool) -> Value {
    let mut endpoint = json!({ "addresses": [ip.to_string()], "conditions": { "ready": ready } });
    if !address.hostname.is_empty() {
        endpoint["hostname"] = address.hostname.as_str().into();
    }
    if let Some(node) = &address.node_name {
        endpoint["nodeName"] = node.as_str().into();
    }
    if let Some(target) = &address.target_ref {
        endpoint["targetRef"] = target.clone();
    }
    endpoint
}
