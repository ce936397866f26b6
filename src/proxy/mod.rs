//! The data plane: accept, TLS, HTTP server, filters, forward, upstream pools, upgrades, error answers, drain.
//! It knows `routing`, not Kubernetes.
