//! Makes the limits of clients from annotations.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use http::StatusCode;

use super::annotations::LimitAnnotations;
use crate::routing::{ClientLimits, Limits, Pace, Rate};

/// The time of a limit of HAProxy without an annotation.
const PERIOD: Duration = Duration::from_secs(1);
/// The burst without an annotation, in seconds or minutes of the rate.
const BURST: u32 = 5;

/// Returns the limits of the clients of an object; `None` if there are none.
pub(super) fn limits(values: &LimitAnnotations, object: String) -> Option<Arc<ClientLimits>> {
    let multiplier = values.burst.unwrap_or(BURST);
    let rate = |count: u32, period: Duration| Rate {
        interval: period / count,
        burst: count.saturating_mul(multiplier),
    };
    // Not more than these at once, as HAProxy counts them.
    let evenly = |count: u32, period: Duration| Rate {
        interval: period / count,
        burst: count - 1,
    };
    let of_period = || {
        let period = values.period.unwrap_or(PERIOD);
        Some(evenly(values.of_period?, period))
    };
    let has_no_burst = values.has_no_burst && values.burst.is_none();
    let of_second = values.per_second.map(|count| match has_no_burst {
        true => evenly(count, Duration::from_secs(1)),
        false => rate(count, Duration::from_secs(1)),
    });
    let status = match of_second {
        _ if values.is_of_haproxy_ingress => Some(StatusCode::TOO_MANY_REQUESTS),
        None if values.of_period.is_some() => Some(values.status.unwrap_or(StatusCode::FORBIDDEN)),
        _ => None,
    };
    let limits = Limits {
        rates: [
            of_second.or_else(of_period),
            values
                .per_minute
                .map(|count| rate(count, Duration::from_secs(60))),
        ],
        in_flight: values.in_flight,
    };
    if limits == Limits::default() {
        return None;
    }

    let from: BTreeSet<&str> = values.from.iter().map(|name| &**name).collect();
    let from: Vec<&str> = from.into_iter().collect();
    Some(Arc::new(ClientLimits {
        from: from.join(", ").into(),
        object: object.into(),
        limits,
        exempt: values.exempt.iter().copied().collect(),
        is_shared: false,
        status,
    }))
}

/// Returns the pace of the responses of an Ingress.
pub(super) fn pace(values: &LimitAnnotations) -> Option<Pace> {
    let bytes = |kilobytes: u32| u64::from(kilobytes) * 1024;
    Some(Pace {
        rate: bytes(values.rate?),
        after: values.rate_after.map_or(0, bytes),
    })
}
