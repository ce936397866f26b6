//! Compares passwords with their hashes. That takes long by design, so one thread does it for all
//! cores, behind everything else, and each core remembers the passwords that were right.

use std::{
    collections::{HashMap, HashSet},
    fmt, mem,
    net::IpAddr,
    sync::{
        Arc, Mutex, OnceLock,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::Duration,
};

use ring::{hmac, rand::SystemRandom};
use tokio::{sync::watch, time::timeout};

use super::request::error::{Error, Kind};
use crate::{
    limit,
    util::{password::PasswordHash, sync::lock},
};

/// Comparisons that wait for the thread.
const MAX_WAITING: usize = 64;
/// Comparisons of one client that wait, so that it does not lock out the others.
const MAX_WAITING_PER_CLIENT: usize = 8;
/// The time that a request waits for its comparison.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Right passwords that a core remembers, in each of two generations.
const REMEMBERED: usize = 512;

/// The name of a comparison: a hash of both sides with a key of this process, which nothing can be
/// guessed from.
type Name = [u8; 32];

/// The result of a comparison; `None` before there is one.
type Outcome = watch::Receiver<Option<bool>>;

/// The thread that compares, started with the first comparison. All cores share it.
#[derive(Debug, Default)]
pub(super) struct Comparer {
    queue: OnceLock<Option<SyncSender<Comparison>>>,
    waiting: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// The memory of one core.
pub(super) struct Logins {
    key: hmac::Key,
    young: HashSet<Name>,
    old: HashSet<Name>,
    pending: HashMap<Name, Outcome>,
}

struct Comparison {
    hash: PasswordHash,
    password: Box<[u8]>,
    outcome: watch::Sender<Option<bool>>,
    place: Place,
}

/// A place in the queue.
struct Place {
    waiting: Arc<Mutex<HashMap<IpAddr, usize>>>,
    client: IpAddr,
}

impl Comparer {
    /// Starts a comparison for a client.
    fn start(
        &self,
        hash: &PasswordHash,
        password: &[u8],
        client: IpAddr,
    ) -> Result<Outcome, Error> {
        let busy = || Error::us(Kind::Unavailable("too many logins wait to be checked"));
        let place = Place::take(&self.waiting, limit::network(client)).ok_or_else(busy)?;

        let (outcome, result) = watch::channel(None);
        let comparison = Comparison {
            hash: hash.clone(),
            password: password.into(),
            outcome,
            place,
        };
        let queue = self.queue.get_or_init(start_thread).as_ref();
        let queue = queue.ok_or_else(|| Error::us(Kind::Unavailable("no login can be checked")))?;
        match queue.try_send(comparison) {
            Ok(()) => Ok(result),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(busy()),
        }
    }
}

/// Starts the thread; `None` if the system has none to spare.
fn start_thread() -> Option<SyncSender<Comparison>> {
    let (queue, comparisons) = sync_channel(MAX_WAITING);
    let thread = std::thread::Builder::new().name("logins".to_owned());
    match thread.spawn(move || compare(&comparisons)) {
        Ok(_detached) => Some(queue),
        Err(error) => {
            tracing::error!(%error, "the thread that checks logins was not started");
            None
        }
    }
}

/// Compares until the process ends.
fn compare(comparisons: &Receiver<Comparison>) {
    crate::util::priority::lower();
    while let Ok(comparison) = comparisons.recv() {
        // Nobody waits once the client is gone.
        if comparison.outcome.is_closed() {
            continue;
        }
        let is_right = comparison.hash.verify(&comparison.password);
        drop(comparison.place);
        comparison.outcome.send_replace(Some(is_right));
    }
}

impl Place {
    fn take(waiting: &Arc<Mutex<HashMap<IpAddr, usize>>>, client: IpAddr) -> Option<Self> {
        let mut counts = lock(waiting);
        let count = counts.entry(client).or_default();
        if *count >= MAX_WAITING_PER_CLIENT {
            return None;
        }
        *count += 1;
        Some(Self {
            waiting: waiting.clone(),
            client,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = lock(&self.waiting);
        if let Some(count) = counts.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.client);
            }
        }
    }
}

impl Default for Logins {
    fn default() -> Self {
        let random = SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random);
        Self {
            key: key.expect("the system has random numbers"),
            young: HashSet::new(),
            old: HashSet::new(),
            pending: HashMap::new(),
        }
    }
}

impl Logins {
    /// Returns the name of a comparison.
    fn name(&self, hash: &PasswordHash, password: &[u8]) -> Name {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&hash.as_str().len().to_le_bytes());
        context.update(hash.as_str().as_bytes());
        context.update(password);
        let mut name = Name::default();
        name.copy_from_slice(context.sign().as_ref());
        name
    }

    /// Reports whether the password of a comparison was right before.
    fn remembers(&mut self, name: &Name) -> bool {
        if self.young.contains(name) {
            return true;
        }
        let is_known = self.old.remove(name);
        if is_known {
            self.remember(*name);
        }
        is_known
    }

    fn remember(&mut self, name: Name) {
        if self.young.len() >= REMEMBERED {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(name);
    }

    /// Returns the outcome of a comparison that is under way, or starts it.
    fn outcome(
        &mut self,
        name: Name,
        start: impl FnOnce() -> Result<Outcome, Error>,
    ) -> Result<Outcome, Error> {
        // Comparisons whose requests are all gone end without one to remove them.
        self.pending
            .retain(|_, outcome| outcome.borrow().is_none() && outcome.has_changed().is_ok());
        if let Some(outcome) = self.pending.get(&name) {
            return Ok(outcome.clone());
        }
        let outcome = start()?;
        self.pending.insert(name, outcome.clone());
        Ok(outcome)
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins").finish_non_exhaustive()
    }
}

/// Reports whether a password is the one of a hash, for a client.
///
/// # Errors
/// 503 if too many comparisons wait.
pub(super) async fn is_right(
    comparer: &Comparer,
    logins: &std::cell::RefCell<Logins>,
    hash: &PasswordHash,
    password: &[u8],
    client: IpAddr,
) -> Result<bool, Error> {
    let name = logins.borrow().name(hash, password);
    if logins.borrow_mut().remembers(&name) {
        return Ok(true);
    }

    let start = || comparer.start(hash, password, client);
    let mut outcome = logins.borrow_mut().outcome(name, start)?;
    let result = timeout(MAX_WAIT, outcome.wait_for(Option::is_some)).await;
    let is_right = match result {
        Ok(Ok(result)) => *result == Some(true),
        _ => {
            let late = Kind::Unavailable("the login was not checked in time");
            return Err(Error::us(late));
        }
    };

    let mut logins = logins.borrow_mut();
    logins.pending.remove(&name);
    if is_right {
        logins.remember(name);
    }
    Ok(is_right)
}

#[cfg(test)]
mod tests;
