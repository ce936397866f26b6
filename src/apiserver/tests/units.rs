//! Selectors, durations, paths, media types.

use http::HeaderMap;

use super::*;
use crate::{
    apiserver::{
        columns::duration,
        protobuf, registry,
        request::{
            Accept,
            Encoding::{Json, Protobuf, Yaml},
            Query, Shape, Target, check_duration,
        },
        selector::Selector,
    },
    objects::{Key, Kind, Meta, RawObject},
};

fn labelled(pairs: &[(&str, &str)]) -> RawObject {
    let labels = pairs.iter().map(|(k, v)| (*k, *v)).collect();
    let key = Key {
        kind: Kind::Secret,
        namespace: "n".into(),
        name: "x".into(),
    };

    let meta = Meta {
        name: "x".into(),
        namespace: "n".into(),
        labels,
        ..Meta::default()
    };

    RawObject {
        key,
        meta,
        body: Bytes::from_static(br#"{"type":"kubernetes.io/tls"}"#),
    }
}

fn selects(labels: &str, fields: &str, object: &RawObject) -> bool {
    Selector::parse(registry::of(Kind::Secret), labels, fields)
        .unwrap()
        .matches(object)
}

#[test]
fn label_selectors_follow_the_grammar() {
    let object = labelled(&[("app", "web"), ("tier", "3"), ("a.b/c", "")]);
    for yes in [
        "",
        "app",
        "app=web",
        "app==web",
        "app!=db",
        "!gone",
        "app in (db, web)",
        "app notin (db)",
        "gone notin (x)",
        "tier>2",
        "tier<4",
        "a.b/c",
        "a.b/c=",
        "app=web,tier in (3),!gone",
        "gone!=x",
    ] {
        assert!(selects(yes, "", &object), "{yes}");
    }

    for no in [
        "gone",
        "app=db",
        "app!=web",
        "!app",
        "app in (db)",
        "app notin (web)",
        "tier>3",
        "app=web,tier=4",
    ] {
        assert!(!selects(no, "", &object), "{no}");
    }

    for bad in [
        "=x",
        "app in web",
        "app in (web",
        "a b",
        "app=web,",
        "app,,x",
        "(",
        "tier>x",
        "app === x",
    ] {
        assert!(
            Selector::parse(registry::of(Kind::Secret), bad, "").is_err(),
            "{bad}"
        );
    }

    let error = Selector::parse(registry::of(Kind::Secret), "a b", "").unwrap_err();
    assert_eq!(
        error.to_value()["message"],
        "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"
    );
}

#[test]
fn field_selectors_know_the_fields_of_their_kind() {
    let object = labelled(&[]);
    for yes in [
        "metadata.name=x",
        "metadata.namespace==n",
        "type=kubernetes.io/tls",
        "type!=Opaque,metadata.name=x",
    ] {
        assert!(selects("", yes, &object), "{yes}");
    }
    assert!(!selects("", "metadata.name!=x", &object));

    let node = |body: &'static str| {
        RawObject::parse(Kind::Node, Bytes::from_static(body.as_bytes())).unwrap()
    };
    let flag = "spec.unschedulable=false";
    let flag = Selector::parse(registry::of(Kind::Node), "", flag).unwrap();
    assert!(flag.matches(&node(r#"{"metadata": {"name": "x"}}"#)));
    let drained = r#"{"metadata": {"name": "x"}, "spec": {"unschedulable": true}}"#;
    assert!(!flag.matches(&node(drained)));

    let error = Selector::parse(registry::of(Kind::Ingress), "", "spec.foo=1").unwrap_err();
    assert_eq!(
        error.to_value()["message"],
        r#""spec.foo" is not a known field selector: only "metadata.name", "metadata.namespace""#
    );
}

#[test]
fn ages_have_the_format_of_kubectl() {
    let cases = [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (660, "11m"),
        (10_800, "3h"),
        (11_000, "3h3m"),
        (30_000, "8h"),
        (180_000, "2d2h"),
        (172_800, "2d"),
        (864_000, "10d"),
        (63_072_000, "2y"),
        (63_158_400, "2y1d"),
        (300_000_000, "9y"),
    ];
    for (seconds, expected) in cases {
        assert_eq!(duration(seconds), expected);
    }
}

#[test]
fn accept_selects_the_first_supported_media_type() {
    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

    let accept = |value: &str, has_protobuf| {
        let mut headers = HeaderMap::new();
        headers.insert("accept", value.parse().unwrap());
        Accept::parse(&headers, has_protobuf)
            .map(|accept| (accept.shape, accept.encoding))
            .ok()
    };
    let either = "application/vnd.kubernetes.protobuf,application/json";
    assert_eq!(accept(either, true), Some((Shape::Object, Protobuf)));
    assert_eq!(accept(either, false), Some((Shape::Object, Json)));

    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let shape = Shape::Table("meta.k8s.io/v1");
    assert_eq!(accept(table, true), Some((shape, Json)));
    let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,*/*";
    assert_eq!(accept(table, true), Some((Shape::Object, Json)));
    assert_eq!(
        accept("application/json;as=Other;v=v1,*/*", true),
        Some((Shape::Object, Json))
    );

    let partial = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
    assert_eq!(
        accept(&format!("{PROTOBUF};{partial}"), true),
        Some((Shape::Partial, Protobuf))
    );
    assert_eq!(
        accept("application/yaml", true),
        Some((Shape::Object, Yaml))
    );
    assert_eq!(accept(PROTOBUF, false), None);
    assert_eq!(accept("text/html", true), None);
}

#[test]
fn durations_are_those_of_go() {
    for text in [
        "0", "-0", "0s", "3m", "1h30m", "1.5s", ".5h", "2us", "2\u{b5}s", "-3s",
    ] {
        assert_eq!(check_duration(text), Ok(()), "{text}");
    }
    let cases = [
        ("", "invalid duration \"\""),
        ("invalid", "invalid duration \"invalid\""),
        ("1.2.3s", "invalid duration \"1.2.3s\""),
        (".s", "invalid duration \".s\""),
        ("3", "missing unit in duration \"3\""),
        ("1h3", "missing unit in duration \"1h3\""),
        ("3d", "unknown unit \"d\" in duration \"3d\""),
    ];
    for (text, expected) in cases {
        assert_eq!(check_duration(text).unwrap_err().to_string(), expected);
    }
}

/// A real server reads them too: see the test of `protobuf_of_a_real_server`.
#[test]
fn what_is_encoded_to_protobuf_is_decoded_to_the_same() {
    let objects = include_str!("../../../tests/it/peers/objects.json");
    let objects: Vec<(String, Value)> = serde_json::from_str(objects).unwrap();
    for (path, object) in objects {
        let kind = object["kind"].as_str().unwrap();
        let encoded = protobuf::encode(&object).unwrap_or_else(|| panic!("{path} has none"));
        assert_eq!(protobuf::decode(&encoded, kind), Ok(object), "{path}");
    }

    let middleware = json!({
        "apiVersion": "traefik.io/v1alpha1",
        "kind": "Middleware",
        "metadata": { "name": "a" },
        "spec": {},
    });
    assert_eq!(protobuf::encode(&middleware), None);
    // The bookmarks of kinds without objects.
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "resourceVersion": "7" },
    });
    let expected = b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x05\x0a\x03\x32\x017";
    assert_eq!(protobuf::encode(&pod).as_deref(), Some(&expected[..]));

    let table = json!({
        "apiVersion": "meta.k8s.io/v1",
        "kind": "Table",
        "metadata": {},
        "rows": [],
    });
    assert_eq!(protobuf::encode(&table), None);
}

#[test]
fn paths_name_resources() {
    let parse = |group: &str, path: &str| {
        Target::parse(group, "v1", &path.split('/').collect::<Vec<_>>())
            .ok()
            .map(|t| (t.resource.plural, t.namespace, t.name, t.subresource))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        parse("", "namespaces/a/services/b"),
        Some(("services", some("a"), some("b"), None))
    );
    assert_eq!(
        parse("", "namespaces/a/services/b/status"),
        Some(("services", some("a"), some("b"), some("status")))
    );
    assert_eq!(
        parse("", "namespaces/a/status"),
        Some(("namespaces", None, some("a"), some("status")))
    );
    assert_eq!(parse("", "secrets"), Some(("secrets", None, None, None)));
    assert_eq!(
        parse("", "namespaces/a/services/b%2Dc"),
        Some(("services", some("a"), some("b-c"), None))
    );

    for unknown in [
        "pods",
        "namespaces/a/pods",
        "secrets/x",
        "namespaces/a/secrets/x/status",
        "namespaces/a/nodes",
    ] {
        assert_eq!(parse("", unknown), None, "{unknown}");
    }
    assert_eq!(
        Query::parse("?&limit=5&x=a%20b+c&watch=1").text("x"),
        "a b c"
    );
}
