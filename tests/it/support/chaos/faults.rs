//! The script of faults: the calls that go wrong, and their faults. Faults on the same call act
//! together, so a problem and a `Retry-After` make one response.

use std::time::Duration;

use super::problem::Problem;

/// The operation of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    Account,
    Authz,
    Certificate,
    Challenge,
    Directory,
    Finalize,
    KeyChange,
    NewAccount,
    NewNonce,
    NewOrder,
    Order,
    RenewalInfo,
    RevokeCert,
    /// In a fault: all endpoints. Never in the log.
    Any,
}

/// The calls to an endpoint that are meant, counted since the script was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nth {
    /// The first call is 1.
    Call(u32),
    Every,
    /// This many out of a hundred, the same ones in every run.
    Percent(u32),
}

/// One line of the script.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub endpoint: Endpoint,
    pub nth: Nth,
    pub action: Action,
}

/// A fault.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The caller's account is deactivated first.
    AccountDeactivated,
    /// The CA forgets accounts, orders and certificates first.
    AccountUnknown,
    /// A response of a proxy in front of the CA; the CA does not see the call.
    Answer {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// Renewal information that is wrong; `Missing` acts on the directory.
    Ari(Ari),
    /// New order: an authorization is for another name.
    AuthzOfAnother,
    /// New order: the authorizations are valid already.
    AuthzReuse,
    /// The nonce is refused.
    BadNonce,
    /// Finalize: the certificate is not what was ordered.
    Chain(WrongChain),
    /// The connection ends, and nothing has changed.
    CloseBeforeCommit,
    /// The CA carries the request out, and the response is lost.
    CloseAfterCommit,
    /// The connection ends after this many bytes of the response's body.
    CutAfter(usize),
    /// Seconds between the `Date` field and the CA's clock.
    DateOffset(i64),
    /// A delay before anything is done.
    Delay(Duration),
    /// Directory: the URLs for new things change, and the old ones are gone.
    DirectoryMoved,
    /// Order: the first identifier comes twice, with its authorization.
    DuplicatedIdentifier,
    /// The CA carries the request out, and the response never comes.
    HangAfterCommit,
    /// The connection accepts no other request after this (GOAWAY, `Connection: close`).
    GoAway,
    /// No `Replay-Nonce`.
    NoNonce,
    /// Optional members of the response are `null`, or have another type than in RFC 8555.
    OddMembers,
    /// The order that the call is about is invalid from now on.
    OrderInvalid(Problem),
    /// A refusal of the CA, which has checked the signature and done nothing else.
    Problem(Problem),
    /// New order: the requested profile is not used.
    ProfileIgnored,
    /// New order: the requested profile is refused.
    ProfileUnknown,
    /// A redirect to another location.
    Redirect(String),
    /// New order: `replaces` is accepted and not repeated.
    ReplacesNotEchoed,
    RetryAfter(RetryAfter),
    /// Challenge, finalize: the work is done only after this many polls.
    Stall(u32),
    /// Challenge: the same, and until then the challenge looks untouched, as Boulder shows it.
    StallUnseen(u32),
    /// Challenge of this kind: it fails, and stays pending for another try (RFC 8555 section 8.2).
    StaysPending(&'static str, Problem),
    /// Terms of service change; accounts that have not agreed to them are refused.
    TosChanged,
}

/// Ways to be wrong in `renewalInfo` (RFC 9773).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ari {
    /// After the end of the certificate.
    BeyondExpiry,
    Garbage,
    /// Not in the directory.
    Missing,
    /// Begins in an hour and says why.
    Moved,
    NotFound,
    NoRetryAfter,
    Past,
}

/// Ways to write `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// A date this many seconds from now.
    Date(i64),
    Garbage,
    /// Thirty years.
    Huge,
    Seconds(u64),
}

/// Ways for a certificate to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongChain {
    Expired,
    /// With one name more than was ordered.
    ExtraName,
    MissingIntermediate,
    /// Valid from next week on.
    NotYetValid,
    OneDayLife,
    OtherKey,
    OtherNames,
}

impl Fault {
    pub fn new(endpoint: Endpoint, nth: Nth, action: Action) -> Self {
        Self {
            endpoint,
            nth,
            action,
        }
    }

    /// At the first call.
    pub fn once(endpoint: Endpoint, action: Action) -> Self {
        Self::new(endpoint, Nth::Call(1), action)
    }

    /// At every call.
    pub fn always(endpoint: Endpoint, action: Action) -> Self {
        Self::new(endpoint, Nth::Every, action)
    }
}

/// The faults, with the number of calls and of actions of each.
#[derive(Default)]
pub(super) struct Script(Vec<(Fault, u32, u32)>);

impl Script {
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self(faults.into_iter().map(|fault| (fault, 0, 0)).collect())
    }

    /// Returns the fault of this call.
    pub(super) fn at(&mut self, endpoint: Endpoint) -> Vec<Action> {
        let mut actions = Vec::new();
        for (fault, asked, acted) in &mut self.0 {
            if fault.endpoint != endpoint && fault.endpoint != Endpoint::Any {
                continue;
            }
            *asked += 1;
            let now = match fault.nth {
                Nth::Call(number) => number == *asked,
                Nth::Every => true,
                // Fibonacci hashing: spreads evenly, and neighbours are independent.
                Nth::Percent(share) => (asked.wrapping_mul(2_654_435_769) >> 16) % 100 < share,
            };
            if now {
                *acted += 1;
                actions.push(fault.action.clone());
            }
        }
        actions
    }

    /// Faults that have not acted yet.
    pub(super) fn left(&self) -> Vec<Fault> {
        self.0
            .iter()
            .filter(|(_, _, acted)| *acted == 0)
            .map(|(fault, ..)| fault.clone())
            .collect()
    }
}
