//! What DNS says: through resolvers, and at the servers of a zone, which have a record first.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
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

use super::{Caa, DnsError, HOPS, TxtRecord, error::Failure, parse_name, wire};

/// How long one question to a resolver may take.
const QUESTION: Duration = Duration::from_secs(3);
/// How long a check for a record may take.
const CHECK: Duration = Duration::from_secs(20);
/// How long each of the lookups of [`advice`] may take.
const ADVICE: Duration = Duration::from_secs(5);
/// Servers of a zone that are asked, and addresses of one that are tried.
const SERVERS: usize = 13;
const ADDRESSES: usize = 4;

/// How DNS is asked for what is public.
#[derive(Clone, Debug, Default)]
pub struct Lookup {
    /// Resolvers; without any, the system's.
    pub resolvers: Vec<SocketAddr>,
    /// Who says whether a record is there.
    pub ask: Ask,
}

/// Who says whether a record is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// The servers of the zone, at this port.
    Authoritative {
        /// 53 but for tests.
        port: u16,
    },
    /// The resolvers, where a firewall lets nothing else through. They may remember for a while
    /// that there was no record.
    Resolvers,
}

impl Default for Ask {
    fn default() -> Self {
        Self::Authoritative { port: 53 }
    }
}

impl Lookup {
    /// The name at the end of a chain of CNAMEs.
    pub(super) async fn canonical(&self, mut name: Name) -> Result<Name, Failure> {
        let resolver = self.resolver()?;
        for _ in 0..HOPS {
            let answers = records(&resolver, &name, RecordType::CNAME).await?;
            match alias(&answers, &name) {
                Some(next) => name = next,
                None => return Ok(name),
            }
        }
        Err(Failure::permanent("too many CNAMEs in a row"))
    }

