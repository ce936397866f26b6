//! Translates the configuration into the settings of the modules.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::Arc,
};

use super::certificates::issuers::Issuers;
use crate::{
    config::{Config, Listen},
    controller,
    objects::{Event, Kind, PodLabels, Selection},
    proxy::{
        self, Settings, SpoolError, cores,
        settings::{AccessLog, MAX_PIPES},
    },
    telemetry,
    util::memory,
};

/// Descriptors that are kept for the store, the API, and connections to CAs and DNS servers.
const RESERVED_DESCRIPTORS: u64 = 128;

/// The part of the other descriptors that pipes may take: one in so many.
const PART_OF_PIPES: usize = 16;

/// Checks that request bodies can be written where the settings say.
///
/// # Errors
/// If they cannot.
pub fn check_spool(config: &Config) -> Result<(), SpoolError> {
    let directory = config.proxy.spool_directory.as_deref();
    directory.map_or(Ok(()), proxy::check_spool)
}

/// Returns the settings of the data plane, without listeners. At most as many client connections as
/// the limit of open `descriptors` allows, less those of pipes: each may need one to an endpoint.
pub(super) fn proxy(config: &Config, descriptors: u64) -> Settings {
    let affordable = descriptors.saturating_sub(RESERVED_DESCRIPTORS);
    let affordable = usize::try_from(affordable).unwrap_or(usize::MAX);
    let cores = cores(config.workers).max(1);
    let pipes = (affordable / PART_OF_PIPES / 2 / cores).min(MAX_PIPES);
    let affordable = ((affordable - 2 * pipes * cores) / 2).max(1);

    Settings {
        max_connections: config.proxy.max_connections.min(affordable),
        workers: config.workers,
        pipes,
        access_log: match (config.log.access, config.log.format) {
            (None, _) => AccessLog::Off,
            (Some(share), telemetry::Format::Text) => AccessLog::Text(share),
            (Some(share), telemetry::Format::Json) => AccessLog::Json(share),
        },
        ..config.proxy.clone()
    }
}

/// Returns the memory budget in bytes; 0 for none, which is so only where the system tells nothing.
/// The rest of a control group's limit is for what the kernel keeps for the process, such as the
/// buffers of sockets.
pub(super) fn memory_budget(config: &Config) -> u64 {
    let of_group = memory::group_limit().map(|limit| limit / 4 * 3);
    let of_device = memory::total().map(|total| total / 2);
    let usual = || of_group.into_iter().chain(of_device).min();
    config.memory.or_else(usual).unwrap_or(0)
}

/// Returns the settings of the compiler, with the addresses for the status of Ingresses, and the
/// namespace of gatelet itself.
pub(super) fn controller(
    config: &Config,
    is_mini: bool,
    addresses: Vec<IpAddr>,
    issuers: &Issuers,
    own_ports: BTreeMap<u16, &'static str>,
    namespace: &str,
) -> controller::Settings {
    controller::Settings {
        namespace: namespace.into(),
        controller: config.controller.as_str().into(),
        classes: config
            .classes
            .iter()
            .map(|class| class.as_str().into())
            .collect(),
        classless: config.classless,
        standalone: is_mini,
        default_backend: config.default_backend.as_deref().map(Into::into),
        ssl_redirect: config.ssl_redirect,
        hsts: config.hsts.as_deref().map(Into::into),
        // In a cluster, the right to write EndpointSlices must not be a way to the services on the
        // nodes' loopback.
        node: if is_mini {
            config.node.as_str().into()
        } else {
            "".into()
        },
        addresses,
        issuers: issuers.names(),
        aliases: issuers.aliases(),
        default_issuer: issuers.default().map(Into::into),
        own_ports,
        tcp_services: config.tcp_services.as_deref().and_then(object_name),
        udp_services: config.udp_services.as_deref().and_then(object_name),
        nginx_configmap: config.nginx_configmap.as_deref().and_then(object_name),
        open_ports: config.open_ports.clone(),
        unsupported_guards: config.unsupported_guards,
    }
}

/// Returns the selection of the ConfigMaps that the settings name, and those of a local copy.
pub(super) fn selection(config: &Config, copy: &[Event]) -> Selection {
    let maps = [
        &config.tcp_services,
        &config.udp_services,
        &config.nginx_configmap,
    ];
    let named = maps.into_iter().flatten();
    let named = named.filter_map(|name| object_name(name));

    let copied = copy.iter().flat_map(|event| match event {
        Event::Reset(Kind::ConfigMap, objects) => &objects[..],
        _ => &[],
    });
    let copied = copied.map(|object| (object.key.namespace.clone(), object.key.name.clone()));
    Selection {
        config_maps: named.chain(copied).collect(),
        pods: PodLabels::default(),
    }
}

/// Splits `namespace/name`.
fn object_name(text: &str) -> Option<(Arc<str>, Arc<str>)> {
    let (namespace, name) = text.split_once('/')?;
    Some((namespace.into(), name.into()))
}

/// Returns the ports of gatelet's own listeners, with what listens there. `http` and `https` are
/// the addresses of those listeners, if they are open already.
pub(super) fn own_ports(
    config: &Config,
    http: &[SocketAddr],
    https: &[SocketAddr],
) -> BTreeMap<u16, &'static str> {
    let configured = |listen: Option<Listen>, port| match listen {
        Some(Listen(address)) => address.map(|address| address.port()),
        None => Some(port),
    };
    let open = |addresses: &[SocketAddr]| addresses.iter().map(SocketAddr::port).collect();
    let http: Vec<u16> = match http {
        [] => configured(config.http, 80).into_iter().collect(),
        http => open(http),
    };
    let https: Vec<u16> = match https {
        [] => configured(config.https, 443).into_iter().collect(),
        https => open(https),
    };

    let api = configured(Some(config.api), 0);
    let admin = configured(Some(config.admin), 0);
    let named = [
        (http, "the HTTP listener"),
        (https, "the HTTPS listener"),
        (api.into_iter().collect(), "the API"),
        (admin.into_iter().collect(), "the admin server"),
    ];
    named
        .into_iter()
        .flat_map(|(ports, name)| ports.into_iter().map(move |port| (port, name)))
        .collect()
}

/// Returns the address of this node: the source address of packets to the outside. Sends nothing.
pub(super) fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind(("0.0.0.0", 0)).ok()?;
    socket.connect(("192.0.2.1", 9)).ok()?;
    socket
        .local_addr()
        .ok()
        .map(|addr| addr.ip())
        .filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_follow_the_limit_of_descriptors() {
        let config = Config {
            workers: 2,
            ..Config::default()
        };
        let allowed = |descriptors| {
            let settings = proxy(&config, descriptors);
            (settings.max_connections, settings.pipes)
        };
        assert_eq!(allowed(1 << 20), (config.proxy.max_connections, MAX_PIPES));
        assert_eq!(allowed(1024), ((1024 - 128) / 2 - 2 * 14, 14));
        assert_eq!(allowed(64), (1, 0));
    }
}
