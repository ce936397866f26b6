//! DNS lookups, through resolvers and at the name servers of a zone, which have new records first.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use tokio::{task::JoinSet, time::timeout};

use super::{
    Caa, DnsError, TxtRecord,
    cname::{self, Cnames, Found},
    error::Failure,
    record::{HOPS, parse_name},
    wire,
};

/// The time limit for one query to a resolver.
const QUESTION: Duration = Duration::from_secs(3);
/// The time limit for a check for a record.
const CHECK: Duration = Duration::from_secs(20);
/// The time limit for each of the lookups of [`advice`].
const ADVICE: Duration = Duration::from_secs(5);
/// The largest numbers of name servers of a zone, and of addresses of one server, that are queried.
const SERVERS: usize = 13;
const ADDRESSES: usize = 4;

/// The settings for lookups of public records.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// The resolvers; if empty, the system's.
    pub resolvers: Vec<SocketAddr>,
    /// The servers that decide whether a record is visible.
    pub propagation: Propagation,
}

/// The servers that decide whether a record is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// The name servers of the zone, at this port.
    Authoritative {
        /// The port: 53, except in tests.
        port: u16,
    },
    /// The resolvers, for networks whose firewall blocks other servers. They may cache for a while
    /// that there is no record.
    Resolvers,
}

impl Default for Propagation {
    fn default() -> Self {
        Self::Authoritative { port: 53 }
    }
}

impl Lookup {
    fn resolver(&self) -> Result<TokioResolver, Failure> {
        let mut builder = if self.resolvers.is_empty() {
            TokioResolver::builder_tokio()
                .map_err(|error| Failure::new(format!("no system resolver: {error}")))?
        } else {
            let servers = self.resolvers.iter().map(|address| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
                let connections = connections.map(|mut connection| {
                    connection.port = address.port();
                    connection
                });
                NameServerConfig::new(address.ip(), true, connections.to_vec())
            });
            let config = ResolverConfig::from_name_servers(servers.collect());
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        };

        let options = builder.options_mut();
        options.timeout = QUESTION;
        options.attempts = 1;
        // New records must be seen at once, and a CA does not read our hosts file.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.preserve_intermediates = true;
        builder.build().map_err(Failure::new)
    }

    fn at(&self) -> String {
        let named: Vec<_> = self.resolvers.iter().map(SocketAddr::to_string).collect();
        if named.is_empty() {
            "system resolvers".to_owned()
        } else {
            named.join(", ")
        }
    }

    fn error(&self, record: &str, failure: Failure) -> DnsError {
        DnsError::new("dns", &self.at(), Some(record.to_owned()), failure)
    }
}

impl Cnames for Lookup {
    fn server(&self) -> String {
        self.at()
    }

    async fn cname(&self, name: &Name) -> Result<Found, Failure> {
        let answers = records(&self.resolver()?, name, RecordType::CNAME).await?;
        Ok(cname::target(&answers, name).map_or(Found::Nothing, Found::Target))
    }
}

/// Returns true if a CA would find the record now: every responding server of its zone has the
/// value, after following CNAMEs. Callers repeat it until it is true. Takes at most 20 s.
///
/// # Errors
/// No server of the zone responds, or the resolvers know none.
pub async fn visible(record: &TxtRecord, lookup: &Lookup) -> Result<bool, DnsError> {
    let check = async {
        let (name, resolver) = (record.name()?, lookup.resolver()?);
        match lookup.propagation {
            Propagation::Authoritative { port } => {
                at_servers(&resolver, name, &record.value, port).await
            }
            Propagation::Resolvers => {
                let answers = records(&resolver, &name, RecordType::TXT).await?;
                Ok(values(&answers).any(|value| value == record.value))
            }
        }
    };
    let found = Box::pin(in_time(CHECK, check)).await;
    found.map_err(|failure| lookup.error(&record.fqdn, failure))
}

/// Returns the TXT values of a name, through the resolvers.
pub(super) async fn texts(fqdn: &str, lookup: &Lookup) -> Result<Vec<String>, DnsError> {
    let values = async {
        let answers = records(&lookup.resolver()?, &parse_name(fqdn)?, RecordType::TXT).await?;
        Ok(values(&answers).collect())
    };
    Box::pin(values)
        .await
        .map_err(|failure| lookup.error(fqdn, failure))
}

/// The facts about a name in DNS.
#[derive(Clone, Debug, Default)]
pub struct Advice {
    /// Its addresses: first those of IPv6, which CAs prefer.
    pub addresses: Vec<IpAddr>,
    /// True if both lookups of addresses succeeded.
    pub addresses_known: bool,
    /// The CAA records that apply to it: those of the closest name that has any (RFC 8659 section
    /// 3).
    pub caa: Vec<Caa>,
    /// The name of the CAA records, without a dot at its end.
    pub caa_at: Option<String>,
    /// The failed lookups. A CA that cannot look up CAA records does not issue.
    pub problems: Vec<DnsError>,
}

