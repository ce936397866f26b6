use super::*;

fn exposure(host: &str, path: &str, to: &str) -> Exposure {
    let to = to.parse().expect("an address");
    Exposure {
        entrance: Entrance::Host {
            host: host.to_owned(),
            path: path.to_owned(),
            tls: ExposeTls::Optional,
        },
        to,
        name: None,
        namespace: "default".to_owned(),
    }
}

fn device() -> Device {
    Device {
        node: "pi1".to_owned(),
        addresses: vec!["192.168.1.7".parse().expect("an address")],
    }
}

#[test]
fn names_come_from_host_and_path_and_are_labels() {
    for (host, path, name) in [
        ("app.example.com", "/", "app-example-com"),
        ("App.Example.com.", "/", "app-example-com"),
        ("*.example.com", "/", "wildcard-example-com"),
        ("app.example.com", "/v1/Api_x", "app-example-com-v1-api-x"),
        ("7.example.com", "/", "host-7-example-com"),
    ] {
        assert_eq!(exposure(host, path, "127.0.0.1:1").object_name(), name);
    }
    let long = format!("{}.example.com", "a".repeat(60));
    let one = exposure(&long, "/", "127.0.0.1:1").object_name();
    let other = exposure(&long, "/x", "127.0.0.1:1").object_name();
    assert_eq!((one.len(), other.len()), (LONGEST_NAME, LONGEST_NAME));
    assert_ne!(one, other);
}

#[test]
fn loopback_becomes_the_device_and_nothing_else_does() {
    let objects = exposure("app.example.com", "/", "127.0.0.1:3000")
        .objects(&device())
        .expect("good");
    let slice = &objects[1];
    assert_eq!(
        slice["metadata"]["annotations"]["gatelet.dev/connect"],
        "loopback"
    );
    assert_eq!(
        slice["endpoints"],
        json!([{ "addresses": ["192.168.1.7"], "nodeName": "pi1" }])
    );
    assert_eq!(slice["ports"], json!([{ "name": "http", "port": 3000 }]));
    let objects = exposure("app.example.com", "/", "[::1]:3000")
        .objects(&device())
        .expect("good");
    assert_eq!(
        objects[1]["endpoints"][0]["addresses"],
        json!(["2001:db8::1"])
    );
    let objects = exposure("app.example.com", "/", "10.0.0.5:80")
        .objects(&device())
        .expect("good");
    assert_eq!(objects[1]["metadata"]["annotations"], Value::Null);
    assert_eq!(
        objects[1]["endpoints"],
        json!([{ "addresses": ["10.0.0.5"] }])
    );
}

#[test]
fn invalid_arguments_are_refused() {
    for (host, path, to, message) in [
        ("", "/", "127.0.0.1:1", "the host is empty"),
        ("a b", "/", "127.0.0.1:1", "not allowed"),
        ("10.0.0.1", "/", "127.0.0.1:1", "is an address"),
        ("[::1]", "/", "127.0.0.1:1", "is an address"),
        (
            "app.example.com",
            "api",
            "127.0.0.1:1",
            "does not begin with /",
        ),
        (
            "app.example.com",
            "/",
            "127.0.0.1:0",
            "cannot be connected to",
        ),
        (
            "app.example.com",
            "/",
            "0.0.0.0:80",
            "cannot be connected to",
        ),
        ("app.example.com", "/", "127.0.0.2:80", "only 127.0.0.1 can"),
    ] {
        let error = exposure(host, path, to)
            .objects(&device())
            .expect_err(message)
            .to_string();
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_certificate_is_asked_for_by_the_name_of_its_issuer() {
    for (tls, entries, annotations) in [
        (ExposeTls::Optional, Value::Null, Value::Null),
        (
            ExposeTls::Required,
            json!([{ "hosts": ["app.example.com"] }]),
            Value::Null,
        ),
        (
            ExposeTls::Issued("lab".to_owned()),
            json!([{ "hosts": ["app.example.com"] }]),
            json!({ "gatelet.dev/issuer": "lab" }),
        ),
    ] {
        let exposure = Exposure {
            entrance: Entrance::Host {
                host: "app.example.com".to_owned(),
                path: "/".to_owned(),
                tls,
            },
            ..exposure("app.example.com", "/", "10.0.0.5:80")
        };
        let ingress = &exposure.objects(&device()).expect("good")[2];
        assert_eq!(
            (&ingress["spec"]["tls"], &ingress["metadata"]["annotations"]),
            (&entries, &annotations)
        );
    }
}

#[test]
fn a_port_is_a_service_with_an_annotation() {
    let exposed = |entrance| Exposure {
        entrance,
        ..exposure("", "", "192.168.1.9:11883")
    };
    let objects = exposed(Entrance::Tcp(1883))
        .objects(&device())
        .expect("good");
    let [service, slice] = &objects[..] else {
        panic!("{objects:?}");
    };
    assert_eq!(service["metadata"]["name"], "tcp-1883");
    assert_eq!(
        service["metadata"]["annotations"],
        json!({ "gatelet.dev/tcp-listen": "1883" })
    );
    let ports = json!([{ "name": "tcp", "port": 1883, "targetPort": 11883 }]);
    assert_eq!(service["spec"]["ports"], ports);
    assert_eq!(slice["ports"], json!([{ "name": "tcp", "port": 11883 }]));
    assert_eq!(
        slice["endpoints"],
        json!([{ "addresses": ["192.168.1.9"] }])
    );

    let objects = exposed(Entrance::Udp(1883))
        .objects(&device())
        .expect("good");
    assert_eq!(
        objects[0]["metadata"]["annotations"],
        json!({ "gatelet.dev/udp-listen": "1883" })
    );
    assert_eq!(objects[0]["metadata"]["name"], "udp-1883");
    for object in [&objects[0]["spec"], &objects[1]] {
        assert_eq!(object["ports"][0]["protocol"], "UDP");
    }
}
