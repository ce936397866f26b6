//! UDP: the datagrams of a client go to one endpoint, and the datagrams from there back to the
//! client, from the address that the client had asked. That is a session, and ends when nothing
//! moves.
//!
//! Sockets are awaited for reading alone: the system would wake the core for each datagram that has
//! left one. A datagram is lost if a socket has no room for it; UDP allows that.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    io::{Interest, Ready, unix::AsyncFd},
    sync::Notify,
    task::{AbortHandle, yield_now},
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
        datagram::{self, DatagramBuffers, Datagrams, Received},
        drain::Drain,
    },
};

/// The most datagrams of one client that wait until it has an endpoint, or until that endpoint has
/// answered: those are sent again to the next one if it refuses.
const WAITING: usize = 4;
/// The largest datagram that waits.
const MAX_WAITING: usize = 4096;
/// The system calls by which a socket is read before the others have their turn.
const TURN: usize = 8;
/// The interval at which sessions are looked through.
const SWEEP: Duration = Duration::from_secs(1);
/// The same, and the silence after which a session ends, while the process or its listener drains.
const DRAIN_QUIET: Duration = Duration::from_millis(500);
/// The time after which all sessions end then.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

thread_local! {
    /// The sessions of this core, of all ports.
    static OPEN: Cell<usize> = const { Cell::new(0) };
    static BUFFERS: RefCell<DatagramBuffers> = RefCell::default();
}

/// A client, and the address of ours that it sends to.
type Key = (SocketAddr, IpAddr);
/// The number of a session: a later one of the same client has another.
type Id = u64;

/// Serves a port on one core until it is closed.
pub(crate) async fn serve(socket: UdpSocket, port: Port, worker: Rc<Worker>, mut drain: Drain) {
    let Ok(socket) = datagram::register(socket) else {
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
                let Ok(mut readable) = readable else { return };
                match server.receive() {
                    true => yield_now().await,
                    false => readable.clear_ready(),
                }
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
    socket: Rc<AsyncFd<UdpSocket>>,
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
    /// `None` if no endpoint could be had.
    task: Option<AbortHandle>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        OPEN.set(OPEN.get().saturating_sub(1));
        let session = &self.session;
        session.worker.counters.udp.ended.add(1);
        if let Some(mut record) = session.record.take() {
            record.moved = (session.received.get(), session.sent.get()).into();
        }
    }
}

impl Server {
    /// Takes the datagrams that wait. Returns true if there may be more.
    fn receive(&mut self) -> bool {
        let socket = self.socket.clone();
        BUFFERS.with_borrow_mut(|buffers| {
            for _ in 0..TURN {
                let has_more = match buffers.receive(socket.get_ref()) {
                    Ok(has_more) => has_more,
                    // An ICMP message about an earlier answer, for example.
                    Err(error) => !is_full(&error),
                };
                for received in buffers.received() {
                    self.take(received);
                }
                if !has_more {
                    return false;
                }
            }
            true
        })
    }

