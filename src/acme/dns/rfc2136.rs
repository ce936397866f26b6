//! DNS UPDATE (RFC 2136) to a named server, signed with a TSIG key (RFC 8945).

use std::net::SocketAddr;

use base64::{Engine, prelude::BASE64_STANDARD};
use hickory_proto::{
    op::{Message, ResponseCode, update_message},
    rr::{
        Name, RData, Record, RecordSet, RecordType, TSigner,
        rdata::{
            TSIG, TXT,
            tsig::{TsigAlgorithm, TsigError},
        },
    },
};

use super::{
    Secret,
    cname::{self, Chain, Cnames, Found},
    error::Failure,
    record::{Action, TTL, parse_name},
    service::{Service, Working},
    wire::{self, First},
};
use crate::http_client::Clock;

/// The allowed difference of the two clocks in seconds, as RFC 8945 section 10 recommends.
const FUDGE: u16 = 300;

/// The settings for DNS UPDATE.
#[derive(Clone, Debug)]
pub struct Rfc2136Settings {
    /// The primary server of the zone, or one that forwards updates to it.
    pub server: SocketAddr,
    /// The zone; without it, the server is queried for it.
    pub zone: Option<String>,
    /// The key that signs updates; without it, they are not signed.
    pub key: Option<TsigKey>,
}

/// A TSIG key, as written in servers' configuration files.
#[derive(Clone, Debug)]
pub struct TsigKey {
    /// The name of the key.
    pub name: String,
    /// `hmac-sha256`, `hmac-sha384` or `hmac-sha512`.
    pub algorithm: String,
    /// The secret in base64.
    pub secret: Secret,
}

#[derive(Clone)]
pub(super) struct Rfc2136 {
    server: SocketAddr,
    zone: Option<Name>,
    key: Option<TSigner>,
    time: Clock,
}

impl Rfc2136 {
    pub(super) fn new(settings: &Rfc2136Settings, time: Clock) -> Result<Self, Failure> {
        let zone = settings.zone.as_deref().map(parse_name).transpose()?;
        let key = settings.key.as_ref().map(signer).transpose()?;
        Ok(Self {
            server: settings.server,
            zone,
            key,
            time,
        })
    }

    /// Adds or deletes one value. Adding an existing value or deleting a missing one changes
    /// nothing (RFC 2136 section 3.4.2).
    async fn update(&self, action: Action, name: &Name, value: &str) -> Result<(), Failure> {
        let zone = match &self.zone {
            Some(zone) => zone.clone(),
            None => self.find_zone(name).await?,
        };

        if !zone.zone_of(name) {
            return Err(Failure::new(format!("{name} is not in the zone {zone}")));
        }
        let record = Record::from_rdata(
            name.clone(),
            TTL,
            RData::TXT(TXT::new(vec![value.to_owned()])),
        );

        let records = RecordSet::from(record);
        let message = match action {
            Action::Present => update_message::append(records, zone.clone(), false, false),
            Action::Cleanup => update_message::delete_by_rdata(records, zone.clone(), false),
        };

        let reply = self.send(message, First::Tcp).await?;
        match reply.response_code {
            ResponseCode::NoError => Ok(()),
            ResponseCode::ServFail => Err(Failure::new(format!(
                "the server failed to update {zone} (SERVFAIL)"
            ))),
            ResponseCode::Refused => Err(Failure::new(match &self.key {
                Some(key) => format!(
                    "the server does not let the key {} update {zone} (REFUSED)",
                    key.signer_name()
                ),
                None => format!("the server does not let us update {zone} without a key (REFUSED)"),
            })),
            ResponseCode::NotAuth => {
                let or = if self.key.is_none() {
                    ", or requires a signature"
                } else {
                    ""
                };
                Err(Failure::new(format!(
                    "the server is not authoritative for the zone {zone}{or} (NOTAUTH)"
                )))
            }
            other => Err(Failure::new(format!(
                "the server responds {other} to an update of {zone}"
            ))),
        }
    }

    /// Finds the closest enclosing zone for which the server is authoritative.
    async fn find_zone(&self, name: &Name) -> Result<Name, Failure> {
        let (mut at, mut last) = (name.clone(), ResponseCode::NoError);
        while !at.is_root() {
            let reply = self
                .send(wire::question(&at, RecordType::SOA), First::Udp)
                .await?;
            if reply.response_code == ResponseCode::ServFail {
                return Err(Failure::new(format!(
                    "the server failed to look up the zone of {name} (SERVFAIL)"
                )));
            }

            let sections = reply.answers.iter().chain(&reply.authorities);
            let zone = sections.filter(|record| {
                record.record_type() == RecordType::SOA && record.name.zone_of(name)
            });
            // Ignore the SOA of another server, which a resolver would pass on.
            if let Some(zone) = zone
                .max_by_key(|record| record.name.num_labels())
                .filter(|_| reply.authoritative)
            {
                return Ok(zone.name.clone());
            }

            let elsewhere = reply
                .authorities
                .iter()
                .find(|record| record.record_type() == RecordType::NS);
            if let Some(elsewhere) =
                elsewhere.filter(|_| !reply.authoritative && reply.answers.is_empty())
            {
                let zone = &elsewhere.name;
                return Err(Failure::new(format!(
                    "the server delegates {name} to other servers (in {zone})"
                )));
            }

            last = reply.response_code;
            at = at.base_name();
        }
        Err(Failure::new(format!(
            "the server is not authoritative for any zone of {name} (last response: {last})"
        )))
    }

