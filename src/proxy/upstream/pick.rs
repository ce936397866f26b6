//! Chooses the endpoint of a request.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{sleep, timeout};

use super::{endpoints::Endpoints, pool::Upstream, session::Session};
use crate::{
    balance,
    proxy::{
        clock,
        request::error::{Error, Kind, Retry},
        worker::Worker,
    },
    routing::{Backend, Endpoint, EndpointSet, LoadBalancing, NamedGroups},
};

/// The endpoints that were tried for one request.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tried {
    /// A bit each for the first 64.
    all: u64,
    /// The last one.
    last: Option<usize>,
}

impl Tried {
    fn has(self, index: usize) -> bool {
        index < 64 && self.all & (1 << index) != 0
    }

    fn add(&mut self, index: usize) {
        if index < 64 {
            self.all |= 1 << index;
        }
        self.last = Some(index);
    }
}

/// A chosen endpoint.
pub(crate) struct Choice {
    pub(crate) upstream: Rc<Upstream>,
    /// True if there is no other.
    pub(crate) only: bool,
}

/// The choice of an endpoint for a request or a connection.
#[derive(Clone, Copy)]
pub(crate) struct Picker<'a> {
    pub(crate) worker: &'a Rc<Worker>,
    pub(crate) backend: &'a Arc<Backend>,
    pub(crate) balance: LoadBalancing,
    /// The session that chooses in its place, unless the endpoints come from a name.
    pub(crate) session: Option<&'a Session<'a>>,
    /// The groups of endpoints that the request names.
    pub(crate) groups: Option<&'a NamedGroups<'a>>,
}

/// The longest wait without a look at the other endpoints.
const LOOK: Duration = Duration::from_millis(50);

