//! UDP: the datagrams of a client go to one endpoint, and the datagrams from there back to the
//! client, from the address that the client had asked. That is a session, and ends when nothing
//! moves.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::Interest,
    net::UdpSocket,
    sync::Notify,
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use super::{
    attached::Attached,
    record::Record,
    tcp::{self, EVERYBODY},
};
use crate::{
    limit::Place,
    proxy::{
        cores,
        request::terms::Terms,
        upstream::{
            condition::ConnectFailure,
            pick::{Picker, Tried},
            pool::Lease,
        },
        worker::{ClientKey, Worker},
    },
    routing::{Port, PortRoute},
    util::{
        datagram::{self, DatagramBuffer},
        drain::Drain,
    },
};

/// The most datagrams of one client that wait until it has an endpoint, or until that endpoint has
/// answered: those are sent again to the next one if it refuses.
const WAITING: usize = 4;
/// The largest datagram that waits.
const MAX_WAITING: usize = 4096;
/// The datagrams that are received at one go.
const BATCH: usize = 64;
/// The interval at which sessions are looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// The same, and the silence after which a session ends, while the process or its listener drains.
const DRAIN_QUIET: Duration = Duration::from_millis(500);
/// The time after which all sessions end then.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

thread_local! {
    /// The sessions of this core, of all ports.
    static OPEN: Cell<usize> = const { Cell::new(0) };
    static BUFFER: RefCell<DatagramBuffer> = RefCell::default();
}

/// A client, and the address of ours that it sends to.
type Key = (SocketAddr, IpAddr);
/// The number of a session: a later one of the same client has another.
type Id = u64;

/// Serves a port on one core until it is closed.
pub(crate) async fn serve(
    socket: std::net::UdpSocket,
    port: Port,
    worker: Rc<Worker>,
    mut drain: Drain,
) {
    let Ok(socket) = UdpSocket::from_std(socket) else {
        return;
    };
    let settings = &worker.settings;
    let idle = settings.udp_idle_timeout;
    let most = settings.max_udp_sessions.div_ceil(cores(settings.workers));
    let mut server = Server {
        socket: Rc::new(socket),
        port,
        most,
        worker,
        sessions: HashMap::new(),
        by_age: BTreeMap::new(),
        last_id: 0,
        idle,
        draining: None,
    };
    let mut sweep = Instant::now() + SWEEP;

    loop {
        let socket = server.socket.clone();
        tokio::select! {
            readable = socket.readable() => {
                if readable.is_err() {
                    return;
                }
                server.receive();
            }
            () = sleep_until(sweep), if !server.sessions.is_empty() => {
                server.sweep();
                let interval = server.draining.map_or(SWEEP, |_since| DRAIN_QUIET);
                sweep = Instant::now() + interval;
            }
            _ = drain.draining(), if server.draining.is_none() => {
                let now = Instant::now();
                (server.draining, sweep) = (Some(now), now + DRAIN_QUIET);
            }
        }

        if server.draining.is_some() && server.sessions.is_empty() {
            return;
        }
    }
}

/// A port on one core.
struct Server {
    socket: Rc<UdpSocket>,
    port: Port,
    /// The most sessions on this core, of all ports.
    most: usize,
    worker: Rc<Worker>,
    sessions: HashMap<Key, Entry>,
    /// The sessions by the time of their last datagram, as of when they were put here.
    by_age: BTreeMap<(Instant, Id), Key>,
    last_id: Id,
    /// The silence after which a session ends, and the time for which one keeps an endpoint that is
    /// gone.
    idle: Duration,
    /// The time when the drain began.
    draining: Option<Instant>,
}

/// A session with its task, which ends with it.
struct Entry {
    id: Id,
    session: Rc<Session>,
    task: AbortHandle,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.task.abort();
        OPEN.set(OPEN.get().saturating_sub(1));
        let session = &self.session;
        session.worker.counters.udp.ended.add(1);
        if let Some(mut record) = session.record.take() {
            record.moved = (session.received.get(), session.sent.get()).into();
        }
    }
}

