use super::*;

/// A client that came to port 8080, without TLS.
fn conn(listener: Option<u16>, trusted: bool) -> ConnInfo {
    let client = "192.0.2.9:4000".parse().expect("an address");
    ConnInfo {
        client,
        peer: client,
        local: "192.0.2.1:8080".parse().expect("an address"),
        listener,
        client_ip: "192.0.2.9".into(),
        trusted,
        tls: None,
        pins: crate::proxy::upstream::pin::Pins::default(),
    }
}

fn ports(listener: Option<u16>, external: Option<u16>) -> HttpsPorts {
    HttpsPorts { listener, external }
}

fn fields(lines: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in lines {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

const X_FORWARDED_FOR: &str = "X-Forwarded-For";
const X_FORWARDED_PROTO: &str = "X-Forwarded-Proto";

#[test]
fn the_port_of_https_follows_from_host_and_ports() {
    for (host, listener, https, external, expected) in [
        // Mapped, or a Service 80 to 8080 and 443 to 8443.
        (None, 8080, Some(8443), None, 443),
        (None, 8080, Some(8443), Some(8444), 8444),
        (Some(80), 8080, Some(8443), None, 443),
        (Some(30080), 8080, Some(8443), None, 443),
        (Some(30080), 8080, Some(8443), Some(30443), 30443),
        // Directly.
        (Some(8080), 8080, Some(8443), None, 8443),
        (Some(8080), 8080, Some(8443), Some(8444), 8443),
        (None, 80, Some(443), None, 443),
        (None, 80, Some(8443), None, 8443),
        (Some(80), 80, Some(8443), None, 8443),
        // Port 80 is ours, and the setting says that HTTPS is mapped.
        (None, 80, Some(8443), Some(443), 443),
        // Another proxy terminates TLS.
        (None, 80, None, None, 443),
        (Some(8080), 8080, None, None, 443),
        (Some(8080), 8080, None, Some(8443), 8443),
    ] {
        let seen = Outside::of(
            &conn(Some(listener), false),
            &Fields::default(),
            host,
            ports(https, external),
        );
        assert_eq!(
            seen.https_port, expected,
            "{host:?} {listener} {https:?} {external:?}"
        );
    }
}

#[test]
fn the_port_of_a_balancer_is_not_ours_whatever_its_number() {
    let https = ports(Some(8443), None);

    let seen = Outside::of(&conn(None, false), &Fields::default(), Some(8080), https);
    assert_eq!((seen.https_port, seen.port), (443, 8080));

    for name in [X_FORWARDED_FOR, X_FORWARDED_PROTO] {
        let headers = fields(&[(name, "http")]);

        let seen = Outside::of(&conn(Some(8080), true), &headers, Some(8080), https);
        assert_eq!((seen.https_port, seen.port), (443, 8080));
    }

    // The PROXY protocol names the port itself.
    let seen = Outside::of(&conn(None, false), &Fields::default(), None, https);
    assert_eq!(
        (seen.scheme, seen.https_port, seen.port),
        (Scheme::Http, 443, 8080)
    );
    let mut ends_tls = conn(None, false);
    ends_tls.local.set_port(443);

    let seen = Outside::of(&ends_tls, &Fields::default(), None, https);
    assert_eq!(
        (seen.scheme, seen.https_port, seen.port),
        (Scheme::Https, 443, 443)
    );

    // A trusted peer that names no client is the client itself.
    let seen = Outside::of(
        &conn(Some(8080), true),
        &Fields::default(),
        Some(8080),
        https,
    );
    assert_eq!(seen.https_port, 8443);
}

#[test]
fn the_first_scheme_of_a_trusted_proxy_is_that_of_the_client() {
    let https = HttpsPorts::default();

    for (value, scheme, port) in [
        ("https", Scheme::Https, 443),
        ("HTTPS", Scheme::Https, 443),
        ("https, http", Scheme::Https, 443),
        (" https ,http", Scheme::Https, 443),
        ("http, https", Scheme::Http, 80),
        ("wss", Scheme::Https, 443),
        ("ws", Scheme::Http, 80),
        ("", Scheme::Http, 80),
        (", https", Scheme::Http, 80),
        ("gopher", Scheme::Http, 80),
    ] {
        let headers = fields(&[(X_FORWARDED_PROTO, value)]);

        let seen = Outside::of(&conn(Some(8080), true), &headers, None, https);
        assert_eq!((seen.scheme, seen.port), (scheme, port), "{value:?}");

        let seen = Outside::of(&conn(Some(8080), false), &headers, None, https);
        assert_eq!(
            (seen.scheme, seen.port),
            (Scheme::Http, 80),
            "{value:?} of a stranger"
        );
    }
}

#[test]
fn the_port_of_the_client_is_that_of_its_host() {
    let ports = HttpsPorts::default();
    let https = fields(&[(X_FORWARDED_PROTO, "https")]);
    let plain = Fields::default();

    for (headers, host, expected) in [
        (&plain, None, 80),
        (&plain, Some(8080), 8080),
        (&plain, Some(30080), 30080),
        (&https, None, 443),
        (&https, Some(8443), 8443),
        // Ours, put there by a proxy: no client uses HTTPS with it.
        (&https, Some(8080), 443),
    ] {
        let seen = Outside::of(&conn(Some(8080), true), headers, host, ports);
        assert_eq!(seen.port, expected, "{headers:?} {host:?}");
        let text = seen.port_text(&mut [0; 5]).to_vec();
        assert_eq!(text, expected.to_string().into_bytes());
    }
}
