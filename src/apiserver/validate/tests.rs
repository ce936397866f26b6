use serde_json::json;

use super::*;

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of \
     lower case alphanumeric characters, '-' or '.', \
     and must start and end with an alphanumeric character \
     (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// Returns the problems of an object after defaulting, each as `field: message`.
fn problems(kind: Kind, mut object: Value) -> Vec<String> {
    if object["metadata"]["name"].is_null() {
        object["metadata"]["name"] = "t".into();
    }
    super::super::defaults::apply(kind, &mut object);
    super::super::defaults::allocate(kind, &mut object);
    create(kind, &object)
        .into_iter()
        .map(|error| format!("{}: {}", error.field, error.message))
        .collect()
}

fn with_path(path: &Value) -> Value {
    json!({ "spec": { "rules": [{ "host": "a.example", "http": { "paths": [path] } }] } })
}

fn backend() -> Value {
    json!({ "service": { "name": "s", "port": { "number": 80 } } })
}

#[test]
fn ingress_paths_and_backends_are_checked() {
    let at = "spec.rules[0].http.paths[0]";
    let prefix = |backend: Value| json!({ "path": "/", "pathType": "Prefix", "backend": backend });
    let cases = [
        (
            json!({ "path": "/", "backend": backend() }),
            format!("{at}.pathType: Required value: pathType must be specified"),
        ),
        (
            json!({ "path": "/", "pathType": "Regex", "backend": backend() }),
            format!(
                "{at}.pathType: Unsupported value: \"Regex\": \
                 supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""
            ),
        ),
        (
            json!({ "path": "x", "pathType": "Prefix", "backend": backend() }),
            format!(r#"{at}.path: Invalid value: "x": must be an absolute path"#),
        ),
        (
            json!({ "path": "", "pathType": "Prefix", "backend": backend() }),
            format!(r#"{at}.path: Invalid value: "": must be an absolute path"#),
        ),
        (
            json!({ "path": "/a//b", "pathType": "Exact", "backend": backend() }),
            format!(r#"{at}.path: Invalid value: "/a//b": must not contain '//'"#),
        ),
        (
            json!({ "path": "/a%2fb", "pathType": "Prefix", "backend": backend() }),
            format!(r#"{at}.path: Invalid value: "/a%2fb": must not contain '%2f'"#),
        ),
        (
            json!({ "path": "/a/..", "pathType": "Prefix", "backend": backend() }),
            format!(r#"{at}.path: Invalid value: "/a/..": cannot end with '/..'"#),
        ),
        (
            prefix(json!({})),
            format!(r#"{at}.backend: Invalid value: "": resource or service backend is required"#),
        ),
        (
            prefix(json!({
                "service": backend()["service"],
                "resource": { "kind": "a", "name": "b" },
            })),
            format!(
                r#"{at}.backend: Invalid value: "": cannot set both resource and service backends"#
            ),
        ),
        (
            prefix(json!({ "service": { "name": "s" } })),
            format!("{at}.backend: Required value: port name or number is required"),
        ),
        (
            prefix(json!({ "service": { "name": "s", "port": { "name": "a", "number": 1 } } })),
            format!(r#"{at}.backend: Invalid value: "": cannot set both port name & port number"#),
        ),
        (
            prefix(json!({ "service": { "name": "s", "port": { "number": 70_000 } } })),
            format!(
                "{at}.backend.service.port.number: Invalid value: 70000: \
                 must be between 1 and 65535, inclusive"
            ),
        ),
    ];
    for (path, expected) in cases {
        assert_eq!(problems(Kind::Ingress, with_path(&path)), [expected]);
    }

    let good = json!({
        "path": "",
        "pathType": "ImplementationSpecific",
        "backend": { "service": { "name": "1s", "port": { "name": "web" } } },
    });
    assert!(problems(Kind::Ingress, with_path(&good)).is_empty());
}

#[test]
fn ingress_hosts_and_names_are_checked() {
    let host = |host: &str| {
        let mut object =
            with_path(&json!({ "path": "/", "pathType": "Prefix", "backend": backend() }));
        object["spec"]["rules"][0]["host"] = host.into();
        problems(Kind::Ingress, object)
    };
    for good in ["a.example", "*.a.example", "", "localhost"] {
        assert!(host(good).is_empty(), "{good}");
    }
    assert_eq!(
        host("1.2.3.4"),
        [r#"spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address"#]
    );
    assert_eq!(
        host("A.example"),
        [format!(
            "spec.rules[0].host: Invalid value: \"A.example\": {SUBDOMAIN}"
        )]
    );

    for wild in ["a.*.example", "*", "*.*.a"] {
        assert!(
            host(wild)[0].contains("a wildcard DNS-1123 subdomain must start with '*.'"),
            "{wild}"
        );
    }
    assert_eq!(
        problems(Kind::Ingress, json!({ "spec": {} })),
        ["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"]
    );

    let tls = json!({ "spec": {
        "defaultBackend": backend(),
        "tls": [{ "hosts": ["a_b"], "secretName": "X_y" }],
        "ingressClassName": "",
    } });
    let found = problems(Kind::Ingress, tls);
    assert_eq!(found.len(), 3);
    assert_eq!(
        found[0],
        format!("spec.tls[0].hosts[0]: Invalid value: \"a_b\": {SUBDOMAIN}")
    );

    let both = json!({ "metadata": { "annotations": { "kubernetes.io/ingress.class": "x" } },
        "spec": { "defaultBackend": backend(), "ingressClassName": "y" } });
    assert_eq!(
        problems(Kind::Ingress, both),
        [
            "annotations.kubernetes.io/ingress.class: Invalid value: \"x\": \
             must match `ingressClassName` when both are specified"
        ]
    );
}

#[test]
fn metadata_is_checked() {
    let bad = json!({ "metadata": {
        "name": "T_1",
        "labels": { "a b": "c" },
        "annotations": { "a b": "c" },
        "finalizers": ["x"],
    } });
    let found = problems(Kind::ConfigMap, bad);

    let part = "name part must consist of alphanumeric characters, '-', '_' or '.', \
        and must start and end with an alphanumeric character \
        (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
        '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
    assert_eq!(
        found,
        [
            format!("metadata.name: Invalid value: \"T_1\": {SUBDOMAIN}"),
            format!("metadata.labels: Invalid value: \"a b\": {part}"),
            format!("metadata.annotations: Invalid value: \"a b\": {part}"),
            "metadata.finalizers[0]: Invalid value: \"x\": \
             name is neither a standard finalizer name nor is it fully qualified"
                .to_owned(),
        ]
    );

    assert_eq!(
        problems(Kind::Namespace, json!({ "metadata": { "name": "z.z" } })),
        [r#"metadata.name: Invalid value: "z.z": must not contain dots"#]
    );
}

#[test]
fn secrets_and_config_maps_are_checked() {
    let tls = json!({ "type": "kubernetes.io/tls", "data": { "tls.crt": "" } });
    assert_eq!(
        problems(Kind::Secret, tls),
        ["data[tls.key]: Required value"]
    );

    let found = problems(Kind::Secret, json!({ "data": { "a/b": "" } }));
    assert!(
        found[0]
            .starts_with("data[a/b]: Invalid value: \"a/b\": a valid config key must consist of"),
        "{found:?}"
    );

    let big = json!({ "data": { "a": "QUFB".repeat(350_000) } });
    assert_eq!(
        problems(Kind::Secret, big),
        ["data: Too long: may not be more than 1048576 bytes"]
    );

    let secret = |of: &str, data: Value| {
        let metadata = json!({ "name": "s" });
        json!({ "metadata": metadata, "type": of, "immutable": true, "data": data })
    };
    let (old, new) = (secret("Opaque", json!({ "a": "" })), secret("x", json!({})));
    let found: Vec<String> = update(Kind::Secret, &new, &old)
        .into_iter()
        .map(|e| format!("{}: {}", e.field, e.message))
        .collect();
    assert_eq!(
        found,
        [
            "type: Invalid value: \"x\": field is immutable",
            "data: Forbidden: field is immutable when `immutable` is set"
        ]
    );

    let both = json!({ "data": { "a": "" }, "binaryData": { "a": "" } });
    assert_eq!(
        problems(Kind::ConfigMap, both),
        [r#"data[a]: Invalid value: "a": duplicate of key present in binaryData"#]
    );

    let garbage =
        json!({ "type": "kubernetes.io/tls", "data": { "tls.crt": "eA==", "tls.key": "eA==" } });
    assert_eq!(
        warnings(Kind::Secret, &garbage),
        ["tls: failed to find any PEM data in certificate input"]
    );
}

#[test]
fn services_are_checked() {
    let given = json!({ "spec": { "clusterIP": "10.43.0.9" } });
    assert_eq!(
        problems(Kind::Service, given),
        ["spec.ports: Required value"]
    );
    assert_eq!(
        problems(Kind::Service, json!({ "spec": {} })),
        ["spec.ports: Required value"]
    );

    let unnamed = json!({ "spec": { "ports": [{ "port": 1 }, { "port": 2 }] } });
    assert_eq!(
        problems(Kind::Service, unnamed),
        [
            "spec.ports[0].name: Required value",
            "spec.ports[1].name: Required value"
        ]
    );

    for good in ["h.example", "localhost", "192.0.2.1", "h.example."] {
        let service = json!({ "spec": { "type": "ExternalName", "externalName": good } });
        assert!(problems(Kind::Service, service).is_empty(), "{good}");
    }
    assert!(
        problems(
            Kind::Service,
            json!({ "metadata": { "name": "1s" }, "spec": { "clusterIP": "None" } })
        )
        .is_empty()
    );

    let spec = |address: &str| {
        json!({
            "metadata": { "name": "s" },
            "spec": {
                "type": "ClusterIP",
                "clusterIP": address,
                "clusterIPs": [address],
                "sessionAffinity": "None",
                "ports": [{ "port": 1, "protocol": "TCP" }],
            },
        })
    };
    let changed = update(Kind::Service, &spec("10.43.9.9"), &spec("10.43.0.1"));
    assert_eq!(changed[0].field, "spec.clusterIPs[0]");
    assert_eq!(
        changed[0].message,
        r#"Invalid value: ["10.43.9.9"]: may not change once set"#
    );
}

#[test]
fn endpoint_slices_are_checked() {
    let slice = |kind: &str, address: &str| {
        let endpoints = json!([{ "addresses": [address] }]);
        problems(
            Kind::EndpointSlice,
            json!({ "addressType": kind, "endpoints": endpoints, "ports": [{ "port": 80 }] }),
        )
    };
    for (kind, address) in [
        ("IPv4", "192.0.2.1"),
        ("IPv6", "2001:db8::1"),
        ("FQDN", "a.example"),
    ] {
        assert!(slice(kind, address).is_empty(), "{address}");
    }

    let at = "endpoints[0].addresses";
    assert_eq!(
        slice("IPv4", "127.0.0.1"),
        [format!(
            "{at}[0]: Invalid value: \"127.0.0.1\": \
             may not be in the loopback range (127.0.0.0/8, ::1/128)"
        )]
    );
    assert_eq!(
        slice("IPv4", "169.254.1.1"),
        [format!(
            "{at}[0]: Invalid value: \"169.254.1.1\": \
             may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        )]
    );
    assert_eq!(
        slice("IPv4", "2001:db8::1"),
        [format!(
            r#"{at}: Invalid value: "2001:db8::1": must be an IPv4 address"#
        )]
    );
    assert_eq!(
        slice("FQDN", "localhost"),
        [format!(
            "{at}[0]: Invalid value: \"localhost\": \
             should be a domain with at least two segments separated by dots"
        )]
    );
    assert_eq!(
        problems(Kind::EndpointSlice, json!({})),
        ["addressType: Required value"]
    );
}

#[test]
fn endpoints_are_checked() {
    let endpoints = |subset: Value| problems(Kind::Endpoints, json!({ "subsets": [subset] }));
    let address = |ip: &str| endpoints(json!({ "addresses": [{ "ip": ip }] }));
    for good in ["192.0.2.1", "2001:db8::1", "239.1.1.1"] {
        assert!(address(good).is_empty(), "{good}");
    }

    let field = "subsets[0].addresses[0].ip: Invalid value";
    for (ip, why) in [
        (
            "127.0.0.1",
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            "::1",
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            "169.254.1.1",
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)",
        ),
        (
            "224.0.0.1",
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",
        ),
        ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
        ("192.0.2.01", "must not have leading 0s"),
        (
            "::ffff:192.0.2.1",
            "must not be an IPv4-mapped IPv6 address",
        ),
    ] {
        assert_eq!(address(ip), [format!("{field}: \"{ip}\": {why}")]);
    }
    assert_eq!(
        address("name.example"),
        [
            format!(
                "{field}: \"name.example\": \
                 must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            ),
            format!("{field}: \"name.example\": must be a valid IP address"),
        ]
    );

    let none = endpoints(json!({ "ports": [{ "port": 80 }] }));
    assert_eq!(
        none,
        ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]
    );

    let ports = endpoints(json!({
        "addresses": [{ "ip": "192.0.2.1" }],
        "ports": [{ "port": 0 }, { "name": "a", "port": 1 }],
    }));
    assert_eq!(
        ports,
        [
            "subsets[0].ports[0].name: Required value",
            "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ]
    );

    // Stored addresses stay valid.
    let old = json!({
        "metadata": { "name": "e" },
        "subsets": [{ "addresses": [{ "ip": "127.0.0.1" }] }],
    });
    assert!(update(Kind::Endpoints, &old, &old).is_empty());
}

#[test]
fn an_empty_text_without_a_default_is_refused() {
    let service = |member: &str| {
        let mut spec = json!({ "clusterIP": "None", "ports": [{ "port": 1 }] });
        spec[member] = "".into();
        problems(Kind::Service, json!({ "spec": spec }))
    };
    let policy = r#"Unsupported value: "": supported values: "Cluster", "Local""#;
    assert_eq!(
        service("internalTrafficPolicy"),
        [format!("spec.internalTrafficPolicy: {policy}")]
    );

    let families = "Unsupported value: \"\": \
                    supported values: \"PreferDualStack\", \"RequireDualStack\", \"SingleStack\"";
    assert_eq!(
        service("ipFamilyPolicy"),
        [format!("spec.ipFamilyPolicy: {families}")]
    );
    assert_eq!(
        service("loadBalancerClass"),
        ["spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'"]
    );

    let slice = json!({
        "addressType": "IPv4",
        "endpoints": [{ "addresses": ["192.0.2.1"], "nodeName": "" }],
    });
    assert_eq!(
        problems(Kind::EndpointSlice, slice),
        [format!(
            r#"endpoints[0].nodeName: Invalid value: "": {SUBDOMAIN}"#
        )]
    );

    let parameters = json!({ "apiGroup": "", "kind": "K", "name": "n" });
    let class = json!({ "spec": { "controller": "a.b/c", "parameters": parameters } });
    let group = format!(r#"spec.parameters.apiGroup: Invalid value: "": {SUBDOMAIN}"#);
    assert_eq!(problems(Kind::IngressClass, class), [group]);
}

#[test]
fn validation_does_not_panic_on_malformed_objects() {
    let odd = [
        json!(3),
        json!([]),
        json!({
            "spec": 3,
            "data": [],
            "metadata": "x",
            "type": 4,
            "endpoints": [1],
            "ports": [[]],
        }),
        json!({
            "metadata": { "name": "" },
            "spec": { "rules": [3], "tls": ["x"], "ports": [null] },
            "data": { "": "=" },
        }),
    ];
    for kind in Kind::ALL {
        for object in &odd {
            let _any = create(kind, object);
            let _any = update(kind, object, &odd[0]);
            let _any = warnings(kind, object);
        }
    }
}
