//! The Node object of this device. gatelet creates it at each start, in memory; clients only read
//! it.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::{
    objects::{Key, Kind, Op, Proposal},
    util::stamp,
};

/// Returns the write that creates the Node of this device. `kubectl get nodes` shows `version`.
pub fn node(name: &str, addresses: &[IpAddr], version: &str) -> Proposal {
    let now = stamp::now();

    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or_default();

    let mut listed: Vec<Value> = addresses
        .iter()
        .map(|ip| json!({ "type": "InternalIP", "address": ip.to_string() }))
        .collect();
    listed.push(json!({ "type": "Hostname", "address": name }));

    let object = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": stamp::uid(),
            "creationTimestamp": now,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": std::env::consts::OS,
                "kubernetes.io/arch": architecture(),
                "node-role.kubernetes.io/control-plane": "",
            },
        },
        "spec": {},
        "status": {
            "addresses": listed,
            "conditions": [{
                "type": "Ready",
                "status": "True",
                "reason": "GateletReady",
                "message": "gatelet is running",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }],
            "nodeInfo": {
                "kubeletVersion": version,
                "kernelVersion": kernel.trim(),
                "osImage": system.trim_matches('"'),
                "operatingSystem": std::env::consts::OS,
                "architecture": architecture(),
                "containerRuntimeVersion": "",
                "machineID": "",
                "systemUUID": "",
                "bootID": "",
                "kubeProxyVersion": "",
            },
        },
    });

    let key = Key {
        kind: Kind::Node,
        namespace: "".into(),
        name: name.into(),
    };
    Proposal {
        key,
        op: Op::Create(object.to_string().into()),
    }
}

/// Returns the architecture by the name that Go uses.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
