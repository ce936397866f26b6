//! Classes that are served, and the summary of the others.

use super::*;

/// An Ingress of a class, by field or by annotation.
fn of_class(name: &str, class: Option<&str>, old: Option<&str>) -> Value {
    let mut one = ingress(name, &format!("{name}.example"), "/", "web");
    if let Some(class) = class {
        one["spec"]["ingressClassName"] = class.into();
    }
    if let Some(old) = old {
        one["metadata"]["annotations"] = json!({"kubernetes.io/ingress.class": old});
    }
    one
}

/// Class and number of Ingresses.
fn counts(classes: &[OtherClass]) -> Vec<(&str, usize)> {
    classes
        .iter()
        .map(|one| (&*one.class, one.ingresses))
        .collect()
}

#[test]
fn ingresses_of_other_classes_are_counted() {
    let mut index = index();
    index.apply(apply(of_class("a", Some("nginx"), None)));
    index.apply(apply(of_class("b", None, Some("nginx"))));
    index.apply(apply(of_class("c", Some("traefik"), Some("nginx"))));
    index.apply(apply(of_class("ours", Some("gatelet"), None)));
    let reported = index.compile().other_classes.expect("they are new");
    assert_eq!(counts(&reported), [("nginx", 2), ("traefik", 1)]);

    // Only changes are reported again.
    index.apply(apply(of_class("ours", Some("gatelet"), None)));
    assert_eq!(index.compile().other_classes, None);

    index.apply(delete(Kind::Ingress, "c"));
    assert_eq!(
        counts(&index.compile().other_classes.expect("they changed")),
        [("nginx", 2)]
    );
    assert_eq!(counts(&index.other_classes()), [("nginx", 2)]);
}

#[test]
fn many_classes_are_put_together() {
    let mut index = index();
    for number in 0..20 {
        index.apply(apply(of_class(
            &format!("i{number}"),
            Some(&format!("class-{number}")),
            None,
        )));
    }

    let reported = index.compile().other_classes.expect("they are new");
    assert_eq!(reported.len(), 16);
    assert_eq!(counts(&reported).last(), Some(&("(others)", 5)));
}

#[test]
fn guards_of_other_classes_are_counted() {
    let mut index = index();
    for (name, annotation) in [
        ("a", "nginx.ingress.kubernetes.io/modsecurity-snippet"),
        ("b", "nginx.ingress.kubernetes.io/modsecurity-snippet"),
        ("c", "nginx.ingress.kubernetes.io/stream-snippet"),
        ("d", "nginx.ingress.kubernetes.io/enable-cors"),
    ] {
        let mut one = of_class(name, Some("nginx"), None);
        one["metadata"]["annotations"] = json!({annotation: "true"});
        index.apply(apply(one));
    }

    let reported = index.compile().other_classes.expect("they are new");
    let guards = [
        ("nginx.ingress.kubernetes.io/modsecurity-snippet".into(), 2),
        ("nginx.ingress.kubernetes.io/stream-snippet".into(), 1),
    ];
    assert_eq!(
        reported,
        [OtherClass {
            class: "nginx".into(),
            ingresses: 4,
            guarded: 3,
            guards: guards.into()
        }]
    );
}

#[test]
fn classes_of_the_settings_are_taken_over() {
    let mut index = index();
    index.objects.settings.classes = vec!["nginx".into()];
    index.apply(apply(service("web")));

    // Its own IngressClass may be there or not.
    for _ in 0..2 {
        index.apply(apply(of_class("a", Some("nginx"), None)));
        index.apply(apply(of_class("b", None, Some("nginx"))));
        index.apply(apply(of_class("c", Some("traefik"), None)));
        let reported = index.compile().other_classes;
        assert!(reported.is_none_or(|reported| counts(&reported) == [("traefik", 1)]));
        let served = ["a.example", "b.example", "c.example"].map(|host| met(&index, host, "/"));
        assert_eq!(served, ["empty", "empty", "404"]);
        index.apply(apply(json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {"name": "nginx", "annotations": {
                "ingressclass.kubernetes.io/is-default-class": "true"}},
            "spec": {"controller": "k8s.io/ingress-nginx"},
        })));
    }

    // Ingresses without a class are of the default one.
    index.apply(Event::Delete(Key {
        kind: Kind::IngressClass,
        namespace: "".into(),
        name: "gatelet".into(),
    }));
    index.apply(apply(of_class("none", None, None)));
    index.compile();
    assert_eq!(met(&index, "none.example", "/"), "empty");
}

fn class(name: &str, controller: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
        "metadata": {"name": name}, "spec": {"controller": controller},
    })
}

#[test]
fn a_name_is_proposed_while_no_class_is_ours() {
    let mut index = index();
    assert_eq!(index.missing_class(), None);
    index.apply(delete(Kind::IngressClass, "gatelet"));
    assert_eq!(index.missing_class(), Some("gatelet"));
    index.apply(apply(class("gatelet", "k8s.io/ingress-nginx")));
    assert_eq!(index.missing_class(), Some("gatelet-ingress"), "it exists");

    index.apply(Event::Refused(Kind::IngressClass));
    assert_eq!(index.missing_class(), None, "one may exist");
    index.apply(Event::Reset(Kind::IngressClass, Vec::new()));
    assert_eq!(index.missing_class(), Some("gatelet"));
    index.apply(apply(class("any", "gatelet.dev/ingress-controller")));
    assert_eq!(index.missing_class(), None);
}

#[test]
fn no_name_is_proposed_if_no_class_is_needed() {
    let mut index = index();
    index.apply(Event::Reset(Kind::IngressClass, Vec::new()));
    index.objects.settings.classes = vec!["nginx".into()];
    assert_eq!(index.missing_class(), None);
    index.objects.settings.classes.clear();
    index.objects.settings.classless = true;
    assert_eq!(index.missing_class(), None);
}
