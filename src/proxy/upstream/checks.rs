//! Health checks: one task asks the endpoints of all backends that have one, each when its time has
//! come.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    io,
    net::SocketAddr,
    rc::{Rc, Weak},
    sync::{Arc, Weak as SyncWeak},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    condition::{Condition, ConnectFailure, EndpointKey},
    pool::Begins,
};
use crate::{
    proxy::worker::Worker,
    routing::{
        Backend, BackendSettings, CheckRequest, EndpointSet, HealthCheck, Protocol, ProxyVersion,
    },
};

/// The most endpoints that are checked.
const MAX_CHECKED: usize = 1024;
/// The most checks at the same time.
const MAX_RUNNING: usize = 32;
/// The longest wait without a look at the lists of endpoints, which change by themselves.
const LOOK: Duration = Duration::from_secs(1);
/// The wait for the end of other checks.
const BUSY: Duration = Duration::from_millis(50);
/// The most bytes of a response that are read.
const MAX_RESPONSE: usize = 1024;

/// The backends whose endpoints are checked.
pub(crate) type CheckedBackends = Arc<[SyncWeak<Backend>]>;

/// An endpoint that is checked.
struct Checked {
    condition: Arc<Condition>,
    next: Cell<Instant>,
    is_running: Cell<bool>,
    streak: RefCell<Streak>,
}

/// The last results of an endpoint's checks.
#[derive(Debug, Default)]
struct Streak {
    is_down: bool,
    /// The results in a row that differ from this state.
    others: u32,
}

impl Streak {
    /// Takes in a result. Returns true if the endpoint is down or well now, and was not before.
    fn turns(&mut self, is_well: bool, terms: &HealthCheck) -> bool {
        if is_well != self.is_down {
            self.others = 0;
            return false;
        }
        self.others += 1;
        let needed = if self.is_down { terms.rise } else { terms.fall };
        let turns = self.others >= needed;
        if turns {
            *self = Self {
                is_down: !self.is_down,
                others: 0,
            };
        }
        turns
    }
}

/// Runs the checks of a process on the core of this worker.
pub(crate) async fn run(worker: Weak<Worker>) {
    let Some(shared) = worker.upgrade().map(|worker| worker.shared.clone()) else {
        return;
    };
    let mut backends = shared.checked();
    let mut known = BTreeMap::new();
    let running = Rc::new(Cell::new(0));

    loop {
        let list = backends.borrow_and_update().clone();
        let Some(strong) = worker.upgrade() else {
            return;
        };
        let wait = round(&strong, &list, &mut known, &running);
        drop(strong);

        let changed = match wait {
            None => backends.changed().await,
            Some(wait) => match timeout(wait, backends.changed()).await {
                Ok(changed) => changed,
                Err(_elapsed) => Ok(()),
            },
        };
        if changed.is_err() {
            return;
        }
    }
}

/// Starts the checks whose time has come. Returns the time until the next look; `None` if nothing
/// is checked.
fn round(
    worker: &Rc<Worker>,
    backends: &CheckedBackends,
    known: &mut BTreeMap<EndpointKey, Rc<Checked>>,
    running: &Rc<Cell<usize>>,
) -> Option<Duration> {
    let now = Instant::now();
    let mut wait = LOOK;
    let mut current = BTreeMap::new();
    for backend in backends.iter().filter_map(SyncWeak::upgrade) {
        let (settings, set) = (&backend.settings, backend.endpoints());
        let (Some(terms), EndpointSet::Addresses(list)) = (&settings.check, &**set) else {
            continue;
        };

        for endpoint in list
            .iter()
            .take(MAX_CHECKED - current.len().min(MAX_CHECKED))
        {
            let key = EndpointKey {
                addr: endpoint.addr,
                name: None,
                backend: settings.clone(),
            };
            let checked = match known.remove(&key) {
                Some(checked) => checked,
                None => Rc::new(Checked {
                    condition: worker.shared.condition(key.clone()),
                    next: Cell::new(now),
                    is_running: Cell::new(false),
                    streak: RefCell::default(),
                }),
            };

            if !checked.is_running.get() && checked.next.get() <= now {
                if running.get() < MAX_RUNNING {
                    checked.next.set(now + terms.interval);
                    start(worker, key.addr, settings, terms, &checked, running);
                } else {
                    wait = wait.min(BUSY);
                }
            }
            let left = checked.next.get().saturating_duration_since(now);
            wait = wait.min(left.max(BUSY));
            current.insert(key, checked);
        }
    }

    // Those that are not checked any more are well, as far as is known.
    let gone = std::mem::replace(known, current);
    gone.values()
        .for_each(|checked| checked.condition.is_well());
    (!backends.is_empty()).then_some(wait)
}

/// Begins the check of an endpoint.
fn start(
    worker: &Rc<Worker>,
    addr: SocketAddr,
    settings: &Arc<BackendSettings>,
    terms: &Arc<HealthCheck>,
    checked: &Rc<Checked>,
    running: &Rc<Cell<usize>>,
) {
    checked.is_running.set(true);
    running.set(running.get() + 1);
    let (worker, settings, terms) = (worker.clone(), settings.clone(), terms.clone());
    let (checked, running) = (checked.clone(), running.clone());
    tokio::task::spawn_local(async move {
        let asking = timeout(terms.timeout, ask(&worker, addr, &settings, &terms));
        let result = asking
            .await
            .unwrap_or_else(|_late| Err(Failure::Endpoint("it timed out".into())));
        checked.is_running.set(false);
        running.set(running.get() - 1);

        // It is not checked any more.
        if Rc::strong_count(&checked) == 1 {
            return;
        }

        let counters = &worker.counters;
        let failure = match result {
            Ok(()) => None,
            // It says nothing about the endpoint.
            Err(Failure::Ours) => return,
            Err(Failure::Endpoint(why)) => Some(why),
        };
        match failure {
            None => counters.checks_passed.add(1),
            Some(_) => counters.checks_failed.add(1),
        }
        let turns = checked.streak.borrow_mut().turns(failure.is_none(), &terms);
        match failure {
            None if turns => checked.condition.is_well(),
            Some(why) if turns => checked.condition.is_down_because(&why),
            _ => {}
        }
    });
}

