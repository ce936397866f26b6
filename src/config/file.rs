//! The configuration file: TOML, every key optional, unknown keys refused.

use std::{
    net::IpAddr,
    num::NonZeroU16,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use serde::Deserialize;

use super::{
    Balance, Config, ConfigError, Listen, LogFormat, Mode, TlsVersion, UnknownSni,
    UnsupportedGuards,
    issuers::{self, IssuerTable},
};
use crate::util::units::{Size, Span};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    state: Option<PathBuf>,
    http: Option<Listen>,
    https: Option<Listen>,
    api: Option<Listen>,
    admin: Option<Listen>,
    kubeconfig: Option<PathBuf>,
    mode: Option<Mode>,
    workers: Option<usize>,
    node: Option<String>,
    controller: Option<String>,
    classes: Option<Vec<String>>,
    classless: Option<bool>,
    default_backend: Option<String>,
    ssl_redirect: Option<bool>,
    hsts: Option<String>,
    unsupported_guards: Option<UnsupportedGuards>,
    cert_manager_metrics: Option<bool>,
    address: Option<Vec<IpAddr>>,
    namespace: Option<String>,
    publish: Option<Vec<IpAddr>>,
    default_issuer: Option<String>,
    grace: Option<Span>,
    #[serde(default)]
    store: Store,
    #[serde(default)]
    tls: Tls,
    #[serde(default)]
    log: Log,
    #[serde(default)]
    proxy: Proxy,
    #[serde(default)]
    issuers: Vec<IssuerTable>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Store {
    seal_key_file: Option<PathBuf>,
    old_seal_key_files: Option<Vec<PathBuf>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tls {
    min_version: Option<TlsVersion>,
    unknown_sni: Option<UnknownSni>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Log {
    level: Option<String>,
    format: Option<LogFormat>,
    access: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proxy {
    trusted_proxies: Option<Vec<IpNet>>,
    external_https_port: Option<NonZeroU16>,
    proxy_protocol_from: Option<Vec<IpNet>>,
    client_header_timeout: Option<Span>,
    client_idle_timeout: Option<Span>,
    handshake_timeout: Option<Span>,
    connect_timeout: Option<Span>,
    response_header_timeout: Option<Span>,
    stream_idle_timeout: Option<Span>,
    upstream_idle_timeout: Option<Span>,
    request_timeout: Option<Span>,
    max_header_bytes: Option<Size>,
    max_headers: Option<usize>,
    max_body_bytes: Option<Size>,
    max_connections: Option<usize>,
    max_connections_per_client: Option<usize>,
    max_streams: Option<u32>,
    max_idle_per_endpoint: Option<usize>,
    max_attempts: Option<u32>,
    eject_after: Option<u32>,
    eject_for: Option<Span>,
    balance: Option<Balance>,
    verify_backends: Option<bool>,
    local_names: Option<bool>,
}

impl File {
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let line = text[..at].matches('\n').count();
            ConfigError::Parse {
                path: path.to_owned(),
                line: line + 1,
                message: error.message().to_owned(),
                text: issuers::shown(text.lines().nth(line).unwrap_or_default()),
            }
        })
    }

    /// Puts what the file says over the defaults.
    pub(super) fn put_over(self, config: &mut Config) -> Result<(), ConfigError> {
        macro_rules! put {
            ($from:expr => $to:expr, $($key:ident),+ $(,)?) => {
                $(if let Some(value) = $from.$key { $to.$key = value; })+
            };
        }
        put!(self => config, state, api, admin, mode, workers, node, controller, classes, classless, ssl_redirect, address,
            publish, unsupported_guards, cert_manager_metrics);
        config.http = self.http;
        config.https = self.https;
        config.kubeconfig = self.kubeconfig;
        config.namespace = self.namespace;
        config.default_backend = self.default_backend;
        config.hsts = self.hsts;
        config.default_issuer = self.default_issuer;
        config.issuers = issuers::strict(self.issuers)?;
        if let Some(Span(grace)) = self.grace {
            config.grace = grace;
        }
        config.store.seal_key_file = self.store.seal_key_file;
        put!(self.store => config.store, old_seal_key_files);
        put!(self.tls => config.tls, min_version, unknown_sni);
        put!(self.log => config.log, level, format);
        config.log.access = self.log.access;
        let (from, to) = (self.proxy, &mut config.proxy);
        macro_rules! spans {
            ($($key:ident),+ $(,)?) => { $(if let Some(Span(value)) = from.$key { to.$key = value; })+ };
        }
        spans!(
            client_header_timeout,
            client_idle_timeout,
            handshake_timeout,
            connect_timeout,
            response_header_timeout,
            stream_idle_timeout,
            upstream_idle_timeout,
            eject_for,
        );
        to.external_https_port = from.external_https_port.map(NonZeroU16::get);
        to.request_timeout = from.request_timeout.map(|Span(span)| span);
        to.max_body_bytes = from.max_body_bytes.map(|Size(size)| size);
        if let Some(Size(size)) = from.max_header_bytes {
            to.max_header_bytes = size;
        }
        put!(from => to, trusted_proxies, proxy_protocol_from, max_headers, max_connections, max_connections_per_client);
        put!(from => to, max_streams, max_idle_per_endpoint, max_attempts, eject_after, balance, verify_backends, local_names);
        Ok(())
    }
}