impl Server {
    /// Takes the datagrams that wait.
    fn receive(&mut self) {
        BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..BATCH {
                let socket = self.socket.clone();
                let received = socket.try_io(Interest::READABLE, || {
                    datagram::receive(SockRef::from(&*socket), buffer)
                        .map(|one| (one.data.len(), one.from, one.to))
                });
                let (length, from, to) = match received {
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                    // An ICMP message about an earlier answer, for example.
                    Err(_) => continue,
                };
                if let Some(data) = buffer.received(length) {
                    self.take(data, (from, to));
                }
            }
        });
    }

    /// Passes a datagram to the endpoint of its client.
    fn take(&mut self, data: &[u8], key: Key) {
        // Only answers go on.
        if self.draining.is_some() {
            return;
        }
        if let Some(entry) = self.sessions.get(&key) {
            let (is_over, has_left) = (entry.session.over.get(), entry.session.has_left(self.idle));
            if !is_over && !has_left {
                return entry.session.pass(data);
            }
            self.end(key, "the endpoint is gone");
        }

        // The port may have been closed since.
        let ports = self.worker.shared.ports.load();
        let route = ports.find(self.port).and_then(|open| open.route()).cloned();
        drop(ports);
        let Some(route) = route else { return };
        let ip = key.0.ip().to_canonical();
        if !route.lets_in(ip) {
            return self.worker.counters.connections_forbidden.add(1);
        }

        let of_client = self.worker.admit(route.limits.as_deref(), ip);
        let of_all = self.worker.admit(route.total.as_deref(), EVERYBODY);
        let (Ok(of_client), Ok(of_all)) = (of_client, of_all) else {
            return self.worker.counters.connections_refused.add(1);
        };
        self.idle = idle(&self.worker, &route);
        if self.make_room() {
            self.begin(route, key, [of_client, of_all]).pass(data);
        }
    }

    /// Begins a session.
    fn begin(
        &mut self,
        route: Arc<PortRoute>,
        key: Key,
        places: [Option<Box<Place<ClientKey>>>; 2],
    ) -> Rc<Session> {
        let worker = &self.worker;
        OPEN.set(OPEN.get() + 1);
        worker.counters.udp.begun.add(1);
        let mut record = Record::new(worker, key.0.ip().to_canonical(), self.port, None, &route);
        if let Some(record) = &mut record {
            record.reason = "closed";
        }

        let now = Instant::now();
        let session = Rc::new(Session {
            worker: worker.clone(),
            listener: self.socket.clone(),
            client: key.0,
            local: key.1,
            last: Cell::new(now),
            attached: RefCell::default(),
            endpoint: RefCell::default(),
            answered: Cell::new(false),
            waiting: RefCell::default(),
            refused: Cell::new(false),
            noticed: Notify::new(),
            over: Cell::new(false),
            received: Cell::new(0),
            sent: Cell::new(0),
            record: RefCell::new(record),
            _places: places,
        });
        let running = session.clone();
        let task = tokio::task::spawn_local(async move { running.run(&route).await });
        self.last_id += 1;
        let entry = Entry {
            id: self.last_id,
            session: session.clone(),
            task: task.abort_handle(),
        };
        self.sessions.insert(key, entry);
        self.by_age.insert((now, self.last_id), key);
        session
    }

    /// Returns true if there is room for another session, if necessary by ending the one that has
    /// been idle for the longest time.
    fn make_room(&mut self) -> bool {
        if OPEN.get() < self.most {
            return true;
        }

        while let Some(((queued, id), key)) = self.by_age.pop_first() {
            match self.last(key, id) {
                Some(last) if last > queued => drop(self.by_age.insert((last, id), key)),
                Some(_) => {
                    self.end(key, "there are too many sessions");
                    return true;
                }
                None => {}
            }
        }
        false
    }

    /// Returns the time of a session's last datagram; `None` if it has ended.
    fn last(&self, key: Key, id: Id) -> Option<Instant> {
        let entry = self.sessions.get(&key).filter(|entry| entry.id == id)?;
        Some(entry.session.last.get())
    }

    /// Ends the sessions that were idle for too long.
    fn sweep(&mut self) {
        let now = Instant::now();
        let (limit, reason) = match self.draining {
            Some(since) if now.duration_since(since) >= DRAIN_LIMIT => (Duration::ZERO, "draining"),
            Some(_) => (DRAIN_QUIET, "draining"),
            None => (self.idle, "idle for too long"),
        };

        while let Some((&(queued, id), &key)) = self.by_age.first_key_value() {
            // All others are younger.
            if now.duration_since(queued) < limit {
                return;
            }
            self.by_age.pop_first();
            match self.last(key, id) {
                Some(last) if now.duration_since(last) >= limit => self.end(key, reason),
                Some(last) => drop(self.by_age.insert((last, id), key)),
                None => {}
            }
        }
    }

    fn end(&mut self, key: Key, reason: &'static str) {
        let Some(entry) = self.sessions.remove(&key) else {
            return;
        };
        if let Some(record) = &mut *entry.session.record.borrow_mut()
            && !record.failed
        {
            record.reason = reason;
        }
    }
}

