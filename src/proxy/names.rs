//! Names of backends (ExternalName) to addresses, by DNS, kept for as long as the answer says.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    time::{Duration, Instant},
};

use hickory_resolver::TokioResolver;

/// Names kept at most; beyond it all are asked for again.
const KEPT: usize = 1024;
/// An answer is used for at least this long, whatever its lifetime says, and for at most an hour.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(3600);

/// The names that one core has looked up.
#[derive(Default)]
pub(super) struct Names {
    resolver: OnceCell<Option<TokioResolver>>,
    known: RefCell<HashMap<Box<str>, (Rc<[IpAddr]>, Instant)>>,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Names")
    }
}

impl Names {
    /// The addresses of a host; an IP literal is its own. When the name cannot be looked up now, what was known is
    /// used on.
    pub(super) async fn resolve(&self, host: &str) -> Option<Rc<[IpAddr]>> {
        if let Ok(literal) = host.parse::<IpAddr>() {
            return Some(Rc::new([literal]));
        }
        if host.eq_ignore_ascii_case("localhost") {
            return Some(Rc::new([IpAddr::V4(Ipv4Addr::LOCALHOST)]));
        }
        let known = self.known.borrow().get(host).cloned();
        match known {
            Some((addresses, until)) if Instant::now() < until => return Some(addresses),
            _ => {}
        }
        match self.look_up(host).await {
            Some((addresses, until)) => {
                let mut known = self.known.borrow_mut();
                if known.len() >= KEPT {
                    known.clear();
                }
                known.insert(host.into(), (addresses.clone(), until));
                Some(addresses)
            }
            None => known.map(|(addresses, _)| addresses),
        }
    }

    async fn look_up(&self, host: &str) -> Option<(Rc<[IpAddr]>, Instant)> {
        let resolver = self.resolver.get_or_init(|| {
            TokioResolver::builder_tokio()
                .and_then(|builder| builder.build())
                .inspect_err(|error| tracing::warn!(%error, "no DNS"))
                .ok()
        });
        let answer = resolver.as_ref()?.lookup_ip(format!("{host}.")).await.ok()?;
        let now = Instant::now();
        let until = answer.valid_until().clamp(now + SHORTEST, now + LONGEST);
        let addresses: Rc<[IpAddr]> = answer.iter().collect();
        (!addresses.is_empty()).then_some((addresses, until))
    }
}
