//! Circuit breakers: the condition under which requests are no longer sent to a backend, in the
//! language of Traefik.

use std::{sync::Arc, time::Duration};

use http::StatusCode;

/// The most comparisons in a condition.
const MAX_COMPARISONS: usize = 16;
/// The most parentheses in each other.
const MAX_DEPTH: usize = 8;

/// The terms of a circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CircuitBreaker {
    /// The object that it is made from, for people.
    pub from: Box<str>,
    /// The rule whose requests it counts.
    pub object: Arc<str>,
    /// The condition under which it opens.
    pub condition: BreakerCondition,
    /// The least time between two looks at the condition.
    pub check_period: Duration,
    /// The time for which it stays open.
    pub open_for: Duration,
    /// The time in which it lets more and more requests through again.
    pub recovers_in: Duration,
    /// The status of responses meanwhile.
    pub status: StatusCode,
}

/// A condition on the responses of the last seconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BreakerCondition {
    /// All of these are met.
    All(Box<[Self]>),
    /// One of these is met.
    Any(Box<[Self]>),
    /// A measure compares with a number in this way.
    Compare(Measure, Comparison, Number),
}

/// A measure of responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// The part of requests without a response of the backend.
    NetworkErrors,
    /// The number of responses with one of the first statuses (from, to, without the last) by that
    /// with one of the second.
    Responses([u16; 4]),
    /// The time in milliseconds that this percentage of requests took at most.
    Latency(Number),
}

/// A way in which two numbers compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `==`
    Same,
    /// `!=`
    Other,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

/// A number that is not negative, by its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Number(u64);

/// The reason why a condition is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BreakerError {
    /// It has something that is not expected.
    #[error("something else is expected at {0:?}")]
    Unexpected(String),
    /// It is too long.
    #[error("it has more than {MAX_COMPARISONS} comparisons, or too many parentheses")]
    TooLong,
}

impl Number {
    /// Returns the number.
    pub fn value(self) -> f64 {
        f64::from_bits(self.0)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self(number.to_bits())
    }
}

impl BreakerCondition {
    /// Parses a condition, such as `NetworkErrorRatio() > 0.3 || LatencyAtQuantileMS(50.0) > 100`.
    ///
    /// # Errors
    /// If it is none, or too long.
    pub fn parse(text: &str) -> Result<Self, BreakerError> {
        let mut parser = Parser {
            rest: text,
            comparisons: 0,
        };
        let condition = parser.any(0)?;
        match parser.rest.trim_start() {
            "" => Ok(condition),
            _ => Err(parser.unexpected()),
        }
    }

    /// Returns true if it is met, given the value of each measure.
    pub fn is_met(&self, value: &impl Fn(Measure) -> f64) -> bool {
        match self {
            Self::All(all) => all.iter().all(|one| one.is_met(value)),
            Self::Any(any) => any.iter().any(|one| one.is_met(value)),
            Self::Compare(measure, comparison, number) => {
                comparison.holds(value(*measure), number.value())
            }
        }
    }

    /// Returns true if it looks at the time that requests take.
    pub fn has_latency(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::has_latency),
            Self::Compare(measure, ..) => matches!(measure, Measure::Latency(_)),
        }
    }
}

