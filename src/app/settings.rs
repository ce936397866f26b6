//! Translates the configuration into the settings of the modules.

use std::net::{IpAddr, UdpSocket};

use super::certificates::issuers::Issuers;
use crate::{
    config::{self, Config},
    controller,
    proxy::{
        Settings,
        settings::{AccessLog, BalanceSetting},
    },
};

/// Returns the settings of the data plane, without listeners.
pub(super) fn proxy(config: &Config) -> Settings {
    let from = config.proxy.clone();
    Settings {
        workers: config.workers,
        trusted_proxies: from.trusted_proxies,
        external_https_port: from.external_https_port,
        proxy_protocol_from: from.proxy_protocol_from,
        client_header_timeout: from.client_header_timeout,
        client_idle_timeout: from.client_idle_timeout,
        handshake_timeout: from.handshake_timeout,
        connect_timeout: from.connect_timeout,
        response_header_timeout: from.response_header_timeout,
        stream_idle_timeout: from.stream_idle_timeout,
        upstream_idle_timeout: from.upstream_idle_timeout,
        request_timeout: from.request_timeout,
        max_header_bytes: usize::try_from(from.max_header_bytes).unwrap_or(usize::MAX),
        max_headers: from.max_headers,
        max_body_bytes: from.max_body_bytes,
        max_connections: from.max_connections,
        max_connections_per_client: from.max_connections_per_client,
        max_streams: from.max_streams,
        max_idle_per_endpoint: from.max_idle_per_endpoint,
        max_attempts: from.max_attempts,
        eject_after: from.eject_after,
        eject_for: from.eject_for,
        balance: match from.balance {
            config::Balance::RoundRobin => BalanceSetting::RoundRobin,
            config::Balance::LeastRequest => BalanceSetting::LeastRequest,
        },
        verify_backends: from.verify_backends,
        local_names: from.local_names,
        access_log: match (config.log.access, config.log.format) {
            (None, _) => AccessLog::Off,
            (Some(share), config::LogFormat::Text) => AccessLog::Text(share),
            (Some(share), config::LogFormat::Json) => AccessLog::Json(share),
        },
        ..Settings::default()
    }
}

/// Returns the settings of the compiler, with the addresses for the status of Ingresses.
pub(super) fn controller(
    config: &Config,
    is_mini: bool,
    addresses: Vec<IpAddr>,
    issuers: &Issuers,
) -> controller::Settings {
    controller::Settings {
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
        default_issuer: issuers.default().map(Into::into),
        unsupported_guards: match config.unsupported_guards {
            config::UnsupportedGuards::Refuse => controller::UnsupportedGuards::Refuse,
            config::UnsupportedGuards::Ignore => controller::UnsupportedGuards::Ignore,
        },
    }
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
