//! gatelet: the whole front door of a small Kubernetes cluster in one process.
//!
//! `docs/architecture.md` has the module table that `tests/architecture` enforces: a module uses
//! only modules of rows above its own. Begin reading at `routing` (the vocabulary), then
//! `controller` (Kubernetes objects in, routing table out), `proxy` (requests through it), and
//! `app`, which puts the parts together.

#![cfg_attr(
    test,
    allow(
        clippy::disallowed_methods,
        reason = "tests block and start tasks as they need to"
    )
)]

pub mod access;
pub mod acme;
pub mod admin;
pub mod apiserver;
pub mod app;
pub mod balance;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod http_client;
pub mod k8s;
pub mod limit;
pub mod manifests;
pub mod objects;
pub mod pki;
pub mod proxy;
pub mod routing;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod util;
