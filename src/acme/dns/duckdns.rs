//! DuckDNS, where each domain has one TXT value, which all names below it share.

use hickory_proto::rr::Name;
use http::{HeaderMap, Method};

use super::{
    Lookup, Secret, TokenSettings,
    error::Failure,
    lookup::texts,
    record::Action,
    service::{Service, Working},
    web::Web,
};
use crate::http_client::Http;

const BASE: &str = "https://www.duckdns.org";
/// The zone of all domains.
const ZONE: &str = ".duckdns.org";

pub(super) struct DuckDns {
    web: Web,
    token: Secret,
    lookup: Lookup,
}

impl DuckDns {
    pub(super) fn new(
        settings: &TokenSettings,
        http: &Http,
        lookup: &Lookup,
    ) -> Result<Self, Failure> {
        let web = Web::new(settings.base.as_deref(), BASE, http)?;
        Ok(Self {
            web: web.hiding(&settings.token),
            token: settings.token.clone(),
            lookup: lookup.clone(),
        })
    }

    async fn edit(&self, action: Action, name: &str, value: &str) -> Result<(), Failure> {
        let domain = name
            .strip_suffix(ZONE)
            .and_then(|below| below.rsplit('.').next());
        let Some(domain) = domain.filter(|domain| !domain.is_empty()) else {
            return Err(Failure::new(format!("{name} is not below duckdns.org")));
        };
        let change = match action {
            Action::Present => format!("txt={value}"),
            Action::Cleanup if self.is_replaced(name, value).await => return Ok(()),
            Action::Cleanup => format!("txt={value}&clear=true"),
        };

        let token = self.token.expose();
        let path = format!("/update?domains={domain}&token={token}&{change}");
        let reply = self
            .web
            .send(&Method::GET, &path, HeaderMap::new(), String::new());
        let reply = reply.await.map_err(Failure::from)?;
        match reply.body.starts_with(b"OK") {
            true => Ok(()),
            false => {
                let failure = self.web.failed(&Method::GET, &path, &reply);
                let advice = "the token is wrong, or its account does not have the domain";
                Err(failure.within(&format!("{domain}{ZONE}")).noting(advice))
            }
        }
    }

    /// Returns true if the value is another one by now, which a removal would take away.
    async fn is_replaced(&self, name: &str, value: &str) -> bool {
        match texts(name, &self.lookup).await {
            Ok(found) => !found.is_empty() && !found.iter().any(|one| one == value),
            Err(_) => false,
        }
    }
}

impl Service for DuckDns {
    fn at(&self) -> String {
        self.web.place().to_owned()
    }

    fn change<'a>(&'a self, action: Action, name: &'a Name, value: &'a str) -> Working<'a, ()> {
        Box::pin(async move {
            let name = name.to_ascii().to_ascii_lowercase();
            self.edit(action, name.trim_end_matches('.'), value).await
        })
    }
}
