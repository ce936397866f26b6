use serde_json::json;

use super::{
    table::{Type, message},
    *,
};

fn strict(kind: Kind, body: &str) -> Result<Decoded, String> {
    decode(kind, ContentType::Json, body.as_bytes()).map_err(|error| error.to_string())
}

fn problems(decoded: &Decoded) -> Vec<String> {
    decoded.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn unknown_and_duplicate_fields_are_reported_with_paths() {
    let body = r#"{
        "spec": { "rules": [{ "http": { "paths": [
            { "pathTyp": "x", "path": "/", "path": "/a", "backend": {} }
        ] } }] },
        "x": 1
    }"#;
    let decoded = strict(Kind::Ingress, body).unwrap();
    assert_eq!(
        problems(&decoded),
        [
            r#"duplicate field "spec.rules[0].http.paths[0].path""#,
            r#"unknown field "spec.rules[0].http.paths[0].pathTyp""#,
            r#"unknown field "x""#,
        ]
    );
    assert_eq!(
        decoded.value["spec"]["rules"][0]["http"]["paths"][0],
        json!({ "path": "/a", "backend": {} })
    );
}

#[test]
fn a_wrong_type_has_the_error_of_go() {
    let body = r#"{"spec":{"rules":[{"http":{"paths":[
        {"backend":{"service":{"port":{"number":"x"}}}}
    ]}}]}}"#;
    assert_eq!(
        strict(Kind::Ingress, body).unwrap_err(),
        "Ingress in version \"v1\" cannot be handled as a Ingress: \
         json: cannot unmarshal string into Go struct field ServiceBackendPort.\
         spec.rules.IngressRuleValue.http.paths.backend.service.port.number of type int32"
    );

    let service =
        "Service in version \"v1\" cannot be handled as a Service: json: cannot unmarshal ";
    for (body, why) in [
        (
            r#"{"spec":3}"#,
            "number into Go struct field Service.spec of type v1.ServiceSpec",
        ),
        (
            r#"{"spec":{"ports":"x"}}"#,
            "string into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort",
        ),
        (
            r#"{"spec":{"ports":[3]}}"#,
            "number into Go struct field ServiceSpec.spec.ports of type v1.ServicePort",
        ),
        (
            r#"{"spec":{"ports":[{"protocol":3}]}}"#,
            "number into Go struct field ServicePort.spec.ports.protocol of type v1.Protocol",
        ),
        (
            r#"{"spec":{"ports":[{"targetPort":1.5}]}}"#,
            "number 1.5 into Go struct field ServicePort.spec.ports.targetPort of type int32",
        ),
        (
            r#"{"metadata":[]}"#,
            "array into Go struct field Service.metadata of type v1.ObjectMeta",
        ),
    ] {
        assert_eq!(
            strict(Kind::Service, body).unwrap_err(),
            format!("{service}{why}")
        );
    }

    let port = r#"{"subsets":[{"ports":[{"port":"x"}]}]}"#;
    assert!(
        strict(Kind::Endpoints, port)
            .unwrap_err()
            .contains("field EndpointPort.subsets.ports.port of type int32")
    );

    let body = r#"{"data":{"a":"!"}}"#;
    let error = strict(Kind::Secret, body).unwrap_err();
    assert_eq!(
        error,
        "Secret in version \"v1\" cannot be handled as a Secret: \
         illegal base64 data at input byte 0"
    );

    for bad in [
        r#"{"spec":3}"#,
        r#"{"spec":{"ports":{}}}"#,
        r#"{"spec":{"ports":[3]}}"#,
        r#"{"metadata":[]}"#,
        "[",
        "3",
    ] {
        strict(Kind::Service, bad).unwrap_err();
    }
}

#[test]
fn the_error_for_a_malformed_body_shows_its_beginning() {
    let object = "the object provided is unrecognized (must be of type ConfigMap): ";
    let json = "couldn't get version/kind; json parse error: ";

    for (form, body, why) in [
        (
            ContentType::Json,
            "",
            format!("{json}unexpected end of JSON input (<empty>)"),
        ),
        (
            ContentType::Json,
            "{",
            format!("{json}unexpected end of JSON input ({{)"),
        ),
        (
            ContentType::Json,
            "[]",
            format!("{json}json: cannot unmarshal array into an object (5b5d)"),
        ),
        (
            ContentType::Json,
            r#"{"apiVersion":"v1","kind":3,"data":{}}"#,
            format!(
                "{json}json: cannot unmarshal number into Go struct field .kind of type string \
                 ({{\"apiVersion\":\"v1\",\"kind\":3,\"d ...)"
            ),
        ),
        (
            ContentType::Yaml,
            "a: [",
            "yaml: line 1: unclosed bracket '[' (613a205b)".to_owned(),
        ),
    ] {
        let error = decode(Kind::ConfigMap, form, body.as_bytes())
            .unwrap_err()
            .to_string();
        assert_eq!(error, format!("{object}{why}"));
    }
}