impl Picker<'_> {
    /// Chooses an endpoint as [`Self::pick`], and waits for one that takes another request.
    ///
    /// # Errors
    /// As [`Self::pick`], after that time.
    pub(crate) async fn pick_in_time(
        &self,
        tried: &mut Tried,
        again: bool,
        limit: Duration,
    ) -> Result<Choice, Error> {
        let picked = self.pick(tried, again).await;
        match picked {
            Err(error) if error == no_room() => {}
            other => return other,
        }
        // Boxed: few backends have a limit, and every request would reserve the space for it.
        Box::pin(self.wait(tried, again, limit)).await
    }

    async fn wait(&self, tried: &mut Tried, again: bool, limit: Duration) -> Result<Choice, Error> {
        let began = Instant::now();
        loop {
            let one = self.any();
            let freed = one.as_ref().map(|upstream| upstream.condition.room());
            // Again, so that an end between the two is not missed.
            match self.pick(tried, again).await {
                Err(error) if error == no_room() => {}
                other => return other,
            }
            let left = limit.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(no_room());
            }

            let look = left.min(LOOK);
            match freed {
                Some(freed) => drop(timeout(look, freed).await),
                None => sleep(look).await,
            }
        }
    }

    /// Returns one of the endpoints; `None` if a name leads to them.
    fn any(&self) -> Option<Rc<Upstream>> {
        let set = self.backend.endpoints();
        let known = self.worker.endpoints.of(self.worker, self.backend, &set);
        match &**set {
            EndpointSet::Addresses(list) if !list.is_empty() => {
                let at = known.turn() % list.len();
                Some(known.upstream(at).clone())
            }
            _ => None,
        }
    }

    /// Chooses an endpoint, in turn or by load, except those that were tried or seem to be down. If
    /// all seem so, chooses one anyway: an attempt is better than a certain 503. With `again`, the
    /// same as in the last attempt, unless it has no room or a name leads to the endpoints.
    ///
    /// # Errors
    /// The backend has no endpoint, or none that takes another request.
    pub(crate) async fn pick(&self, tried: &mut Tried, again: bool) -> Result<Choice, Error> {
        let set = self.backend.endpoints();
        let known = self.worker.endpoints.of(self.worker, self.backend, &set);
        let (host, port) = match &**set {
            EndpointSet::Addresses(list) if !list.is_empty() => {
                return self.pick_address(list, &known, tried, again);
            }
            EndpointSet::Empty | EndpointSet::Addresses(_) => {
                return Err(unavailable("the service has no endpoints"));
            }
            EndpointSet::Name { host, port } => (host.clone(), *port),
        };
        drop(set);
        // Boxed: names are rare, and every request in flight would reserve space for this future.
        Box::pin(self.pick_by_name(&host, port, known.turn())).await
    }

    fn pick_address(
        &self,
        list: &[Endpoint],
        known: &Endpoints,
        tried: &mut Tried,
        again: bool,
    ) -> Result<Choice, Error> {
        let at = |index: usize| known.upstream(index);
        let free = |index: usize| list[index].weight > 0 && has_room(at(index));
        let chosen = |index: usize| Choice {
            upstream: at(index).clone(),
            only: list.len() == 1,
        };
        let last = tried.last.filter(|last| again && *last < list.len());
        if let Some(last) = last.filter(|last| has_room(at(*last))) {
            return Ok(chosen(last));
        }
        if let Some(groups) = self.groups
            && let Some(index) = self.pick_in_groups(groups, list, known, tried)?
        {
            return Ok(chosen(index));
        }
        if let Some(session) = self.session {
            let index = self.pick_in_session(session, list, known, tried)?;
            return Ok(chosen(index));
        }
        if let [_only] = list {
            return free(0).then(|| chosen(0)).ok_or_else(|| none_of(list));
        }

        let now = clock::now();
        let seen = *tried;
        let untried = |index: usize| free(index) && !seen.has(index);
        let healthy = |index: usize| untried(index) && !at(index).seems_down(now);

        let turn = known.turn();
        let is_even = list.iter().all(|endpoint| endpoint.weight == 1);
        let weight = |index: usize| match healthy(index) {
            true => list[index].weight,
            false => 0,
        };
        let weights = (0..list.len()).map(weight);
        let load = |index: usize| at(index).in_flight.get();
        let random = || self.worker.random();
        let index = match self.balance {
            LoadBalancing::RoundRobin if is_even => balance::round_robin(turn, list.len(), healthy),
            LoadBalancing::RoundRobin => balance::weighted(balance::spread(turn), weights),
            LoadBalancing::LeastRequest if is_even => {
                balance::least_request(random(), list.len(), healthy, load)
            }
            LoadBalancing::LeastRequest => {
                balance::least_weighted([random(), random()], weights, load)
            }
        };

        let index = index
            .or_else(|| balance::round_robin(turn, list.len(), untried))
            .or_else(|| balance::round_robin(turn, list.len(), free))
            .ok_or_else(|| none_of(list))?;
        tried.add(index);
        Ok(chosen(index))
    }

    /// Chooses among the endpoints of the groups that the request names, whatever their weights;
    /// `None` if none of them is well.
    fn pick_in_groups(
        &self,
        groups: &NamedGroups<'_>,
        list: &[Endpoint],
        known: &Endpoints,
        tried: &mut Tried,
    ) -> Result<Option<usize>, Error> {
        let at = |index: usize| known.upstream(index);
        let now = clock::now();
        let seen = *tried;
        let turn = known.turn();

        for is_named in groups.tests() {
            let is_well = |index: usize| {
                let group = list[index].group.as_deref();
                group.is_some_and(&is_named) && !seen.has(index) && !at(index).seems_down(now)
            };
            if !(0..list.len()).any(is_well) {
                continue;
            }

            let usable = |index: usize| is_well(index) && has_room(at(index));
            let index = match self.session {
                Some(session) => session.pick_any(list, usable),
                None => balance::round_robin(turn, list.len(), usable),
            };
            let index = index.ok_or_else(no_room)?;
            tried.add(index);
            return Ok(Some(index));
        }

        Ok(None)
    }

    fn pick_in_session(
        &self,
        session: &Session<'_>,
        list: &[Endpoint],
        known: &Endpoints,
        tried: &mut Tried,
    ) -> Result<usize, Error> {
        let at = |index: usize| known.upstream(index);

        let (now, seen) = (clock::now(), *tried);
        // The session looks at the weights.
        let free = |index: usize| has_room(at(index));
        let untried = |index: usize| free(index) && !seen.has(index);
        let healthy = |index: usize| untried(index) && !at(index).seems_down(now);
        let random = || self.worker.random();

        let index = session
            .pick(list, healthy, random)
            .or_else(|| session.pick(list, untried, random))
            .or_else(|| session.pick(list, free, random))
            .ok_or_else(|| none_of(list))?;

        tried.add(index);
        Ok(index)
    }

    async fn pick_by_name(&self, host: &str, port: u16, turn: usize) -> Result<Choice, Error> {
        let (worker, settings) = (self.worker, &self.backend.settings);
        let found = worker.resolve(host).await;
        let found = found.ok_or_else(|| unavailable("the backend's name has no address"))?;

        let allowed = |addr: &&IpAddr| worker.settings.local_names || !is_local(**addr);
        let addresses: Vec<IpAddr> = found.iter().filter(allowed).copied().collect();
        if addresses.is_empty() {
            return Err(unavailable("the backend's name has no allowed address"));
        }

        let turn = turn % addresses.len();
        let name = host.parse::<IpAddr>().is_err().then(|| Rc::from(host));
        let upstream = worker.upstream(settings, SocketAddr::new(addresses[turn], port), name);
        if !has_room(&upstream) {
            return Err(no_room());
        }
        Ok(Choice {
            upstream,
            only: addresses.len() == 1,
        })
    }
}

/// Returns true if the limit of its backend lets the endpoint have another request.
fn has_room(upstream: &Upstream) -> bool {
    upstream.condition.has_room()
}

/// Returns the error of a request whose backend has no endpoint.
fn unavailable(why: &'static str) -> Error {
    Error::upstream(Kind::Unavailable(why), Retry::Never)
}

/// Returns the error of a request that none of the endpoints may have.
fn none_of(list: &[Endpoint]) -> Error {
    match list.iter().any(|endpoint| endpoint.weight > 0) {
        true => no_room(),
        false => unavailable("no endpoint of the service has a weight"),
    }
}

/// Returns the error of a request for which no endpoint has a place.
fn no_room() -> Error {
    Error::us(Kind::Unavailable("no endpoint takes another request"))
}

/// Returns true for loopback, link-local and other addresses whose meaning depends on the device.
/// The API refuses them as endpoints, so a name must not resolve to them either.
fn is_local(addr: IpAddr) -> bool {
    match addr.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            v6.is_loopback()
                || v6.is_unicast_link_local()
                || v6.is_unspecified()
                || v6.is_multicast()
        }
    }
}