/// Looks up a name's addresses and CAA records, without `*.` in front. Takes at most 5 s.
pub async fn advice(name: &str, lookup: &Lookup) -> Advice {
    let bare = name.strip_prefix("*.").unwrap_or(name);
    let mut advice = Advice::default();
    let (name, resolver) = match parse_name(bare).and_then(|name| Ok((name, lookup.resolver()?))) {
        Ok(both) => both,
        Err(failure) => {
            advice.problems.push(lookup.error(bare, failure));
            return advice;
        }
    };
    let (ipv6, ipv4, caa) = Box::pin(async {
        tokio::join!(
            in_time(ADVICE, records(&resolver, &name, RecordType::AAAA)),
            in_time(ADVICE, records(&resolver, &name, RecordType::A)),
            in_time(ADVICE, climb(&resolver, &name)),
        )
    })
    .await;

    advice.addresses_known = ipv4.is_ok() && ipv6.is_ok();
    for found in [ipv6, ipv4] {
        match found {
            Ok(records) => {
                let addresses = records.iter().filter_map(|record| record.data.ip_addr());
                advice.addresses.extend(addresses);
            }
            Err(failure) => advice.problems.push(lookup.error(bare, failure)),
        }
    }

    match caa {
        Ok(Some((at, records))) => {
            advice.caa = records;
            advice.caa_at = Some(at.to_ascii().trim_end_matches('.').to_owned());
        }
        Ok(None) => {}
        Err(failure) => advice.problems.push(lookup.error(bare, failure)),
    }
    advice
}

async fn in_time<T>(
    limit: Duration,
    lookup: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let late = || Failure::new(format!("no reply within {} s", limit.as_secs()));
    timeout(limit, lookup).await.unwrap_or_else(|_| Err(late()))
}

/// Finds the CAA records of the closest name that has any.
async fn climb(resolver: &TokioResolver, name: &Name) -> Result<Option<(Name, Vec<Caa>)>, Failure> {
    let mut at = name.clone();
    while !at.is_root() {
        let answers = records(resolver, &at, RecordType::CAA).await?;
        let found = answers.into_iter().filter_map(|record| match record.data {
            RData::CAA(caa) => Some(Caa {
                critical: caa.issuer_critical,
                value: String::from_utf8_lossy(&caa.value).into_owned(),
                tag: caa.tag,
            }),
            _ => None,
        });
        let found: Vec<_> = found.collect();
        if !found.is_empty() {
            return Ok(Some((at, found)));
        }
        at = at.base_name();
    }
    Ok(None)
}

/// Queries a resolver. Returns no records, rather than an error, if there are none.
async fn records(
    resolver: &TokioResolver,
    name: &Name,
    kind: RecordType,
) -> Result<Vec<Record>, Failure> {
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => Ok(lookup.answers().to_vec()),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(Failure::new(format!(
            "the lookup of {kind} for {name} failed: {error}"
        ))),
    }
}

fn values(records: &[Record]) -> impl Iterator<Item = String> {
    records.iter().filter_map(|record| match &record.data {
        RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
        _ => None,
    })
}

async fn at_servers(
    resolver: &TokioResolver,
    mut name: Name,
    value: &str,
    port: u16,
) -> Result<bool, Failure> {
    for _ in 0..HOPS {
        let (zone, servers) = servers(resolver, &name).await?;
        let mut queries = JoinSet::new();
        for addresses in servers {
            let name = name.clone();
            queries.spawn(async move { query_one(&addresses, port, &name).await });
        }
        let answers: Vec<Message> = queries.join_all().await.into_iter().flatten().collect();
        if answers.is_empty() {
            return Err(Failure::new(format!(
                "no server of the zone {zone} responds at port {port}"
            )));
        }
        if let Some(next) = answers
            .iter()
            .find_map(|answer| cname::target(&answer.answers, &name))
        {
            name = next;
            continue;
        }
        return Ok(answers
            .iter()
            .all(|answer| values(&answer.answers).any(|found| found == value)));
    }

    Err(Failure::new("too many CNAMEs in a row"))
}

/// Queries one server for the TXT records of a name. Returns `None` for servers that fail or do not
/// know the zone, which CAs skip as well.
async fn query_one(addresses: &[IpAddr], port: u16, name: &Name) -> Option<Message> {
    for address in addresses {
        let reply = wire::query(SocketAddr::new(*address, port), name, RecordType::TXT).await;
        let reason = match reply {
            Ok(answer) => match answer.response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => return Some(answer),
                code => code.to_string(),
            },
            Err(error) => error.to_string(),
        };
        tracing::debug!(%address, %name, reason, "skipping a name server");
    }

    None
}

/// Returns the zone of a name and the addresses of each of its name servers.
async fn servers(
    resolver: &TokioResolver,
    name: &Name,
) -> Result<(Name, Vec<Vec<IpAddr>>), Failure> {
    let mut zone = name.clone();
    let names: Vec<Name> = loop {
        let answers = records(resolver, &zone, RecordType::NS).await?;
        let names = answers.iter().filter_map(|record| match &record.data {
            RData::NS(server) if record.name == zone => Some(server.0.clone()),
            _ => None,
        });
        let names: Vec<_> = names.take(SERVERS).collect();
        if !names.is_empty() {
            break names;
        }
        zone = zone.base_name();
        if zone.is_root() {
            return Err(Failure::new(format!("no zone contains {name}")));
        }
    };

    let mut servers = Vec::new();
    for server in names {
        let mut addresses = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            // One server without addresses is no error: there are usually several.
            let found = records(resolver, &server, kind).await.unwrap_or_default();
            addresses.extend(found.iter().filter_map(|record| record.data.ip_addr()));
        }
        addresses.truncate(ADDRESSES);
        servers.push(addresses);
    }

    Ok((zone, servers))
}
