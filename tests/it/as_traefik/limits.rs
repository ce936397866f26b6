//! Limits of clients and of sizes.

use super::{Case, compare};

/// A request that is above every limit of these tests comes first, where the limit counts.
#[test]
fn limits_are_those_of_traefik() {
    compare(&[
        Case {
            middlewares: &[("m", "buffering: {maxRequestBodyBytes: 5}")],
            named: &["m"],
            requests: &[
                ("/", &["-d", "12345"]),
                ("/", &["-d", "123456"]),
                ("/", &[]),
            ],
        },
        Case {
            middlewares: &[("m", "compress: {}")],
            named: &["m"],
            requests: &[
                (
                    "/bytes/3000",
                    &["-H", "Accept-Encoding: gzip", "--compressed"],
                ),
                (
                    "/bytes/100",
                    &["-H", "Accept-Encoding: gzip", "--compressed"],
                ),
                ("/bytes/3000", &["-H", "Accept-Encoding: gzip;q=0"]),
                ("/bytes/3000", &[]),
            ],
        },
        Case {
            middlewares: &[("m", "inFlightReq: {amount: 0}")],
            named: &["m"],
            requests: &[("/", &[])],
        },
        Case {
            middlewares: &[("m", "rateLimit: {average: 0}")],
            named: &["m"],
            requests: &[("/", &[]), ("/", &[]), ("/", &[])],
        },
        Case {
            // The request that looks whether the host is there is the first one.
            middlewares: &[("m", "rateLimit: {average: 1, period: 1h, burst: 3}")],
            named: &["m"],
            requests: &[("/", &[]), ("/", &[]), ("/", &[]), ("/other", &[])],
        },
        Case {
            middlewares: &[
                ("retry", "retry: {attempts: 2, initialInterval: 10ms}"),
                ("type", "contentType: {}"),
            ],
            named: &["retry", "type"],
            requests: &[("/", &[]), ("/status/503", &[])],
        },
    ]);
}
