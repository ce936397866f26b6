//! acme-dns, a DNS server for challenges only. Each account has one name, which keeps the two
//! newest values; nothing is ever removed.

use std::collections::BTreeMap;

use hickory_proto::rr::Name;
use http::{HeaderName, Method};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::json;

use super::{
    Lookup, Secret,
    error::Failure,
    lookup::texts,
    record::Action,
    service::{Service, Working},
    web::Web,
    zone::suffixes,
};
use crate::http_client::Http;

/// The settings for acme-dns.
#[derive(Clone, Debug)]
pub struct AcmeDnsSettings {
    /// The base URL of the API.
    pub url: String,
    /// The accounts as JSON: the response to a registration, or an object of them by domain.
    pub accounts: Secret,
}

pub(super) struct AcmeDns {
    web: Web,
    accounts: BTreeMap<String, Account>,
    lookup: Lookup,
    /// True if the CNAMEs of names must be seen from here.
    follow_cname: bool,
}

/// An account, as the response to a registration describes it.
#[derive(Deserialize)]
struct Account {
    username: String,
    password: String,
    fulldomain: String,
    subdomain: String,
}

/// One account for everything, or one for each domain.
#[derive(Deserialize)]
#[serde(untagged)]
enum Accounts {
    One(Account),
    ByDomain(BTreeMap<String, Account>),
}

impl AcmeDns {
    pub(super) fn new(
        settings: &AcmeDnsSettings,
        http: &Http,
        lookup: &Lookup,
        follow_cname: bool,
    ) -> Result<Self, Failure> {
        // Don't quote the parser's error: it may contain a part of a password.
        let accounts = serde_json::from_str(settings.accounts.expose()).map_err(|_| {
            Failure::new(
                "the accounts are not JSON with username, password, fulldomain and subdomain",
            )
        })?;
        let accounts = match accounts {
            Accounts::One(account) => BTreeMap::from([(account.fulldomain.clone(), account)]),
            Accounts::ByDomain(accounts) => accounts,
        };

        Ok(Self {
            web: Web::new(Some(&settings.url), "", http)?,
            accounts,
            lookup: lookup.clone(),
            follow_cname,
        })
    }

    /// Finds the account of a name: that to which its CNAME leads, or that of its domain.
    fn account(&self, name: &str) -> Result<&Account, Failure> {
        let same = |one: &str| one.trim_end_matches('.').eq_ignore_ascii_case(name);
        let by_target = self
            .accounts
            .values()
            .find(|account| same(&account.fulldomain));
        if let Some(account) = by_target {
            return Ok(account);
        }

        let mut domains = suffixes(name);
        let account = domains.find_map(|domain| self.accounts.get(domain));
        Err(Failure::new(match account {
            Some(account) if !self.follow_cname => return Ok(account),
            Some(account) => format!(
                "{name} is no CNAME of {}: create that record, once, or set `follow_cname = false` \
                 if only this network does not show it",
                account.fulldomain
            ),
            None => format!(
                "no account has the domain of {name}, and it is no CNAME of the `fulldomain` of one"
            ),
        }))
    }

    async fn publish(&self, name: &str, value: &str) -> Result<(), Failure> {
        let account = self.account(name)?;

        // A value that is sent again would take the place of the other one.
        if let Ok(found) = texts(&account.fulldomain, &self.lookup).await
            && found.iter().any(|one| one == value)
        {
            return Ok(());
        }

        let web = self
            .web
            .clone()
            .authorized(
                HeaderName::from_static("x-api-user"),
                "",
                &Secret::new(&account.username),
            )?
            .authorized(
                HeaderName::from_static("x-api-key"),
                "",
                &Secret::new(&account.password),
            )?;
        let body = json!({ "subdomain": account.subdomain, "txt": value });
        let done = web
            .call::<IgnoredAny>(Method::POST, "/update", Some(body))
            .await;
        done.map(|_| ())
            .map_err(|refusal| Failure::from(refusal).within(&account.fulldomain))
    }
}

impl Service for AcmeDns {
    fn at(&self) -> String {
        self.web.place().to_owned()
    }

    fn change<'a>(&'a self, action: Action, name: &'a Name, value: &'a str) -> Working<'a, ()> {
        Box::pin(async move {
            let name = name.to_ascii().to_ascii_lowercase();
            match action {
                Action::Present => self.publish(name.trim_end_matches('.'), value).await,
                Action::Cleanup => Ok(()),
            }
        })
    }
}