/// The datagrams between one client and one endpoint.
struct Session {
    worker: Rc<Worker>,
    listener: Rc<UdpSocket>,
    client: SocketAddr,
    /// The address of ours that the client sends to.
    local: IpAddr,
    /// The time of the last datagram.
    last: Cell<Instant>,
    /// The endpoint, once one is chosen.
    attached: RefCell<Option<Rc<Attached>>>,
    /// A socket that is connected to the endpoint; `None` until one is chosen.
    endpoint: RefCell<Option<Rc<UdpSocket>>>,
    /// True once the endpoint has sent something.
    answered: Cell<bool>,
    /// Datagrams of the client that the endpoint may not have got.
    waiting: RefCell<Vec<Box<[u8]>>>,
    /// True if a datagram could not be sent because the endpoint refuses.
    refused: Cell<bool>,
    /// Notified when that becomes true.
    noticed: Notify,
    /// True once it has no endpoint any more: the next datagram begins another session.
    over: Cell<bool>,
    received: Cell<u64>,
    sent: Cell<u64>,
    record: RefCell<Option<Box<Record>>>,
    /// The places of the session among those of its client, and among all of the Service.
    _places: [Option<Box<Place<ClientKey>>>; 2],
}

impl Session {
    /// Returns true if its endpoint has been gone for this time.
    fn has_left(&self, limit: Duration) -> bool {
        let attached = self.attached.borrow();
        attached.as_ref().is_some_and(|one| one.is_gone_for(limit))
    }

    /// Passes a datagram to the endpoint, or keeps it until there is one.
    fn pass(&self, data: &[u8]) {
        let length = data.len() as u64;
        self.last.set(Instant::now());
        self.received.set(self.received.get() + length);
        self.worker.counters.udp.received.add(length);

        if !self.answered.get() && data.len() <= MAX_WAITING {
            let mut waiting = self.waiting.borrow_mut();
            if waiting.len() < WAITING {
                waiting.push(data.into());
            }
        }
        if let Some(endpoint) = &*self.endpoint.borrow() {
            self.send(endpoint, data);
        }
    }

    fn send(&self, endpoint: &UdpSocket, data: &[u8]) {
        match endpoint.try_send(data) {
            Err(error) if ConnectFailure::of_connect(&error).is_some() && !is_full(&error) => {
                self.refused.set(true);
                self.noticed.notify_one();
            }
            // What does not fit is lost, as on any way of a datagram.
            _ => {}
        }
    }

