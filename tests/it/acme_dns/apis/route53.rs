//! Route 53.

use gatelet::acme::dns::Route53Settings;

use super::*;

const OPEN: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";

fn route53(base: String, zone_id: Option<&str>) -> Provider {
    provider(ProviderSettings::Route53(Route53Settings {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_key: Secret::new(TOKEN),
        zone_id: zone_id.map(str::to_owned),
        base: Some(base),
    }))
}

fn zone(id: &str, name: &str, private: bool) -> String {
    format!(
        "<HostedZone><Id>/hostedzone/{id}</Id><Name>{name}.</Name>\
         <CallerReference>r</CallerReference><Config><Comment>c</Comment>\
         <PrivateZone>{private}</PrivateZone></Config>\
         <ResourceRecordSetCount>10</ResourceRecordSetCount></HostedZone>"
    )
}

fn zones(found: &[String], next: &str) -> (u16, String) {
    let found = found.concat();
    let body = format!(
        "{OPEN}<ListHostedZonesByNameResponse><HostedZones>{found}</HostedZones>{next}\
         <MaxItems>20</MaxItems></ListHostedZonesByNameResponse>"
    );
    (200, body)
}

fn part<'a>(text: &'a str, tag: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let after = text.split(open.as_str()).skip(1);
    after
        .filter_map(|text| text.split(close.as_str()).next())
        .collect()
}

fn api(records: &Records) -> impl Fn(&Asked) -> (u16, String) + Send + 'static {
    let records = records.clone();
    move |asked| {
        let authorization = &asked.headers["authorization"];
        let expected = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/";
        assert!(authorization.starts_with(expected), "{authorization}");
        assert!(
            authorization
                .contains("/us-east-1/route53/aws4_request, SignedHeaders=host;x-amz-date")
        );
        assert!(asked.headers["x-amz-date"].ends_with('Z'));

        let path = asked
            .path
            .strip_prefix("/2013-04-01/")
            .expect("the version");
        let set = format!("hostedzone/PUBLIC1/rrset?maxitems=1&name={NAME}.&type=TXT");
        match (asked.method.as_str(), path) {
            // A page of private zones, before the public one.
            ("GET", "hostedzonesbyname?dnsname=example.test.&maxitems=20") => {
                let next = "<IsTruncated>true</IsTruncated>\
                    <NextDNSName>example.test.</NextDNSName>\
                    <NextHostedZoneId>PUBLIC1</NextHostedZoneId>";
                zones(&[zone("PRIVATE1", "example.test", true)], next)
            }
            ("GET", "hostedzonesbyname?dnsname=example.test.&hostedzoneid=PUBLIC1&maxitems=20") => {
                let found = [
                    zone("PUBLIC1", "example.test", false),
                    zone("Z", "example.z", false),
                ];
                zones(&found, "<IsTruncated>false</IsTruncated>")
            }
            ("GET", path) if path.starts_with("hostedzonesbyname?") => zones(
                &[zone("Z", "zzz.test", false)],
                "<IsTruncated>false</IsTruncated>",
            ),
            ("GET", path) if *path == set => {
                let all = records.raw();
                let values = all.iter().map(|raw| {
                    let raw = raw.replace('"', "&quot;");
                    format!("<ResourceRecord><Value>{raw}</Value></ResourceRecord>")
                });
                let values: String = values.collect();
                // The next record set, if there is none with this name.
                let (name, ttl) = match all.is_empty() {
                    true => ("a.example.test.".to_owned(), 5),
                    false => (format!("{NAME}."), 120),
                };
                let body = format!(
                    "{OPEN}<ListResourceRecordSetsResponse><ResourceRecordSets><ResourceRecordSet>\
                     <Name>{name}</Name><Type>TXT</Type><TTL>{ttl}</TTL>\
                     <ResourceRecords>{values}</ResourceRecords></ResourceRecordSet>\
                     </ResourceRecordSets></ListResourceRecordSetsResponse>"
                );
                (200, body)
            }
            ("POST", "hostedzone/PUBLIC1/rrset") => {
                assert_eq!(part(&asked.body, "Name"), [format!("{NAME}.")]);
                let values = part(&asked.body, "Value");
                let values: Vec<String> = values
                    .iter()
                    .map(|value| value.replace("&quot;", "\""))
                    .collect();
                let ttl = if records.raw().is_empty() {
                    "60"
                } else {
                    "120"
                };
                assert_eq!(part(&asked.body, "TTL"), [ttl]);
                match part(&asked.body, "Action")[..] {
                    ["UPSERT"] => records.set(values),
                    // Route 53 deletes a set only as it is.
                    ["DELETE"] => {
                        assert_eq!(values, records.raw());
                        records.set(Vec::new());
                    }
                    ref other => panic!("{other:?}"),
                }
                let body = format!(
                    "{OPEN}<ChangeResourceRecordSetsResponse><ChangeInfo><Id>/change/C1</Id>\
                     <Status>PENDING</Status></ChangeInfo></ChangeResourceRecordSetsResponse>"
                );
                (200, body)
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn route_53_keeps_the_other_values_of_a_record_set() {
    let records = Records::new("\"foreign\"");
    let service = WebService::start(api(&records));
    let by_name = route53(service.url(), None);
    assert_changes_single_values(&by_name, &records);
    assert_names_the_missing_zone(&by_name);

    records.set(vec!["\"foreign\"".to_owned()]);
    assert_changes_single_values(&route53(service.url(), Some("PUBLIC1")), &records);
}

#[test]
fn route_53s_errors_are_reported() {
    assert_refusals("route53", |url| route53(url, None));
    for code in ["Throttling", "InvalidInput"] {
        let body = format!(
            "{OPEN}<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>\
             <Message>Not so</Message></Error><RequestId>r</RequestId></ErrorResponse>"
        );
        let service = WebService::start(move |_| (400, body.clone()));
        let provider = route53(service.url(), None);
        let error = run(provider.present(&record("v"))).expect_err("refused");
        assert!(
            error
                .to_string()
                .ends_with(&format!("400 Bad Request: Not so ({code})")),
            "{error}"
        );
    }
}
