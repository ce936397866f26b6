//! Delegation of a record by CNAMEs. Those of a wildcard are not followed: they are meant for
//! names that do not exist, and no longer hold once the record is there.

use hickory_proto::rr::{Name, RData, Record};

use super::{error::Failure, record::HOPS};
use crate::util::{hex, stamp};

/// A source of CNAMEs.
pub(super) trait Cnames: Sync {
    /// Returns its address for messages.
    fn server(&self) -> String;

    /// Looks up the CNAME at one name.
    fn cname(&self, name: &Name) -> impl Future<Output = Result<Found, Failure>> + Send;
}

/// The result of a lookup of a CNAME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// The server is not the one to ask.
    Unknown,
    /// The name has none.
    Nothing,
    /// The target.
    Target(Name),
}

/// The end of a chain of CNAMEs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The last name.
    pub(super) name: Name,
    /// True if the source knows that the name has no CNAME to follow.
    pub(super) known: bool,
    /// A sentence about the CNAMEs for an error, if there were any.
    pub(super) note: Option<String>,
}

impl Chain {
    /// Creates a chain without CNAMEs.
    pub(super) fn new(name: Name) -> Self {
        Self {
            name,
            known: false,
            note: None,
        }
    }
}

/// Follows the CNAMEs at a name to their end.
pub(super) async fn follow(source: &impl Cnames, start: Name) -> Result<Chain, Failure> {
    let mut chain = Chain::new(start.clone());
    for _ in 0..HOPS {
        let target = match source.cname(&chain.name).await? {
            Found::Unknown => return Ok(chain),
            Found::Nothing => {
                chain.known = true;
                return Ok(chain);
            }
            Found::Target(target) => target,
        };

        let server = source.server();
        if is_of_wildcard(source, &chain.name, &target).await? {
            chain.known = true;
            chain.note = Some(format!(
                "the CNAME {target} of {} at {server} is not followed, because it comes from a \
                 wildcard; for a delegation, create a CNAME at exactly this name",
                chain.name
            ));
            return Ok(chain);
        }
        chain.note = Some(format!(
            "{start} is a CNAME of {target} at {server}; to publish at {start} itself, set \
             `follow_cname = false`"
        ));
        chain.name = target;
    }

    Err(Failure::new("too many CNAMEs in a row")
        .noting("to publish at the name itself, set `follow_cname = false`"))
}

/// Returns the target of a name's CNAME in a response.
pub(super) fn target(records: &[Record], name: &Name) -> Option<Name> {
    records.iter().find_map(|record| match &record.data {
        RData::CNAME(target) if record.name == *name => Some(target.0.clone()),
        _ => None,
    })
}

/// Returns true if a name beside this one, which does not exist, has the same CNAME.
async fn is_of_wildcard(source: &impl Cnames, name: &Name, target: &Name) -> Result<bool, Failure> {
    let label = format!("gatelet-{}", hex::encode(&stamp::random::<8>()));
    let beside = name.base_name().prepend_label(label.as_bytes());
    let beside = beside.map_err(Failure::new)?;
    Ok(source.cname(&beside).await? == Found::Target(target.clone()))
}