/// The reason why a check failed.
enum Failure {
    /// No descriptor or port is left.
    Ours,
    Endpoint(Box<str>),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match ConnectFailure::of_connect(&error) {
            Some(failure) => Self::Endpoint(failure.to_string().into()),
            None => Self::Ours,
        }
    }
}

/// Asks an endpoint once.
async fn ask(
    worker: &Rc<Worker>,
    addr: SocketAddr,
    settings: &Arc<BackendSettings>,
    terms: &HealthCheck,
) -> Result<(), Failure> {
    let asked = SocketAddr::new(
        terms.addr.unwrap_or_else(|| addr.ip()),
        terms.port.unwrap_or_else(|| addr.port()),
    );
    let mut tcp = TcpStream::connect(asked).await?;
    // Another server than the endpoint has no header and no TLS.
    let is_own = terms.addr.is_none() && terms.port.is_none();
    if let Some(version) = settings.sends_proxy.filter(|_| is_own) {
        tcp.write_all(local_header(version)).await?;
    }

    let is_http1 = matches!(settings.protocol, Protocol::Http1 | Protocol::Https);
    let request = terms.request.as_ref().filter(|_| is_http1 || !is_own);

    let has_tls = matches!(settings.protocol, Protocol::Https | Protocol::H2) && is_own;
    if has_tls && settings.tls.request_name.is_some() {
        // A check has no name of a request.
        return Ok(());
    }
    if !has_tls {
        return exchange(tcp, asked, request).await;
    }

    let upstream = worker.upstream(settings, addr, None);
    let begins = Begins::default();
    let tls = upstream.tls(tcp, worker, terms.timeout, &begins).await;
    match tls {
        Ok(tls) => exchange(tls, asked, request).await,
        Err(_) => {
            let failure = upstream.condition.failure();
            let why = failure.map_or_else(|| "no TLS".to_owned(), |failure| failure.to_string());
            Err(Failure::Endpoint(why.into()))
        }
    }
}

/// Sends the request, if there is one, and reads the status of the response.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    asked: SocketAddr,
    request: Option<&CheckRequest>,
) -> Result<(), Failure> {
    let Some(CheckRequest { method, target }) = request else {
        return Ok(());
    };
    let head = format!(
        "{method} {target} HTTP/1.0\r\nHost: {asked}\r\nUser-Agent: gatelet\r\nConnection: close\
         \r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;

    let mut response = Vec::new();
    while !response.contains(&b'\n') && response.len() < MAX_RESPONSE {
        let mut bytes = [0; 256];
        let read = stream.read(&mut bytes).await?;
        if read == 0 {
            break;
        }
        response.extend_from_slice(&bytes[..read]);
    }
    judge(&response)
}

/// Judges the first line of a response.
fn judge(response: &[u8]) -> Result<(), Failure> {
    let line = response
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    let is_http = line.starts_with(b"HTTP/1.");
    let status = line
        .split(|byte| *byte == b' ')
        .nth(1)
        .map(<[u8]>::trim_ascii);
    let status = status.and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
    match status {
        Some(200..=399_u16) if is_http => Ok(()),
        Some(status) if is_http => Err(Failure::Endpoint(format!("status {status}").into())),
        _ => Err(Failure::Endpoint("it has no response of HTTP".into())),
    }
}

/// Returns the header of the PROXY protocol of a connection without a client.
fn local_header(version: ProxyVersion) -> &'static [u8] {
    match version {
        ProxyVersion::V1 => b"PROXY UNKNOWN\r\n",
        _ => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(rise: u32, fall: u32) -> HealthCheck {
        HealthCheck {
            request: None,
            addr: None,
            port: None,
            interval: LOOK,
            timeout: LOOK,
            rise,
            fall,
        }
    }

    #[test]
    fn results_in_a_row_turn_the_state() {
        let terms = terms(2, 3);
        let mut streak = Streak::default();
        let mut turned = Vec::new();
        for (number, is_well) in "x-xx-xxxx-x--x-".chars().map(|c| c == '-').enumerate() {
            if streak.turns(is_well, &terms) {
                turned.push(number);
            }
        }
        // The third failure in a row, and the second success in a row.
        assert_eq!(turned, [7, 12]);
        assert!(!streak.is_down);
    }

    #[test]
    fn a_status_from_200_to_399_is_well() {
        let is_well = |text: &str| judge(text.as_bytes()).is_ok();
        for text in [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 399\r\n\r\nx",
            "HTTP/1.1 204 \r\n",
        ] {
            assert!(is_well(text), "{text}");
        }
        for text in [
            "",
            "HTTP/1.1 500 No\r\n",
            "HTTP/1.1 199 x",
            "SSH-2.0 200 x",
            "HTTP/1.1 2000 x",
            "HTTP/1.1",
        ] {
            assert!(!is_well(text), "{text}");
        }
    }
}