    /// Passes datagrams to the endpoint of their client.
    fn take(&mut self, received: Received<'_>) {
        // Only answers go on.
        if self.draining.is_some() {
            return;
        }

        let (datagrams, key) = (received.datagrams, (received.from, received.to));
        if let Some(entry) = self.sessions.get(&key) {
            let (is_over, has_left) = (entry.session.over.get(), entry.session.has_left(self.idle));
            if !is_over && !has_left {
                return entry.session.pass(datagrams);
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
            let session = self.begin(route, key, [of_client, of_all]);
            session.pass(datagrams);
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
        let mut running = Box::pin(async move { running.run(&route).await });
        // Most have an endpoint at once. All datagrams that came with the first one can go there.
        let mut cx = Context::from_waker(Waker::noop());
        let task = match running.as_mut().poll(&mut cx) {
            Poll::Ready(()) => None,
            Poll::Pending => Some(tokio::task::spawn_local(running).abort_handle()),
        };

        self.last_id += 1;
        let entry = Entry {
            id: self.last_id,
            session: session.clone(),
            task,
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
    listener: Rc<AsyncFd<UdpSocket>>,
    client: SocketAddr,
    /// The address of ours that the client sends to.
    local: IpAddr,
    /// The time of the last datagram.
    last: Cell<Instant>,
    /// The endpoint, once one is chosen.
    attached: RefCell<Option<Rc<Attached>>>,
    /// A socket that is connected to the endpoint; `None` until one is chosen.
    endpoint: RefCell<Option<Rc<AsyncFd<UdpSocket>>>>,
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

    /// Passes datagrams to the endpoint, or keeps them until there is one.
    fn pass(&self, datagrams: Datagrams<'_>) {
        let length = datagrams.total() as u64;
        self.last.set(Instant::now());
        self.received.set(self.received.get() + length);
        self.worker.counters.udp.received.add(length);

        if !self.answered.get() {
            let mut waiting = self.waiting.borrow_mut();
            let room = WAITING.saturating_sub(waiting.len());
            let fitting = datagrams.each().filter(|one| one.len() <= MAX_WAITING);
            waiting.extend(fitting.take(room).map(Box::from));
        }
        if let Some(endpoint) = &*self.endpoint.borrow() {
            self.send(endpoint.get_ref(), datagrams);
        }
    }

    fn send(&self, endpoint: &UdpSocket, datagrams: Datagrams<'_>) {
        match datagrams.send(SockRef::from(endpoint)) {
            Err(error) if ConnectFailure::of_connect(&error).is_some() && !is_full(&error) => {
                self.refused.set(true);
                self.noticed.notify_one();
            }
            // No room: it is lost.
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

            let Ok(socket) = connect(upstream.key.addr) else {
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
    async fn exchange(&self, socket: AsyncFd<UdpSocket>, lease: &Lease) -> ConnectFailure {
        let socket = Rc::new(socket);
        self.refused.set(false);
        *self.endpoint.borrow_mut() = Some(socket.clone());
        for data in &*self.waiting.borrow() {
            self.send(socket.get_ref(), Datagrams::from(&**data));
        }

        let ended = async {
            loop {
                let interest = Interest::READABLE | Interest::ERROR;
                let mut seen = socket.ready(interest).await.ok()?;
                if seen.ready().is_error() {
                    if let Some(error) = socket.get_ref().take_error().ok()? {
                        return ConnectFailure::of_connect(&error);
                    }
                    seen.clear_ready_matching(Ready::ERROR);
                }
                if seen.ready().is_readable() {
                    match self.answer(socket.get_ref(), lease) {
                        Ok(true) => yield_now().await,
                        Ok(false) => seen.clear_ready_matching(Ready::READABLE),
                        Err(error) => return ConnectFailure::of_connect(&error),
                    }
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

    /// Passes the datagrams that wait on a socket to the client. Returns true if there may be more.
    fn answer(&self, socket: &UdpSocket, lease: &Lease) -> io::Result<bool> {
        BUFFERS.with_borrow_mut(|buffers| {
            for _ in 0..TURN {
                let has_more = match buffers.receive(socket) {
                    Ok(has_more) => has_more,
                    Err(error) if is_full(&error) => return Ok(false),
                    Err(error) => return Err(error),
                };
                if !self.answered.replace(true) {
                    lease.upstream().succeeded();
                    self.waiting.take();
                }

                for received in buffers.received() {
                    self.give(received.datagrams);
                }
                if !has_more {
                    return Ok(false);
                }
                // They come fast: from now on as one piece. Only work is saved by that.
                let _ = datagram::join_datagrams(socket);
            }
            Ok(true)
        })
    }

    /// Sends datagrams of the endpoint to the client.
    fn give(&self, datagrams: Datagrams<'_>) {
        let length = datagrams.total() as u64;
        self.last.set(Instant::now());
        self.sent.set(self.sent.get() + length);
        self.worker.counters.udp.sent.add(length);
        // Without room for them, they are lost.
        let listener = SockRef::from(self.listener.get_ref());
        let _ = datagrams.send_from(listener, self.local, self.client);
    }
}

/// Returns the silence after which a session of a route ends.
fn idle(worker: &Worker, route: &PortRoute) -> Duration {
    let own = route.policy.timeouts.idle;
    own.unwrap_or(worker.settings.udp_idle_timeout)
}

/// Opens a socket that sends to one endpoint and receives from it alone.
fn connect(endpoint: SocketAddr) -> io::Result<AsyncFd<UdpSocket>> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(endpoint), kind, Some(Protocol::UDP))?;
    socket.connect(&endpoint.into())?;
    datagram::register(socket.into())
}

/// Returns true if a socket has no room, or nothing to read.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