    /// Runs until no endpoint is left that could answer.
    async fn run(&self, route: &PortRoute) {
        let worker = &self.worker;
        let terms = Terms::new(&worker.settings, Some(&route.policy));
        let session = tcp::session(worker, route, self.client.ip());
        let picker = Picker {
            worker,
            backend: &route.backend,
            balance: terms.balance,
            session: session.as_deref(),
            groups: None,
        };
        let mut tried = Tried::default();

        for attempt in 1.. {
            let chosen = match picker.pick(&mut tried, false).await {
                Ok(chosen) => chosen,
                Err(error) => return self.fail(error.kind.reason()),
            };
            let upstream = chosen.upstream;
            let lease = Lease::new(upstream.clone());

            let Ok(socket) = connect(upstream.key.addr).await else {
                return self.fail("no descriptor, port or memory is left");
            };
            let attached = worker.attached.attach(&route.backend, upstream.key.addr);
            *self.attached.borrow_mut() = Some(attached);
            if let Some(record) = &mut *self.record.borrow_mut() {
                record.endpoint = Some(upstream.key.addr);
            }

            let failure = self.exchange(socket, &lease).await;
            let error = upstream.failed(failure);
            worker.failed(&upstream, &error);
            // A datagram that was answered is not sent again.
            if self.answered.get() || chosen.only || attempt >= terms.max_attempts {
                return self.fail(error.kind.reason());
            }
            worker.counters.retries.add(1);
        }
    }

    /// Ends the session because of its endpoints.
    fn fail(&self, reason: &'static str) {
        self.over.set(true);
        self.endpoint.take();
        self.worker.counters.udp.failures.add(1);
        if let Some(record) = &mut *self.record.borrow_mut() {
            (record.failed, record.reason) = (true, reason);
        }
    }

    /// Sends what waits, and passes on what the endpoint sends. Returns why that ended.
    async fn exchange(&self, socket: UdpSocket, lease: &Lease) -> ConnectFailure {
        let socket = Rc::new(socket);
        // A new socket takes nothing before this.
        let _ = socket.writable().await;
        self.refused.set(false);
        *self.endpoint.borrow_mut() = Some(socket.clone());
        for data in &*self.waiting.borrow() {
            self.send(&socket, data);
        }

        let ended = async {
            loop {
                let ready = socket
                    .ready(Interest::READABLE | Interest::ERROR)
                    .await
                    .ok()?;
                if ready.is_error() {
                    if let Some(error) = socket.take_error().ok()? {
                        return ConnectFailure::of_connect(&error);
                    }
                    let seen = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
                    let _ = socket.try_io(Interest::ERROR, seen);
                }
                if ready.is_readable()
                    && let Err(error) = self.answer(&socket, lease)
                    && !is_full(&error)
                {
                    return ConnectFailure::of_connect(&error);
                }
            }
        };
        let refused = async {
            while !self.refused.get() {
                self.noticed.notified().await;
            }
        };
        let failure = tokio::select! {
            failure = ended => failure,
            () = refused => None,
        };
        self.endpoint.take();
        failure.unwrap_or(ConnectFailure::Refused)
    }

    /// Passes the datagrams that wait on a socket to the client.
    fn answer(&self, socket: &UdpSocket, lease: &Lease) -> io::Result<()> {
        BUFFER.with_borrow_mut(|buffer| {
            loop {
                let data = buffer.of(|space| socket.try_recv(space))?;
                if !self.answered.replace(true) {
                    lease.upstream().succeeded();
                    self.waiting.take();
                }

                let length = data.len() as u64;
                self.last.set(Instant::now());
                self.sent.set(self.sent.get() + length);
                self.worker.counters.udp.sent.add(length);
                // What does not fit is lost, as on any way of a datagram.
                let _ = self.listener.try_io(Interest::WRITABLE, || {
                    datagram::send(
                        SockRef::from(&*self.listener),
                        data,
                        self.local,
                        self.client,
                    )
                });
            }
        })
    }
}

/// Returns the silence after which a session of a route ends.
fn idle(worker: &Worker, route: &PortRoute) -> Duration {
    let own = route.policy.timeouts.idle;
    own.unwrap_or(worker.settings.udp_idle_timeout)
}

/// Opens a socket that sends to one endpoint and receives from it alone.
async fn connect(endpoint: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = match endpoint {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(endpoint).await?;
    Ok(socket)
}

/// Returns true if a socket has no room, or nothing to read.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
