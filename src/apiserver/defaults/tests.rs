use super::*;

/// Sets the defaults of an object and compares it with the expected one.
fn check(kind: Kind, mut object: Value, expected: &Value) {
    apply(kind, &mut object);
    allocate(kind, &mut object);
    assert_eq!(object, *expected);

    apply(kind, &mut object);
    allocate(kind, &mut object);
    assert_eq!(object, *expected, "a second time changes nothing");
}

#[test]
fn defaults_match_a_real_server_and_are_stable() {
    check(
        Kind::Secret,
        json!({ "stringData": { "a": "b" }, "data": { "a": "eA==", "c": "eQ==" } }),
        &json!({ "type": "Opaque", "data": { "a": "Yg==", "c": "eQ==" } }),
    );
    check(
        Kind::Ingress,
        json!({ "spec": {} }),
        &json!({ "spec": {}, "status": { "loadBalancer": {} } }),
    );
    check(
        Kind::IngressClass,
        json!({ "spec": { "parameters": { "kind": "K", "name": "n" } } }),
        &json!({ "spec": { "parameters": { "kind": "K", "name": "n", "scope": "Cluster" } } }),
    );
}

#[test]
fn defaults_of_endpoints_and_slices_match_a_real_server() {
    let endpoints = |port: Value| {
        let addresses = json!([{ "ip": "192.0.2.1" }]);
        json!({ "subsets": [{ "addresses": addresses, "ports": [port] }] })
    };
    check(
        Kind::Endpoints,
        endpoints(json!({ "port": 80 })),
        &endpoints(json!({ "port": 80, "protocol": "TCP" })),
    );

    check(
        Kind::EndpointSlice,
        json!({
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["192.0.2.1"] }],
            "ports": [{ "port": 80 }],
        }),
        &json!({
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["192.0.2.1"], "conditions": {} }],
            "ports": [{ "port": 80, "name": "", "protocol": "TCP" }],
        }),
    );
}

#[test]
fn defaults_of_services_match_a_real_server() {
    let status = json!({ "loadBalancer": {} });
    // Without an address a Service is headless here.
    check(
        Kind::Service,
        json!({ "spec": { "ports": [{ "port": 80 }] } }),
        &json!({
            "spec": {
                "clusterIP": "None",
                "clusterIPs": ["None"],
                "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4", "IPv6"],
                "ipFamilyPolicy": "RequireDualStack",
                "sessionAffinity": "None",
                "type": "ClusterIP",
                "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }],
            },
            "status": status,
        }),
    );

    check(
        Kind::Service,
        json!({ "spec": { "type": "ExternalName", "externalName": "a.example" } }),
        &json!({
            "spec": {
                "type": "ExternalName",
                "externalName": "a.example",
                "sessionAffinity": "None",
            },
            "status": status,
        }),
    );

    check(
        Kind::Service,
        json!({ "spec": {
            "ports": [{ "port": 80 }],
            "externalIPs": ["192.0.2.1"],
            "clusterIP": "10.43.0.1",
            "selector": { "a": "b" },
            "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 1 } },
        } }),
        &json!({
            "spec": {
                "clusterIP": "10.43.0.1",
                "clusterIPs": ["10.43.0.1"],
                "externalIPs": ["192.0.2.1"],
                "externalTrafficPolicy": "Cluster",
                "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "sessionAffinity": "None",
                "selector": { "a": "b" },
                "type": "ClusterIP",
                "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }],
            },
            "status": status,
        }),
    );
}

#[test]
fn defaults_do_not_panic_on_malformed_objects() {
    for kind in Kind::ALL {
        for mut odd in [
            json!(3),
            json!([]),
            json!({ "spec": 3, "status": "x", "endpoints": {}, "ports": [1] }),
        ] {
            apply(kind, &mut odd);
        }
    }
}