#[test]
fn events_of_their_own_group_have_other_field_names() {
    let event = |body: &str| decode_event(ContentType::Json, body.as_bytes());
    let decoded =
        event(r#"{"apiVersion":"events.k8s.io/v1","kind":"Event","note":"n","message":"m"}"#)
            .unwrap();
    assert_eq!(
        (&decoded.value["note"], &*problems(&decoded)),
        (&json!("n"), &[r#"unknown field "message""#.to_owned()][..])
    );

    let wrong = event(r#"{"reportingController":3}"#)
        .unwrap_err()
        .to_string();
    assert!(
        wrong.ends_with("Go struct field Event.reportingController of type string"),
        "{wrong}"
    );

    let other = event(r#"{"apiVersion":"v1","kind":"Event"}"#)
        .unwrap_err()
        .to_string();
    assert_eq!(
        other,
        "the API version in the data (v1) does not match \
         the expected API version (events.k8s.io/v1)"
    );
}

#[test]
fn empty_values_are_absent_where_go_has_no_pointer() {
    let body = r#"{
        "metadata": { "uid": "" },
        "spec": {
            "type": "",
            "sessionAffinity": "",
            "publishNotReadyAddresses": false,
            "ports": [{ "name": "", "protocol": "", "nodePort": 0, "port": 0, "appProtocol": "" }]
        }
    }"#;
    let value = strict(Kind::Service, body).unwrap().value;
    // Go always writes `port`, and `appProtocol` is a pointer.
    assert_eq!(
        value,
        json!({ "metadata": {}, "spec": { "ports": [{ "port": 0, "appProtocol": "" }] } })
    );
}

#[test]
fn nulls_are_dropped_where_go_has_pointers() {
    let body = r#"{"metadata":{"creationTimestamp":null,"labels":{"a":null}},"data":null}"#;
    assert_eq!(
        strict(Kind::ConfigMap, body).unwrap().value,
        json!({ "metadata": { "labels": { "a": "" } } })
    );
}

#[test]
fn yaml_decodes_like_json() {
    let yaml = "kind: Service\nspec:\n  ports:\n  - port: 80\n    targetPort: web\n    wrong: 1\n";
    let decoded = decode(Kind::Service, ContentType::Yaml, yaml.as_bytes()).unwrap();
    assert_eq!(
        decoded.value["spec"]["ports"],
        json!([{ "port": 80, "targetPort": "web" }])
    );
    assert_eq!(
        problems(&decoded),
        [r#"unknown field "spec.ports[0].wrong""#]
    );
}

#[test]
fn every_reference_of_the_table_resolves() {
    fn check(of: &Type) {
        match of {
            Type::Ref(name) => assert!(message(name).is_some(), "{name}"),
            Type::List(of) | Type::Map(of) => check(of),
            _ => {}
        }
    }
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Node) {
        message(kind.name())
            .unwrap()
            .values()
            .for_each(|field| check(&field.of));
    }
}

/// Returns the body that kubectl 1.32 sends for `create secret generic s --from-literal=a=b`.
fn protobuf_secret() -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [
            &[number << 3 | 2, u8::try_from(bytes.len()).unwrap()],
            bytes,
        ]
        .concat()
    }
    let type_meta = [field(1, b"v1"), field(2, b"Secret")].concat();
    let metadata = [
        field(1, b"s"),
        field(2, b""),
        field(3, b"default"),
        vec![0x38, 0],
        field(8, b""),
    ]
    .concat();

    let data = [field(1, b"a"), field(2, b"b")].concat();
    let secret = [field(1, &metadata), field(2, &data), field(3, b"Opaque")].concat();
    [
        b"k8s\0".to_vec(),
        field(1, &type_meta),
        field(2, &secret),
        field(3, b""),
        field(4, b""),
    ]
    .concat()
}

#[test]
fn protobuf_without_a_kind_has_the_expected_one() {
    // The `data` of a ConfigMap: `a: b`.
    let raw = [0x12, 6, 0x0a, 1, b'a', 0x12, 1, b'b'];
    let body = [&b"k8s\0\x0a\0\x12\x08"[..], &raw].concat();
    let decoded = decode(Kind::ConfigMap, ContentType::Protobuf, &body).unwrap();
    assert_eq!(decoded.value, json!({ "data": { "a": "b" } }));

    let unknown = b"k8s\0\x0a\x0d\x0a\x02v1\x12\x07Nothing";
    let error = decode(Kind::ConfigMap, ContentType::Protobuf, unknown)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(r#"no kind "Nothing" is registered for version "v1""#),
        "{error}"
    );
}

#[test]
fn protobuf_decodes_to_the_same_object() {
    let decoded = decode(Kind::Secret, ContentType::Protobuf, &protobuf_secret()).unwrap();
    assert_eq!(
        decoded.value,
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": "s", "namespace": "default" },
            "data": { "a": "Yg==" },
            "type": "Opaque",
        })
    );
}

#[test]
fn damaged_protobuf_does_not_panic() {
    let whole = protobuf_secret();
    for end in 0..whole.len() {
        // A message that is cut at the end of a field is still valid.
        let _must_not_panic = decode(Kind::Secret, ContentType::Protobuf, &whole[..end]);
    }

    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut broken = whole.clone();
            broken[at] ^= 1 << bit;
            let _must_not_panic = decode(Kind::Secret, ContentType::Protobuf, &broken);
        }
    }
    assert!(decode(Kind::Secret, ContentType::Protobuf, b"nonsense").is_err());
}

#[test]
fn an_error_names_the_field_that_it_is_about() {
    for (body, field) in [
        (r#"{"spec":{"ports":[{"port":"x"}]}}"#, "spec.ports[0].port"),
        (r#"{"metadata":{"labels":{"a":3}}}"#, "metadata.labels.a"),
        (r#"{"kind":3}"#, "kind"),
        (r#"{"kind":"Secret"}"#, ""),
        ("[]", ""),
    ] {
        let error = decode(Kind::Service, ContentType::Json, body.as_bytes()).unwrap_err();
        assert_eq!(error.field(), field, "{body}");
    }
    let decoded = strict(Kind::Service, r#"{"spec":{"x":1}}"#).unwrap();
    assert_eq!(decoded.problems[0].field(), "spec.x");
}