    /// Sends one message. With a key, the message is signed and the reply must be signed with the
    /// same key.
    async fn send(&self, mut message: Message, first: First) -> Result<Message, Failure> {
        let now = (self.time)().as_secs();
        let verifier = match &self.key {
            Some(key) => message.finalize(key, now).map_err(Failure::new)?,
            None => None,
        };
        let request = message.to_vec().map_err(Failure::new)?;
        let bytes = wire::exchange(self.server, &request, first)
            .await
            .map_err(|error| Failure::new(format!("no reply from the server: {error}")))?;
        let reply = wire::parse(&message, &bytes)
            .map_err(|error| Failure::new(format!("the reply cannot be used: {error}")))?;

        let (Some(key), Some(mut verifier)) = (&self.key, verifier) else {
            return Ok(reply);
        };

        let Some(signature) = reply.signature() else {
            return match reply.response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => {
                    Err(Failure::new("the reply is not signed"))
                }
                // Servers do not sign refusals that precede the check of the key. An unsigned
                // refusal does no harm.
                _ => Ok(reply),
            };
        };

        if let Some(failure) = refused(&signature.data, key, now) {
            return Err(failure);
        }
        if signature.data.time < u64::from(signature.data.fudge) {
            return Err(Failure::new(
                "the signature of the reply has an impossible time",
            ));
        }
        verifier.verify(&bytes).map_err(|error| {
            Failure::new(format!("the signature of the reply is invalid: {error}"))
        })?;
        Ok(reply)
    }
}

impl Service for Rfc2136 {
    fn at(&self) -> String {
        self.server.to_string()
    }

    fn change<'a>(&'a self, action: Action, name: &'a Name, value: &'a str) -> Working<'a, ()> {
        Box::pin(self.update(action, name, value))
    }

    fn follow(&self, name: Name) -> Working<'_, Chain> {
        Box::pin(cname::follow(self, name))
    }
}

impl Cnames for Rfc2136 {
    fn server(&self) -> String {
        self.server.to_string()
    }

    async fn cname(&self, name: &Name) -> Result<Found, Failure> {
        let question = wire::question(name, RecordType::CNAME);
        let reply = self.send(question, First::Udp).await?;
        if !reply.authoritative {
            return Ok(Found::Unknown);
        }
        let target = cname::target(&reply.answers, name);
        Ok(target.map_or(Found::Nothing, Found::Target))
    }
}

/// Returns the server's objection to our signature (RFC 8945 section 5.2). Such replies may be
/// unsigned.
fn refused(reply: &TSIG, key: &TSigner, now: u64) -> Option<Failure> {
    let name = key.signer_name();
    Some(match reply.error? {
        TsigError::BadKey => Failure::new(format!(
            "the server does not know the key {name}, or does not accept it for this zone (BADKEY)"
        )),
        TsigError::BadSig => Failure::new(format!(
            "the secret or algorithm of the key {name} differs from the server's (BADSIG)"
        )),
        TsigError::BadTime => {
            // RFC 8945 section 5.2.3: the server's time, as 48 bits.
            let server = reply
                .other
                .iter()
                .fold(0u64, |time, byte| time << 8 | u64::from(*byte));
            let (ours, theirs) = (date(now), date(server));
            Failure::new(format!(
                "the clocks differ: it is {theirs} at the server, {ours} here (BADTIME)"
            ))
        }
        TsigError::BadTrunc => {
            Failure::new("the server requires another signature length (BADTRUNC)")
        }
        TsigError::Unknown(code) => Failure::new(format!(
            "the server refuses the signature with error {code}"
        )),
    })
}

fn date(seconds: u64) -> String {
    let stamp = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    stamp.map_or_else(|| format!("second {seconds}"), |stamp| stamp.to_string())
}

fn signer(key: &TsigKey) -> Result<TSigner, Failure> {
    let algorithm = match key
        .algorithm
        .trim_end_matches('.')
        .to_ascii_lowercase()
        .as_str()
    {
        "hmac-sha256" => TsigAlgorithm::HmacSha256,
        "hmac-sha384" => TsigAlgorithm::HmacSha384,
        "hmac-sha512" => TsigAlgorithm::HmacSha512,
        weak @ ("hmac-sha1" | "hmac-md5" | "hmac-md5.sig-alg.reg.int") => {
            return Err(Failure::new(format!(
                "{weak} is too weak, use hmac-sha256 or hmac-sha512"
            )));
        }
        other => {
            let known = "use hmac-sha256, hmac-sha384 or hmac-sha512";
            return Err(Failure::new(format!(
                "unknown TSIG algorithm {other:?}; {known}"
            )));
        }
    };
    let name = parse_name(&key.name)?;

    // Don't quote the decoder's error: it contains a character of the secret.
    let secret = BASE64_STANDARD
        .decode(key.secret.expose())
        .map_err(|_| Failure::new(format!("the secret of the TSIG key {name} is not base64")))?;

    if secret.is_empty() {
        return Err(Failure::new(format!(
            "the secret of the TSIG key {name} is empty"
        )));
    }
    TSigner::new(secret, algorithm, name, FUDGE).map_err(Failure::new)
}

#[cfg(test)]
mod tests;
