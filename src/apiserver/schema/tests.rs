use serde_json::json;

use super::*;

fn strict(kind: Kind, body: &str) -> Result<Decoded, String> {
    decode(kind, ContentType::Json, body.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn unknown_and_doubled_fields_are_noted_with_their_place() {
    let body = r#"{"spec":{"rules":[{"http":{"paths":[{"pathTyp":"x","path":"/","path":"/a","backend":{}}]}}]},"x":1}"#;
    let decoded = strict(Kind::Ingress, body).unwrap();
    assert_eq!(
        decoded.unknown,
        [
            r#"duplicate field "spec.rules[0].http.paths[0].path""#,
            r#"unknown field "spec.rules[0].http.paths[0].pathTyp""#,
            r#"unknown field "x""#,
        ]
    );
    assert_eq!(decoded.value["spec"]["rules"][0]["http"]["paths"][0], json!({ "path": "/a", "backend": {} }));
}

#[test]
fn a_wrong_type_is_said_as_go_says_it() {
    let body = r#"{"spec":{"rules":[{"http":{"paths":[{"backend":{"service":{"port":{"number":"x"}}}}]}}]}}"#;
    assert_eq!(
        strict(Kind::Ingress, body).unwrap_err(),
        "Ingress in version \"v1\" cannot be handled as a Ingress: json: cannot unmarshal string into Go struct field \
         ServiceBackendPort.spec.rules.IngressRuleValue.http.paths.backend.service.port.number of type int32"
    );
    let body = r#"{"data":{"a":"!"}}"#;
    let error = strict(Kind::Secret, body).unwrap_err();
    assert_eq!(error, "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data at input byte 0");
    for bad in
        [r#"{"spec":3}"#, r#"{"spec":{"ports":{}}}"#, r#"{"spec":{"ports":[3]}}"#, r#"{"metadata":[]}"#, "[", "3"]
    {
        strict(Kind::Service, bad).unwrap_err();
    }
}

#[test]
fn nulls_are_dropped_where_go_has_pointers() {
    let body = r#"{"metadata":{"creationTimestamp":null,"labels":{"a":null}},"data":null}"#;
    assert_eq!(strict(Kind::ConfigMap, body).unwrap().value, json!({ "metadata": { "labels": { "a": "" } } }));
}

#[test]
fn yaml_is_the_same_as_json() {
    let yaml = "kind: Service\nspec:\n  ports:\n  - port: 80\n    targetPort: web\n    wrong: 1\n";
    let decoded = decode(Kind::Service, ContentType::Yaml, yaml.as_bytes()).unwrap();
    assert_eq!(decoded.value["spec"]["ports"], json!([{ "port": 80, "targetPort": "web" }]));
    assert_eq!(decoded.unknown, [r#"unknown field "spec.ports[0].wrong""#]);
}

#[test]
fn every_reference_of_the_table_leads_somewhere() {
    fn check(of: &Type) {
        match of {
            Type::Ref(name) => assert!(message(name).is_some(), "{name}"),
            Type::List(of) | Type::Map(of) => check(of),
            _ => {}
        }
    }
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Node) {
        message(kind.name()).unwrap().values().for_each(|field| check(&field.of));
    }
}

/// What kubectl 1.32 sends for `create secret generic s --from-literal=a=b`.
fn protobuf_secret() -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }
    let type_meta = [field(1, b"v1"), field(2, b"Secret")].concat();
    let metadata = [field(1, b"s"), field(2, b""), field(3, b"default"), vec![0x38, 0], field(8, b"")].concat();
    let data = [field(1, b"a"), field(2, b"b")].concat();
    let secret = [field(1, &metadata), field(2, &data), field(3, b"Opaque")].concat();
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, &secret), field(3, b""), field(4, b"")].concat()
}

#[test]
fn protobuf_becomes_the_same_object() {
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
fn damaged_protobuf_is_refused_wherever_it_is_cut() {
    let whole = protobuf_secret();
    for end in 0..whole.len() {
        // Cut at the end of a field it may still be a message, of less.
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
