//! Middlewares that limit requests, and how they are forwarded.

use std::time::Duration;

use http::StatusCode;

use super::{Fields, Making, Problem, Step};
use crate::routing::{ClientLimits, Limits, Prefixes, Rate};

/// The most attempts for a request.
const MAX_ATTEMPTS: u32 = 16;

/// The clients that count together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Client,
    Host,
}

impl Making<'_> {
    pub(super) fn rate_limit(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let average = fields.number("average")?.unwrap_or_default();
        let period = fields.duration("period")?;
        let period = period.filter(|period| !period.is_zero());
        let period = period.unwrap_or(Duration::from_secs(1));
        let burst = fields.number("burst")?.unwrap_or(1).max(1);
        let source = source(&mut fields, Source::Client)?;
        fields.absent("redis", "requests are counted by each gatelet for itself")?;
        if average < 0 {
            return Err(fields.invalid("average", "it is negative"));
        }

        let average = u32::try_from(average);
        let average = average.map_err(|_large| fields.invalid("average", "it is too large"))?;
        fields.finish()?;
        if average == 0 {
            return Ok(());
        }
        let rate = Rate {
            interval: period / average,
            burst: u32::try_from(burst - 1).unwrap_or(u32::MAX),
        };
        let limits = Limits {
            rates: [Some(rate), None],
            in_flight: None,
        };
        self.limit(limits, source);
        Ok(())
    }

    pub(super) fn in_flight_req(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let amount = fields.number("amount")?.unwrap_or_default();
        let source = source(&mut fields, Source::Host)?;
        let in_flight = u32::try_from(amount);
        let in_flight = in_flight.map_err(|_bad| fields.invalid("amount", "it is out of range"))?;
        if self.made.has_in_flight {
            return Err(fields.unsupported("amount", "another one limits requests in flight"));
        }
        fields.finish()?;

        self.made.has_in_flight = true;
        let limits = Limits {
            in_flight: Some(in_flight),
            ..Limits::default()
        };
        self.limit(limits, source);
        Ok(())
    }

    fn limit(&mut self, limits: Limits, source: Source) {
        let limits = ClientLimits {
            from: self.from(),
            object: self.subject().into(),
            limits,
            exempt: Prefixes::default(),
            is_shared: source == Source::Host,
            status: Some(StatusCode::TOO_MANY_REQUESTS),
        };
        self.counting_step(Step::Limit(limits));
    }

    pub(super) fn buffering(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let max = fields.number("maxRequestBodyBytes")?.unwrap_or_default();
        for name in ["memRequestBodyBytes", "memResponseBodyBytes"] {
            if fields.has(name) {
                let why = "the setting proxy.max_buffered_bytes decides";
                self.note(&fields.field(name), why);
            }
        }
        fields.absent("maxResponseBodyBytes", "responses have no limit")?;
        fields.absent(
            "retryExpression",
            "a request is sent again only where that is safe",
        )?;
        fields.finish()?;

        let max = u64::try_from(max).ok().filter(|max| *max > 0);
        let known = self.made.max_body_bytes;
        self.made.max_body_bytes = max.into_iter().chain(known).min();
        self.made.reads_ahead = true;
        Ok(())
    }

    pub(super) fn retry(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        const SAFE: &str = "a request is sent again only where that is safe, and at once";
        let attempts = fields.number("attempts")?.unwrap_or_default();
        let attempts = u32::try_from(attempts)
            .ok()
            .filter(|attempts| *attempts > 0);
        let attempts = attempts.ok_or_else(|| fields.invalid("attempts", "it is not above 0"))?;
        for name in ["initialInterval", "maxRequestBodyBytes"] {
            if fields.has(name) {
                self.note(&fields.field(name), SAFE);
            }
        }
        for name in [
            "status",
            "timeout",
            "disableRetryOnNetworkError",
            "retryNonIdempotentMethod",
        ] {
            fields.absent(name, SAFE)?;
        }
        if attempts > MAX_ATTEMPTS {
            self.note(&fields.field("attempts"), "16 attempts are made");
        }
        fields.finish()?;

        let attempts = attempts.min(MAX_ATTEMPTS);
        let known = self.made.attempts.unwrap_or_default();
        self.made.attempts = Some(known.max(attempts));
        Ok(())
    }

    /// Passes over a middleware without which responses mean the same.
    pub(super) fn without_effect(&mut self, mut fields: Fields<'_>, why: &str) {
        fields.pass_over();
        self.note(fields.path(), why);
    }
}

/// Reads `sourceCriterion`.
fn source(fields: &mut Fields<'_>, by_default: Source) -> Result<Source, Problem> {
    const CLIENT: &str = "clients are those that the setting trusted_proxies names";
    let Some(mut criterion) = fields.part("sourceCriterion")? else {
        return Ok(by_default);
    };
    criterion.absent(
        "requestHeaderName",
        "requests are counted by client or by host",
    )?;
    let by_host = criterion.flag("requestHost")?;

    let strategy = criterion.part("ipStrategy")?;
    let by_client = strategy.is_some();
    if let Some(mut strategy) = strategy {
        if strategy.number("depth")?.is_some_and(|depth| depth != 0) {
            return Err(strategy.unsupported("depth", CLIENT));
        }
        strategy.absent("excludedIPs", CLIENT)?;
        if strategy
            .number("ipv6Subnet")?
            .is_some_and(|bits| bits != 64)
        {
            let why = "IPv6 networks of 64 bits are one client";
            return Err(strategy.unsupported("ipv6Subnet", why));
        }
        strategy.finish()?;
    }
    match (by_client, by_host) {
        (true, true) => Err(criterion.invalid("requestHost", "ipStrategy excludes it")),
        (true, false) => criterion.finish().map(|()| Source::Client),
        (false, true) => criterion.finish().map(|()| Source::Host),
        (false, false) => criterion.finish().map(|()| by_default),
    }
}
