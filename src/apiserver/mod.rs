//! The Kubernetes-compatible HTTP surface of the mini cluster.
