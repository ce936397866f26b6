//! Circuit breakers. Each request is longer than the time between two looks at the condition, so
//! that every response decides.

use super::{Case, compare};

#[test]
fn breakers_open_as_those_of_traefik() {
    compare(&[
        Case {
            middlewares: &[(
                "m",
                "circuitBreaker: {expression: 'ResponseCodeRatio(500, 600, 0, 600) > 0.25', \
                 checkPeriod: 1ms, fallbackDuration: 60s}",
            )],
            named: &["m"],
            requests: &[
                ("/", &[]),
                ("/status/404", &[]),
                ("/status/500", &[]),
                ("/status/503", &[]),
                ("/", &[]),
                ("/status/404", &["-X", "POST", "-d", "body"]),
            ],
        },
        Case {
            middlewares: &[(
                "m",
                "circuitBreaker: {expression: 'NetworkErrorRatio() > 0.3', checkPeriod: 1ms, \
                 fallbackDuration: 60s, responseCode: 418}",
            )],
            named: &["m"],
            requests: &[
                ("/status/500", &[]),
                ("/status/503", &[]),
                ("/status/502", &[]),
                ("/status/504", &[]),
                ("/", &[]),
            ],
        },
        Case {
            middlewares: &[(
                "m",
                "circuitBreaker: {expression: 'LatencyAtQuantileMS(50.0) > 100', checkPeriod: \
                 1ms, fallbackDuration: 60s}",
            )],
            named: &["m"],
            requests: &[("/slow/300", &[]), ("/slow/300", &[]), ("/", &[])],
        },
        Case {
            middlewares: &[(
                "m",
                "circuitBreaker: {expression: 'NetworkErrorRatio() > 0.9 || \
                 ResponseCodeRatio(400, 500, 0, 600) >= 0.5 && LatencyAtQuantileMS(100.0) < \
                 20000', checkPeriod: 1ms, fallbackDuration: 60s}",
            )],
            named: &["m"],
            requests: &[
                ("/status/500", &[]),
                ("/status/404", &[]),
                ("/status/404", &[]),
                ("/", &[]),
            ],
        },
        // Those behind it count, and those before it see its own response.
        Case {
            middlewares: &[
                (
                    "pages",
                    "errors: {status: ['503'], service: {port: 80, name: pages}, query: /page}",
                ),
                (
                    "m",
                    "circuitBreaker: {expression: 'ResponseCodeRatio(401, 402, 0, 600) >= 0.5', \
                     checkPeriod: 1ms, fallbackDuration: 60s}",
                ),
                ("login", "basicAuth: {secret: users}"),
            ],
            named: &["pages", "m", "login"],
            requests: &[("/", &[]), ("/", &["-u", "sha:secret"])],
        },
    ]);
}
