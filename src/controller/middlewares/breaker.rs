//! The middleware `circuitBreaker`.

use std::time::Duration;

use http::StatusCode;

use super::{Fields, Making, Problem, Step};
use crate::routing::{BreakerCondition, CircuitBreaker};

/// The terms without fields of their own.
const CHECK_PERIOD: Duration = Duration::from_millis(100);
const OPEN_FOR: Duration = Duration::from_secs(10);
const RECOVERS_IN: Duration = Duration::from_secs(10);
/// The longest time of a field.
const MAX_TIME: Duration = Duration::from_secs(24 * 3600);

impl Making<'_> {
    pub(super) fn circuit_breaker(&mut self, mut fields: Fields<'_>) -> Result<(), Problem> {
        let expression = fields.needed("expression")?;
        let condition = BreakerCondition::parse(expression);
        let condition =
            condition.map_err(|error| fields.invalid("expression", error.to_string()))?;

        let mut time = |name: &str, by_default: Duration| {
            let time = fields.duration(name)?.filter(|time| !time.is_zero());
            match time.unwrap_or(by_default) {
                time if time > MAX_TIME => Err(fields.invalid(name, "it is more than a day")),
                time => Ok(time),
            }
        };
        let check_period = time("checkPeriod", CHECK_PERIOD)?;
        let open_for = time("fallbackDuration", OPEN_FOR)?;
        let recovers_in = time("recoveryDuration", RECOVERS_IN)?;

        let status = fields.number("responseCode")?.filter(|code| *code != 0);
        let status = status.map_or(Ok(StatusCode::SERVICE_UNAVAILABLE), |code| {
            let status = u16::try_from(code).ok().map(StatusCode::from_u16);
            let status = status.and_then(Result::ok);
            let status = status.filter(|status| (200..600).contains(&status.as_u16()));
            status.ok_or_else(|| fields.invalid("responseCode", "it is not from 200 to 599"))
        })?;
        fields.finish()?;

        self.counting_step(Step::Breaker(CircuitBreaker {
            from: self.from(),
            object: self.subject().into(),
            condition,
            check_period,
            open_for,
            recovers_in,
            status,
        }));
        Ok(())
    }
}
