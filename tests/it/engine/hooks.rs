//! DNS-01 by a hook that keeps only the newest value of a record, with a real DNS server.

use std::{fs, os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use gatelet::{
    acme::{
        dns::{CommandSettings, Lookup, Propagation, Provider, ProviderContext, ProviderSettings},
        issuer::ChallengeType,
    },
    http_client::{Http, HttpSettings},
};
use rustls::pki_types::UnixTime;

use super::harness::{End, Harness, spec};
use crate::support::{
    DnsServer, Folder,
    chaos::Endpoint,
    dns_server::{KEY, SECRET},
};

/// Returns a provider whose program replaces the values of a name.
fn replacing(folder: &Folder, zone: &DnsServer) -> Provider {
    let (ip, port) = (zone.address().ip(), zone.port);
    let text = format!(
        "#!/bin/sh\n\
         [ \"$1\" = present ] && add=\"update add $2 60 TXT $3\"\n\
         printf 'server {ip} {port}\\nzone example.test.\\nupdate delete %s TXT\\n%s\\nsend\\n' \
         \"$2\" \"$add\" | knsupdate -y hmac-sha256:{KEY}:{SECRET}\n"
    );
    let program = folder.write("hook", &text);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();

    let time = Arc::new(UnixTime::now);
    let context = ProviderContext {
        lookup: Lookup {
            resolvers: vec![zone.address()],
            propagation: Propagation::Authoritative { port: zone.port },
        },
        follow_cname: true,
        http: Http::new(HttpSettings::new(time.clone())).unwrap(),
        time,
    };
    let arguments = Vec::new();
    let settings = ProviderSettings::Command(CommandSettings { program, arguments });
    Provider::new(settings, context).unwrap()
}

#[test]
fn a_hook_that_replaces_values_is_named_and_survived() {
    let folder = Folder::new();
    let zone = Arc::new(DnsServer::start(&[("example.test", "a A 192.0.2.1")]));
    let harness = Harness::with_dns(&zone, &["dns-01"]);
    let dns = replacing(&folder, &zone);
    let issuer = harness.issuer(|acme| {
        acme.challenges = vec![ChallengeType::Dns01];
        acme.dns = Some(dns);
    });
    let both = spec(&["a.example.test", "*.a.example.test"], &[issuer]);
    harness.engine.set_specs([both].into());

    let problem = harness.until("the hook is recognised", || {
        let problem = harness.reports().first()?.problem.clone()?;
        Some(format!("{problem:?}"))
    });
    let program = folder.path().join("hook");
    let expected = format!(
        "command {} replaces the values of _acme-challenge.a.example.test instead of adding",
        program.display()
    );
    assert!(problem.contains(&expected), "{problem}");
    assert!(
        problem.contains("add a TXT value beside the others"),
        "{problem}"
    );
    // The CA was not asked to look for a value that is gone.
    assert_eq!(harness.calls(Endpoint::Challenge), 0);

    assert_eq!(harness.settle(Duration::from_secs(3600)), End::Live);
    assert_eq!(
        (harness.issued(), harness.calls(Endpoint::Challenge)),
        (1, 2)
    );
    harness.assert_good();
    assert!(zone.ask("_acme-challenge.a.example.test", "TXT").is_empty());
}