impl Comparison {
    #[allow(clippy::float_cmp, reason = "it is what the condition asks for")]
    fn holds(self, one: f64, other: f64) -> bool {
        match self {
            Self::Same => one == other,
            Self::Other => one != other,
            Self::Below => one < other,
            Self::AtMost => one <= other,
            Self::Above => one > other,
            Self::AtLeast => one >= other,
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    comparisons: usize,
}

impl<'a> Parser<'a> {
    fn unexpected(&self) -> BreakerError {
        BreakerError::Unexpected(self.rest.trim_start().chars().take(20).collect())
    }

    /// Takes a token, if it is next.
    fn takes(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        if let Some(rest) = rest {
            self.rest = rest;
        }
        rest.is_some()
    }

    fn expect(&mut self, token: &str) -> Result<(), BreakerError> {
        match self.takes(token) {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    /// Parses parts with `||` between them.
    fn any(&mut self, depth: usize) -> Result<BreakerCondition, BreakerError> {
        let mut parts = vec![self.all(depth)?];
        while self.takes("||") {
            parts.push(self.all(depth)?);
        }
        Ok(combined(parts, BreakerCondition::Any))
    }

    /// Parses parts with `&&` between them.
    fn all(&mut self, depth: usize) -> Result<BreakerCondition, BreakerError> {
        let mut parts = vec![self.part(depth)?];
        while self.takes("&&") {
            parts.push(self.part(depth)?);
        }
        Ok(combined(parts, BreakerCondition::All))
    }

    fn part(&mut self, depth: usize) -> Result<BreakerCondition, BreakerError> {
        if self.takes("(") {
            if depth >= MAX_DEPTH {
                return Err(BreakerError::TooLong);
            }
            let inner = self.any(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }

        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return Err(BreakerError::TooLong);
        }

        let measure = self.measure()?;
        let comparison = self.comparison()?;
        Ok(BreakerCondition::Compare(
            measure,
            comparison,
            self.number()?,
        ))
    }

    fn measure(&mut self) -> Result<Measure, BreakerError> {
        let start = self.rest;

        let measure = if self.takes("NetworkErrorRatio") {
            self.expect("(")?;
            Measure::NetworkErrors
        } else if self.takes("LatencyAtQuantileMS") {
            self.expect("(")?;
            let quantile = self.number()?;

            if quantile.value() > 100.0 {
                self.rest = start;
                return Err(self.unexpected());
            }
            Measure::Latency(quantile)
        } else {
            self.expect("ResponseCodeRatio")?;
            self.expect("(")?;

            let mut statuses = [0; 4];

            for (at, status) in statuses.iter_mut().enumerate() {
                if at > 0 {
                    self.expect(",")?;
                }
                let text = self.digits();
                *status = text.parse().map_err(|_error| self.unexpected())?;
            }
            Measure::Responses(statuses)
        };

        self.expect(")")?;
        Ok(measure)
    }

    fn comparison(&mut self) -> Result<Comparison, BreakerError> {
        let all = [
            ("==", Comparison::Same),
            ("!=", Comparison::Other),
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("<", Comparison::Below),
            (">", Comparison::Above),
        ];
        let found = all.into_iter().find(|(token, _)| self.takes(token));
        found.map(|(_, one)| one).ok_or_else(|| self.unexpected())
    }

    fn number(&mut self) -> Result<Number, BreakerError> {
        let text = self.digits();
        let number: Result<f64, _> = text.parse();
        let number = number.map_err(|_error| self.unexpected())?;
        Ok(number.into())
    }

    /// Takes digits and points.
    fn digits(&mut self) -> &'a str {
        let text = self.rest.trim_start();
        let is_part = |c: char| c.is_ascii_digit() || c == '.';
        let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
        let (digits, rest) = text.split_at(end);
        if !digits.is_empty() {
            self.rest = rest;
        }
        digits
    }
}

/// Returns the only part, or all in one.
fn combined(
    mut parts: Vec<BreakerCondition>,
    make: fn(Box<[BreakerCondition]>) -> BreakerCondition,
) -> BreakerCondition {
    match parts.len() {
        1 => parts.remove(0),
        _ => make(parts.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports whether a condition is met with 40 % of network errors, 25 % of errors, and 120 ms.
    fn is_met(text: &str) -> bool {
        let condition = BreakerCondition::parse(text).expect(text);
        condition.is_met(&|measure| match measure {
            Measure::NetworkErrors => 0.4,
            Measure::Responses(_) => 0.25,
            Measure::Latency(_) => 120.0,
        })
    }

    #[test]
    fn conditions_compare_measures() {
        for (text, expected) in [
            ("NetworkErrorRatio() > 0.3", true),
            ("NetworkErrorRatio()>0.4", false),
            ("NetworkErrorRatio() >= 0.4", true),
            ("ResponseCodeRatio(500, 600, 0, 600) == 0.25", true),
            ("ResponseCodeRatio(500,600,0,600) != 0.25", false),
            ("LatencyAtQuantileMS(50.0) < 100", false),
            ("LatencyAtQuantileMS(50) <= 120", true),
            (
                "NetworkErrorRatio() > 0.5 || LatencyAtQuantileMS(50.0) > 100",
                true,
            ),
            (
                "NetworkErrorRatio() > 0.5 && LatencyAtQuantileMS(50.0) > 100",
                false,
            ),
            (
                "NetworkErrorRatio() > 0.3 || NetworkErrorRatio() > 0.3 && NetworkErrorRatio() > 1",
                true,
            ),
            (
                "(NetworkErrorRatio() > 0.3 || NetworkErrorRatio() > 0) && NetworkErrorRatio() > 1",
                false,
            ),
        ] {
            assert_eq!(is_met(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let deep = format!("{}NetworkErrorRatio() > 1{}", "(".repeat(9), ")".repeat(9));
        let long = ["NetworkErrorRatio() > 1"; 17].join(" || ");
        for text in [
            "",
            "true",
            "NetworkErrorRatio()",
            "NetworkErrorRatio() > x",
            "NetworkErrorRatio() > -1",
            "NetworkErrorRatio() > 0.5 or NetworkErrorRatio() > 1",
            "NetworkErrorRatio > 0.5",
            "0.5 > NetworkErrorRatio()",
            "!(NetworkErrorRatio() > 0.5)",
            "LatencyAtQuantileMS() > 1",
            "LatencyAtQuantileMS(101) > 1",
            "ResponseCodeRatio(500, 600) > 0.5",
            "ResponseCodeRatio(5e2, 600, 0, 600) > 0.5",
            "ResponseCodeRatio(99999, 600, 0, 600) > 0.5",
            "(NetworkErrorRatio() > 0.5",
            "NetworkErrorRatio() > 0.5)",
            "NetworkErrorRatio() > 0.5 ||",
            &deep,
            &long,
        ] {
            assert!(BreakerCondition::parse(text).is_err(), "{text}");
        }
    }
}
