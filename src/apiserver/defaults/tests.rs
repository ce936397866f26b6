use super::*;

#[test]
fn defaults_are_those_of_the_real_server_and_stable() {
    let cases = [
        (
            Kind::Secret,
            json!({ "stringData": { "a": "b" }, "data": { "a": "eA==", "c": "eQ==" } }),
            json!({ "type": "Opaque", "data": { "a": "Yg==", "c": "eQ==" } }),
        ),
        (
            Kind::Service,
            json!({ "spec": { "ports": [{ "port": 80 }] } }),
            json!({ "spec": {
                "clusterIP": "None", "clusterIPs": ["None"], "internalTrafficPolicy": "Cluster",
                "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "RequireDualStack", "sessionAffinity": "None",
                "type": "ClusterIP", "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }],
            }, "status": { "loadBalancer": {} } }),
        ),
        (
            Kind::Service,
            json!({ "spec": { "type": "ExternalName", "externalName": "a.example" } }),
            json!({ "spec": { "type": "ExternalName", "externalName": "a.example", "sessionAffinity": "None" },
                "status": { "loadBalancer": {} } }),
        ),
        (
            Kind::EndpointSlice,
            json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["192.0.2.1"] }], "ports": [{ "port": 80 }] }),
            json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["192.0.2.1"], "conditions": {} }],
                "ports": [{ "port": 80, "name": "", "protocol": "TCP" }] }),
        ),
        (
            Kind::Service,
            json!({ "spec": { "ports": [{ "port": 80 }], "externalIPs": ["192.0.2.1"], "clusterIP": "10.43.0.1",
                "selector": { "a": "b" }, "sessionAffinityConfig": { "clientIP": { "timeoutSeconds": 1 } } } }),
            json!({ "spec": {
                "clusterIP": "10.43.0.1", "clusterIPs": ["10.43.0.1"], "externalIPs": ["192.0.2.1"],
                "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None", "selector": { "a": "b" },
                "type": "ClusterIP", "ports": [{ "port": 80, "protocol": "TCP", "targetPort": 80 }],
            }, "status": { "loadBalancer": {} } }),
        ),
        (
            Kind::Endpoints,
            json!({ "subsets": [{ "addresses": [{ "ip": "192.0.2.1" }], "ports": [{ "port": 80 }] }] }),
            json!({ "subsets": [{ "addresses": [{ "ip": "192.0.2.1" }], "ports": [{ "port": 80, "protocol": "TCP" }] }] }),
        ),
        (
            Kind::Ingress,
            json!({ "spec": {} }),
            json!({ "spec": {}, "status": { "loadBalancer": {} } }),
        ),
        (
            Kind::IngressClass,
            json!({ "spec": { "parameters": { "kind": "K", "name": "n" } } }),
            json!({ "spec": { "parameters": { "kind": "K", "name": "n", "scope": "Cluster" } } }),
        ),
    ];
    for (kind, mut object, expected) in cases {
        apply(kind, &mut object);
        assert_eq!(object, expected);
        apply(kind, &mut object);
        assert_eq!(object, expected, "a second time changes nothing");
    }
}

#[test]
fn nothing_panics_on_what_is_no_object() {
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