    fn resolver(&self) -> Result<TokioResolver, Failure> {
        let mut builder = if self.resolvers.is_empty() {
            TokioResolver::builder_tokio()
                .map_err(|error| Failure::passing(format!("no system resolver: {error}")))?
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
        // What was not there a second ago may be there now, and a CA does not read our hosts file.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.preserve_intermediates = true;
        builder.build().map_err(Failure::passing)
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

/// Whether a CA that asks for the record now finds it: all servers of its zone that answer have the
/// value, CNAMEs followed. To be repeated until it is true. Takes at most 20 s.
///
/// # Errors
/// No server of the zone answers, or the resolvers do not know any.
pub async fn visible(record: &TxtRecord, lookup: &Lookup) -> Result<bool, DnsError> {
    let check = async {
        let (name, resolver) = (record.name()?, lookup.resolver()?);
        match lookup.ask {
            Ask::Authoritative { port } => at_servers(&resolver, name, &record.value, port).await,
            Ask::Resolvers => {
                let answers = records(&resolver, &name, RecordType::TXT).await?;
                Ok(values(&answers).any(|value| value == record.value))
            }
        }
    };
    let found = Box::pin(timeout(CHECK, check)).await;
    let found = found.unwrap_or_else(|_| {
        Err(Failure::passing(format!(
            "no answer within {} s",
            CHECK.as_secs()
        )))
    });
    found.map_err(|failure| lookup.error(&record.fqdn, failure))
}

/// The TXT values of a name, through the resolvers.
pub(super) async fn texts(fqdn: &str, lookup: &Lookup) -> Result<Vec<String>, DnsError> {
    let ask = async {
        let answers = records(&lookup.resolver()?, &parse_name(fqdn)?, RecordType::TXT).await?;
        Ok(values(&answers).collect())
    };
    Box::pin(ask)
        .await
        .map_err(|failure| lookup.error(fqdn, failure))
}

/// What DNS says of a name before a CA is asked. Facts, not a verdict.
#[derive(Clone, Debug, Default)]
pub struct Advice {
    /// Its IPv4 addresses.
    pub ipv4: Vec<Ipv4Addr>,
    /// Its IPv6 addresses, which CAs prefer.
    pub ipv6: Vec<Ipv6Addr>,
    /// Whether these are all.
    pub addresses_known: bool,
    /// The CAA records that count for it: those of the closest name that has any (RFC 8659 3).
    pub caa: Vec<Caa>,
    /// That name, without a dot at its end.
    pub caa_at: Option<String>,
    /// What could not be found out. A CA that cannot look up CAA does not issue.
    pub problems: Vec<DnsError>,
}

/// Poller up a name's addresses and CAA records; `*.` in front is left out. Takes at most 5 s.
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
    let (ipv4, ipv6, caa) = Box::pin(async {
        tokio::join!(
            in_time(records(&resolver, &name, RecordType::A)),
            in_time(records(&resolver, &name, RecordType::AAAA)),
            in_time(climb(&resolver, &name)),
        )
    })
    .await;
    advice.addresses_known = ipv4.is_ok() && ipv6.is_ok();
    let mut known = |found: Result<Vec<Record>, Failure>| {
        found.unwrap_or_else(|failure| {
            advice.problems.push(lookup.error(bare, failure));
            Vec::new()
        })
    };
    for record in known(ipv4).into_iter().chain(known(ipv6)) {
        match record.data {
            RData::A(address) => advice.ipv4.push(address.0),
            RData::AAAA(address) => advice.ipv6.push(address.0),
            _ => {}
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

async fn in_time<T>(ask: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let answer = timeout(ADVICE, ask).await;
    answer.unwrap_or_else(|_| {
        Err(Failure::passing(format!(
            "no answer within {} s",
            ADVICE.as_secs()
        )))
    })
}

/// The CAA records of the closest name that has any.
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

/// The records that a resolver has for a question; none when there are none.
async fn records(
    resolver: &TokioResolver,
    name: &Name,
    kind: RecordType,
) -> Result<Vec<Record>, Failure> {
    match resolver.lookup(name.clone(), kind).await {
        Ok(lookup) => Ok(lookup.answers().to_vec()),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(error) => Err(Failure::passing(format!(
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

fn alias(records: &[Record], name: &Name) -> Option<Name> {
    records.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *name => Some(target.0.clone()),
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
        let mut asked = JoinSet::new();
        for addresses in servers {
            let name = name.clone();
            asked.spawn(async move { ask_one(&addresses, port, &name).await });
        }
        let answers: Vec<Message> = asked.join_all().await.into_iter().flatten().collect();
        if answers.is_empty() {
            return Err(Failure::passing(format!(
                "no server of the zone {zone} answers at port {port}"
            )));
        }
        if let Some(next) = answers
            .iter()
            .find_map(|answer| alias(&answer.answers, &name))
        {
            name = next;
            continue;
        }
        return Ok(answers
            .iter()
            .all(|answer| values(&answer.answers).any(|found| found == value)));
    }
    Err(Failure::permanent("too many CNAMEs in a row"))
}

/// The TXT records of a name as one server has them. A server that is broken or does not know the
/// zone is passed over, as a CA does it.
async fn ask_one(addresses: &[IpAddr], port: u16, name: &Name) -> Option<Message> {
    for address in addresses {
        match wire::ask(SocketAddr::new(*address, port), name, RecordType::TXT).await {
            Ok(answer)
                if matches!(
                    answer.response_code,
                    ResponseCode::NoError | ResponseCode::NXDomain
                ) =>
            {
                return Some(answer);
            }
            Ok(answer) => {
                tracing::debug!(%address, %name, code = %answer.response_code, "name server is no use");
            }
            Err(error) => tracing::debug!(%address, %name, %error, "name server does not answer"),
        }
    }
    None
}

/// The zone of a name and the addresses of each of its servers.
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
            return Err(Failure::passing(format!("no zone of {name} is known")));
        }
    };
    let mut servers = Vec::new();
    for server in names {
        let mut addresses = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            // One of several servers may have no address, or none of this kind.
            for record in records(resolver, &server, kind).await.unwrap_or_default() {
                match record.data {
                    RData::A(address) => addresses.push(IpAddr::V4(address.0)),
                    RData::AAAA(address) => addresses.push(IpAddr::V6(address.0)),
                    _ => {}
                }
            }
        }
        addresses.truncate(ADDRESSES);
        servers.push(addresses);
    }
    Ok((zone, servers))
}
