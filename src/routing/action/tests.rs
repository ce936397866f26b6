use super::*;
use crate::routing::{
    BackendId, BackendSettings, CanaryTerms, Endpoint, EndpointSet, Origin, PlainGet, Protocol,
};

const GET: PlainGet<'_> = PlainGet { query: None };

fn backend(name: &str) -> Arc<Backend> {
    let id = BackendId {
        namespace: "n".into(),
        service: name.into(),
        port: 80,
    };
    Arc::new(Backend::new(BackendSettings::new(id, Protocol::Http1)))
}

#[test]
fn weights_decide_the_share_of_each_backend() {
    let split = Split::weighted([
        (1, Ok(backend("a"))),
        (0, Ok(backend("never"))),
        (6, Ok(backend("b"))),
        (3, Err(Refusal::InvalidBackend)),
    ]);
    let mut state = 7_u64;
    let mut seen = [0_u32; 3];
    for _ in 0..10_000 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        match split.choose(&GET, || state) {
            Ok(backend) => match &*backend.id().service {
                "a" => seen[0] += 1,
                "b" => seen[1] += 1,
                other => panic!("{other}"),
            },
            Err(refusal) => {
                assert_eq!(refusal, Refusal::InvalidBackend);
                seen[2] += 1;
            }
        }
    }
    for (count, share) in seen.into_iter().zip([1_000, 6_000, 3_000]) {
        assert!(count.abs_diff(share) < 200, "{seen:?}");
    }
    assert_eq!(
        split.choose(&GET, || u64::MAX).err(),
        Some(Refusal::InvalidBackend)
    );
    assert!(
        split
            .choose(&GET, || 0)
            .is_ok_and(|one| &*one.id().service == "a")
    );
}

#[test]
fn a_split_without_weights_refuses_with_500() {
    for split in [
        Split::weighted([]),
        Split::weighted([(0, Ok(backend("a"))), (0, Err(Refusal::UnknownService))]),
    ] {
        let refusal = split.choose(&GET, || 1).expect_err("no backend");
        assert_eq!(refusal.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}

#[test]
fn a_canary_has_its_part_and_the_main_backends_the_rest() {
    let next = backend("next");
    let endpoint = Endpoint::at("10.0.0.1:80".parse().expect("an address"));
    next.set_endpoints(EndpointSet::Addresses([endpoint].into()));
    let canary = |weight| Canary {
        origin: Origin {
            namespace: "n".into(),
            name: "next".into(),
            field: "f".into(),
            requests: None,
            priority: None,
        },
        backend: next.clone(),
        terms: Arc::new(CanaryTerms {
            header: None,
            cookie: None,
            weight,
            total: 4,
            ignores_sessions: false,
        }),
        stickiness: None,
        balancing: None,
    };
    let to = |split: &Split, random| {
        let chosen = split.choose(&GET, || random).expect("a backend");
        chosen.id().service.to_string()
    };

    let split = Split::to(backend("a")).with_canary(canary(1));
    assert_eq!(to(&split, 0), "next");
    assert_eq!(to(&split, u64::MAX / 4 + 1), "a");
    let names: Vec<_> = split.backends().map(|one| one.id().to_string()).collect();
    assert_eq!(names, ["n/a:80", "n/next:80"]);

    let weighted = Split::weighted([(1, Ok(backend("a"))), (1, Ok(backend("b")))]);
    let split = weighted.with_canary(canary(4)).with_canary(canary(1));
    assert_eq!(to(&split, 0), "next");
    assert_eq!(to(&split, u64::MAX / 3), "a");
    assert_eq!(to(&split, u64::MAX), "b");
}

#[test]
fn a_redirect_changes_what_it_names() {
    let same = Redirect {
        status: StatusCode::FOUND,
        https: None,
        host: None,
        port: None,
        path: None,
        is_relative: false,
    };
    let prefix = |old: &str, new: &str| Redirect {
        path: Some(PathChange::Prefix {
            old: old.into(),
            new: new.into(),
        }),
        ..same.clone()
    };
    let host = Host::parse("b.example").expect("a host");
    for (redirect, expected) in [
        (same.clone(), "http://a.example:8080/v1/x?q"),
        (
            Redirect {
                https: Some(true),
                ..same.clone()
            },
            "https://a.example:8443/v1/x?q",
        ),
        (
            Redirect {
                https: Some(false),
                ..same.clone()
            },
            "http://a.example/v1/x?q",
        ),
        (
            Redirect {
                port: Some(80),
                ..same.clone()
            },
            "http://a.example/v1/x?q",
        ),
        (
            Redirect {
                host: Some(host),
                ..same.clone()
            },
            "http://b.example:8080/v1/x?q",
        ),
        (
            Redirect {
                path: Some(PathChange::Whole("/new".into())),
                ..same.clone()
            },
            "http://a.example:8080/new?q",
        ),
        (prefix("/v1", "/v2"), "http://a.example:8080/v2/x?q"),
        (prefix("/v1", "/"), "http://a.example:8080/x?q"),
        (prefix("/v1/x", "/v2/"), "http://a.example:8080/v2?q"),
        (prefix("/v1/x", ""), "http://a.example:8080/?q"),
        (prefix("", "/v2"), "http://a.example:8080/v2/v1/x?q"),
    ] {
        let from = RequestUrl {
            https: false,
            host: "a.example",
            port: 8080,
            https_port: 8443,
            path: "/v1/x",
            query: Some("q"),
        };
        assert_eq!(redirect.location(from), expected, "{redirect:?}");
    }
}
