//! Whole processes against real peers: the gatelet binary, real kubectl versions, Helm, curl,
//! h2load, WebSocket and gRPC clients, a real control plane, and Pebble. `tests/run` installs the
//! peers first.
#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "tests"
)]

mod support;

mod access;
mod acme;
mod acme_client;
mod acme_dns;
mod api;
mod api_absent;
mod api_endpoints;
mod api_leases;
mod api_managers;
mod as_haproxy;
mod as_nginx;
mod as_traefik;
mod backend_tls;
mod backup;
mod behind;
mod canary;
mod chaos;
mod client_certificates;
mod client_limits;
mod cluster;
mod commands;
mod control_group;
mod counted_ingresses;
mod deadlines;
mod e2e;
mod elsewhere;
mod engine;
mod entry;
mod floods;
mod further_hosts;
mod global_settings;
mod guards;
mod h2spec;
mod hangs;
mod held_sockets;
mod helm;
mod install;
mod install_places;
mod k3s;
mod kubectl;
mod layer4;
mod layer4_home;
mod layer4_programs;
mod layer4_tls;
mod limits;
mod live;
mod malformed;
mod manifests;
mod memory_budget;
mod middlewares;
mod mirror;
mod passthrough;
mod policy;
mod protobuf;
mod restarts;
mod rewrites;
mod set_fields;
mod smoke;
mod sockets;
mod spool;
mod sticky;
mod store;
mod takeover;
mod tls;
mod traffic;
