//! Route 53's API of 2013-04-01, with requests signed by Signature Version 4.

use http::{Method, Uri};

use super::{
    Secret,
    error::Failure,
    record::TTL,
    sigv4::{self, Credentials},
    web::{Refusal, Web, elements, is_id, zone_id},
    zone::{Place, Value, ZoneApi, quoted, with},
};
use crate::http_client::{Clock, Http};

const BASE: &str = "https://route53.amazonaws.com";
const NAMESPACE: &str = "https://route53.amazonaws.com/doc/2013-04-01/";
/// The largest number of pages of zones with one name that are read.
const PAGES: usize = 5;

/// The settings for Route 53.
#[derive(Clone, Debug)]
pub struct Route53Settings {
    /// The ID of the access key, which is no secret.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_key: Secret,
    /// The zone's ID; without it, the zone is found by name.
    pub zone_id: Option<String>,
    /// The base URL, if it is not that of all regions.
    pub base: Option<String>,
}

pub(super) struct Route53 {
    web: Web,
    settings: Route53Settings,
    time: Clock,
}

impl Route53 {
    pub(super) fn new(
        settings: &Route53Settings,
        http: &Http,
        time: Clock,
    ) -> Result<Self, Failure> {
        let web = Web::new(settings.base.as_deref(), BASE, http)?;
        zone_id(settings.zone_id.as_deref())?;
        Ok(Self {
            web: web.hiding(&settings.secret_key),
            settings: settings.clone(),
            time,
        })
    }

    async fn call(&self, method: Method, path: &str, body: String) -> Result<String, Refusal> {
        let url: Uri = self.web.url(path).parse().map_err(Failure::new)?;
        let credentials = Credentials {
            id: &self.settings.access_key_id,
            secret: self.settings.secret_key.expose(),
            region: "us-east-1",
            service: "route53",
        };
        let now = (self.time)().as_secs();
        let headers = sigv4::headers(&credentials, &method, &url, body.as_bytes(), now)?;
        let reply = self.web.send(&method, path, headers, body).await?;
        Ok(String::from_utf8_lossy(&reply.body).into_owned())
    }

    /// Sends one change of the record set, which the API makes as a whole.
    async fn change(
        &self,
        at: &Place,
        action: &str,
        ttl: u32,
        values: &[String],
    ) -> Result<(), Refusal> {
        let values = values.iter().map(|value| {
            format!(
                "<ResourceRecord><Value>{}</Value></ResourceRecord>",
                escaped(value)
            )
        });
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <ChangeResourceRecordSetsRequest xmlns=\"{NAMESPACE}\">\
             <ChangeBatch><Changes><Change><Action>{action}</Action><ResourceRecordSet>\
             <Name>{}.</Name><Type>TXT</Type><TTL>{ttl}</TTL>\
             <ResourceRecords>{}</ResourceRecords>\
             </ResourceRecordSet></Change></Changes></ChangeBatch>\
             </ChangeResourceRecordSetsRequest>",
            at.name,
            values.collect::<String>(),
        );

        let path = format!("/2013-04-01/hostedzone/{}/rrset", at.id);
        self.call(Method::POST, &path, body).await.map(|_| ())
    }
}

impl ZoneApi for Route53 {
    fn web(&self) -> &Web {
        &self.web
    }

    /// Zones are listed by name, and several may have the same: private ones, which no CA sees, and
    /// public ones.
    async fn zone(&self, name: &str) -> Result<Option<String>, Refusal> {
        if let Some(id) = &self.settings.zone_id {
            return Ok(Some(id.clone()));
        }

        let mut path = format!("/2013-04-01/hostedzonesbyname?dnsname={name}.&maxitems=20");
        for _ in 0..PAGES {
            let list = self.call(Method::GET, &path, String::new()).await?;
            for zone in elements(&list, "HostedZone") {
                let part = |tag| elements(zone, tag).next().unwrap_or_default();
                if !part("Name")
                    .trim_end_matches('.')
                    .eq_ignore_ascii_case(name)
                {
                    return Ok(None);
                }
                let id = part("Id").trim_start_matches("/hostedzone/");
                if part("PrivateZone") != "true" && is_id(id) {
                    return Ok(Some(id.to_owned()));
                }
            }

            let next = |tag| elements(&list, tag).next();
            match (next("NextDNSName"), next("NextHostedZoneId")) {
                (Some(dns), Some(id)) if is_id(id) => {
                    let query = format!("dnsname={dns}&hostedzoneid={id}&maxitems=20");
                    path = format!("/2013-04-01/hostedzonesbyname?{query}");
                }
                _ => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The list begins at the record set, or after it if it does not exist.
    async fn values(&self, at: &Place) -> Result<Vec<Value>, Refusal> {
        let query = format!("maxitems=1&name={}.&type=TXT", at.name);
        let path = format!("/2013-04-01/hostedzone/{}/rrset?{query}", at.id);
        let list = self.call(Method::GET, &path, String::new()).await?;
        let set = elements(&list, "ResourceRecordSet")
            .next()
            .unwrap_or_default();
        let part = |tag| elements(set, tag).next().unwrap_or_default();
        let name = part("Name").trim_end_matches('.');

        if !name.eq_ignore_ascii_case(&at.name) || part("Type") != "TXT" {
            return Ok(Vec::new());
        }
        if set.contains("<SetIdentifier>") {
            let reason = "its record set has a routing policy, which a challenge cannot have";
            return Err(Failure::new(reason).into());
        }

        let ttl = part("TTL").parse().ok();
        let values = elements(set, "Value").map(|value| Value {
            ttl,
            ..Value::new(unescaped(value))
        });
        Ok(values.collect())
    }

    async fn add(&self, at: &Place, value: &str, others: &[Value]) -> Result<(), Refusal> {
        let values = with(others, &quoted(value));
        self.change(at, "UPSERT", ttl(others), &values).await
    }

    async fn remove(&self, at: &Place, gone: &[Value], others: &[Value]) -> Result<(), Refusal> {
        let (action, left) = match others {
            [] => ("DELETE", gone),
            others => ("UPSERT", others),
        };
        let values: Vec<String> = left.iter().map(|value| value.raw.clone()).collect();
        // A deletion has to repeat the TTL.
        self.change(at, action, ttl(gone), &values).await
    }
}

/// Returns the TTL of the record set with these values.
fn ttl(values: &[Value]) -> u32 {
    values.first().and_then(|value| value.ttl).unwrap_or(TTL)
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;").replace('"', "&quot;")
}

fn unescaped(text: &str) -> String {
    let text = text.replace("&quot;", "\"").replace("&#34;", "\"");
    let text = text.replace("&lt;", "<").replace("&gt;", ">");
    text.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_survive_xml() {
        for text in ["\"a\" \"b\"", "<&amp;>", "v=spf1 ~all"] {
            assert_eq!(unescaped(&escaped(text)), text);
        }
    }
}
