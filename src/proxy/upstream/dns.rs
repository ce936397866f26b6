//! Resolves names of backends (ExternalName) by DNS, and caches the addresses for their lifetime. A
//! request waits for DNS only when nothing is cached for a name: expired addresses stay in use
//! while the name is resolved again.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver, net::runtime::TokioRuntimeProvider, system_conf::parse_resolv_conf,
};
use tokio::{sync::Mutex, time::timeout};

/// The most names that are cached; beyond that the cache is emptied.
const KEPT: usize = 1024;
/// The shortest time that an answer is cached, whatever its TTL. A failure is cached for this time
/// too.
const SHORTEST: Duration = Duration::from_secs(5);
/// The longest time that an answer is cached.
const LONGEST: Duration = Duration::from_secs(3600);

/// The names that one core has resolved.
#[derive(Default)]
pub(crate) struct DnsCache {
    servers: Servers,
    known: RefCell<HashMap<Box<str>, Rc<Entry>>>,
}

/// The DNS servers that a file names. On a device that booted without a network, or moved to
/// another one, they change.
struct Servers {
    file: PathBuf,
    /// The resolver, and the text of the file that it was made from.
    made: RefCell<Option<(Vec<u8>, Rc<TokioResolver>)>>,
}

#[derive(Default)]
struct Entry {
    /// Empty when the name has no address.
    addresses: RefCell<Rc<[IpAddr]>>,
    /// `None` until the first answer.
    until: Cell<Option<Instant>>,
    /// Held during a query, so that many requests cause one.
    asking: Mutex<()>,
}

impl std::fmt::Debug for DnsCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DnsCache")
    }
}

/// Those of the system.
impl Default for Servers {
    fn default() -> Self {
        Self {
            file: "/etc/resolv.conf".into(),
            made: RefCell::default(),
        }
    }
}

impl Servers {
    /// Returns a resolver that asks the servers that the file names now. `None` if it has never
    /// named one.
    fn resolver(&self) -> Option<Rc<TokioResolver>> {
        let text = fs::read(&self.file)
            .inspect_err(|error| tracing::debug!(%error, "cannot read the DNS servers"))
            .ok();
        let mut made = self.made.borrow_mut();
        let known = made.as_ref();
        if let Some(text) = text.filter(|text| known.is_none_or(|(known, _)| known != text)) {
            match Self::build(&text) {
                Ok(resolver) => *made = Some((text, Rc::new(resolver))),
                Err(error) => tracing::warn!(%error, "cannot set up DNS for backends"),
            }
        }
        made.as_ref().map(|(_, resolver)| resolver.clone())
    }

    fn build(text: &[u8]) -> Result<TokioResolver, hickory_resolver::net::NetError> {
        let (servers, options) = parse_resolv_conf(text)?;
        let provider = TokioRuntimeProvider::default();
        TokioResolver::builder_with_config(servers, provider)
            .with_options(options)
            .build()
    }
}

impl DnsCache {
    /// Returns the addresses of a host; an IP literal is its own address. A DNS query may take
    /// `limit`. `None` if the host has no address.
    pub(crate) async fn resolve(
        self: &Rc<Self>,
        host: &str,
        limit: Duration,
    ) -> Option<Rc<[IpAddr]>> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Some(Rc::new([literal]));
        }
        if host.eq_ignore_ascii_case("localhost") {
            return Some(Rc::new([IpAddr::V4(Ipv4Addr::LOCALHOST)]));
        }

        let entry = self.entry(host);
        match entry.until.get() {
            Some(until) if Instant::now() < until => {}
            Some(_) if !entry.addresses.borrow().is_empty() => {
                let (cache, host, entry) = (self.clone(), Box::<str>::from(host), entry.clone());
                tokio::task::spawn_local(async move {
                    if let Ok(_one) = entry.asking.try_lock() {
                        cache.ask(&host, &entry, limit).await;
                    }
                });
            }
            _ => {
                let _one = entry.asking.lock().await;
                if entry
                    .until
                    .get()
                    .is_none_or(|until| until <= Instant::now())
                {
                    self.ask(host, &entry, limit).await;
                }
            }
        }

        let addresses = entry.addresses.borrow().clone();
        (!addresses.is_empty()).then_some(addresses)
    }

    fn entry(&self, host: &str) -> Rc<Entry> {
        let mut known = self.known.borrow_mut();
        if let Some(entry) = known.get(host) {
            return entry.clone();
        }
        if known.len() >= KEPT {
            known.clear();
        }
        known.entry(host.into()).or_default().clone()
    }

    async fn ask(&self, host: &str, entry: &Entry, limit: Duration) {
        let answer = timeout(limit, self.look_up(host)).await.ok().flatten();
        let soon = Instant::now() + SHORTEST;
        if let Some((addresses, until)) = answer {
            *entry.addresses.borrow_mut() = addresses;
            entry.until.set(Some(until));
        } else {
            // Known addresses stay in use until DNS is back.
            entry.until.set(Some(soon));
        }
    }

    async fn look_up(&self, host: &str) -> Option<(Rc<[IpAddr]>, Instant)> {
        let answer = self
            .servers
            .resolver()?
            .lookup_ip(format!("{host}."))
            .await
            .inspect_err(|error| tracing::debug!(%error, host, "name not resolved"))
            .ok()?;

        let now = Instant::now();
        let until = answer.valid_until().clamp(now + SHORTEST, now + LONGEST);
        let addresses: Rc<[IpAddr]> = answer.iter().collect();
        (!addresses.is_empty()).then_some((addresses, until))
    }
}

#[cfg(test)]
mod tests;
