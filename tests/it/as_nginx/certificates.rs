//! Certificates of clients, beside `ssl_verify_client` of nginx.

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};

use super::{HOST, nginx_with, program};
use crate::support::{
    Backend, Certificate, Folder, Gatelet,
    certificates::{ECDSA, RSA},
    client_certificates::{Authority, ClientFiles, arguments, of_client, secret},
    eventually, free_port, run,
};

/// The fields about certificates that nginx sets for the backend.
const FIELDS: &str = "
    proxy_set_header ssl-client-cert $ssl_client_escaped_cert;
    proxy_set_header ssl-client-verify $ssl_client_verify;
    proxy_set_header ssl-client-subject-dn $ssl_client_s_dn;
    proxy_set_header ssl-client-issuer-dn $ssl_client_i_dn;
";

/// The authorities and clients of the tests.
struct Clients {
    /// All that is trusted, as PEM.
    trusted: String,
    /// The certificate that is revoked has the serial number 7.
    lists: String,
    all: Vec<(&'static str, Option<ClientFiles>)>,
}

impl Clients {
    fn new(folder: &Folder) -> Self {
        let root = Authority::root("Shop CA");
        let first = root.intermediate("First");
        let second = first.intermediate("Second");
        let other = Authority::root("Other CA");
        let old = Authority::expired("Old CA");

        let with = |change: fn(&mut CertificateParams)| {
            let mut params = of_client("ann");
            change(&mut params);
            params
        };
        let good = with(|_| {});
        let expired = with(|params| params.not_after = date_time_ymd(2025, 1, 1));
        let early = with(|params| params.not_before = date_time_ymd(2048, 1, 1));
        let revoked = with(|params| params.serial_number = Some(7.into()));
        let any = with(|params| params.extended_key_usages = Vec::new());
        let of_server = with(|params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });

        let own = |file: &str, name| {
            let mut params = of_client(name);
            params.is_ca = match file {
                "own" => IsCa::NoCa,
                _ => IsCa::Ca(BasicConstraints::Unconstrained),
            };
            let key = KeyPair::generate().expect("a key");
            let certificate = params.self_signed(&key).expect("a certificate").pem();
            let files = ClientFiles {
                chain: folder.write(&format!("{file}.crt"), &certificate),
                key: folder.write(&format!("{file}.key"), &key.serialize_pem()),
            };
            (certificate, Some(files))
        };
        let (_, own_files) = own("own", "ann");
        let (_, of_openssl) = own("openssl", "ann");
        let (pinned, pinned_files) = own("pinned", "anna");
        let trusted = root.pem() + &pinned + &old.pem();

        let issue = |by: &Authority, file, params| Some(by.issue(folder, file, params));
        let old_one =
            |by: &Authority, file, kind, serial| Some(by.issue_old(folder, file, kind, serial));
        let all = vec![
            ("none", None),
            ("good", issue(&root, "good", &good)),
            ("of another authority", issue(&other, "other", &good)),
            ("self-signed", own_files),
            ("self-signed by openssl", of_openssl),
            ("its own authority", pinned_files),
            ("expired", issue(&root, "expired", &expired)),
            ("expired, of another", issue(&other, "both", &expired)),
            ("of an expired authority", issue(&old, "old", &good)),
            ("old", old_one(&root, "v1", ECDSA, "2")),
            ("old, with RSA", old_one(&root, "v1-rsa", RSA, "2")),
            ("old, of another", old_one(&other, "v1-other", RSA, "2")),
            ("old, revoked", old_one(&root, "v1-revoked", ECDSA, "7")),
            ("early", issue(&root, "early", &early)),
            ("revoked", issue(&root, "revoked", &revoked)),
            ("for anything", issue(&root, "any", &any)),
            ("for servers", issue(&root, "for-servers", &of_server)),
            ("one step away", issue(&first, "first", &good)),
            ("two steps away", issue(&second, "second", &good)),
        ];
        let lists = [&root, &first, &second, &old].map(|one| one.revoked(&[7], 2040));
        let lists = lists.concat();
        Self {
            trusted,
            lists,
            all,
        }
    }
}

/// Returns the status, the target of a redirect, and the fields about the certificate that the
/// backend gets.
fn outcome(port: u16, client: Option<&ClientFiles>, more: &[&str]) -> String {
    let mut curl = std::process::Command::new("curl");
    let resolve = format!("{HOST}:{port}:127.0.0.1");
    curl.args(["-sSk", "-m", "20", "--resolve", &resolve]);
    curl.args(["-w", "\n%{http_code} %{redirect_url}"]);
    for spoofed in ["ssl-client-verify: SUCCESS", "SSL-Client-Subject-DN: CN=x"] {
        curl.args(["-H", spoofed]);
    }
    curl.args(client.map(arguments).unwrap_or_default());
    let text = run(curl.args(more).arg(format!("https://{HOST}:{port}/")));

    let (body, rest) = text.rsplit_once('\n').expect("a line of our own");
    let fields = body.lines().map(str::trim);
    let is_shown = |line: &&str| line.to_ascii_lowercase().starts_with("ssl-client");
    let mut shown: Vec<&str> = fields.filter(is_shown).collect();
    shown.sort_unstable();
    format!("{rest} {shown:#?}")
}

/// Sends requests of all clients to both, and compares.
fn compare(annotations: &str, server: &str, has_lists: bool) {
    if program().is_none() {
        return;
    }
    let folder = Folder::new();
    let clients = Clients::new(&folder);
    let lists = if has_lists { &clients.lists } else { "" };

    let backend = Backend::start("app");
    let gatelet = Gatelet::start();
    gatelet.apply(&secret("ca", &clients.trusted, lists));
    let prefix = "nginx.ingress.kubernetes.io";
    let annotations = format!("{prefix}/auth-tls-secret: default/ca\n{annotations}");
    let lines = annotations.lines().map(str::trim);
    let lines: Vec<String> = lines.map(|line| format!("    {line}\n")).collect();
    let metadata = format!(
        "metadata:\n  name: app\n  annotations:\n{}    \
         {prefix}/auth-tls-pass-certificate-to-upstream: 'true'\n",
        lines.concat()
    );
    let ingress = crate::support::backend::ingress("app", HOST, "");
    let manifests = backend.manifests("app", HOST);
    let guarded = ingress.replace("metadata: {name: app}\n", &metadata);
    assert_ne!(ingress, guarded);
    gatelet.apply(&manifests.replace(&ingress, &guarded));

    let port = free_port();
    let ca = folder.write("ca.crt", &clients.trusted);
    let crl = folder.write("ca.crl", lists);
    let own = Certificate::make(&folder, "server", &[HOST], ECDSA);
    let crl = match has_lists {
        true => format!("ssl_crl {};", crl.display()),
        false => String::new(),
    };
    let _nginx = nginx_with(&format!(
        "listen 127.0.0.1:{port} ssl; ssl_certificate {}; ssl_certificate_key {};
         ssl_client_certificate {}; {crl} {server}
         location / {{ {FIELDS} proxy_pass http://127.0.0.1:{}; }}",
        own.chain.display(),
        own.key.display(),
        ca.display(),
        backend.port,
    ));

    eventually("the annotations apply", || {
        let last = outcome(gatelet.https, clients.all[1].1.as_ref(), &[]);
        last.contains("\"ssl-client-verify").then_some(())
    });
    for (name, client) in &clients.all {
        for version in ["1.2", "1.3"] {
            let more = ["--tls-max", version, "--http1.1"];
            let ours = outcome(gatelet.https, client.as_ref(), &more);
            let theirs = outcome(port, client.as_ref(), &more);
            assert_eq!(ours, theirs, "{annotations}: {name}, TLS {version}");
        }
    }
}

#[test]
fn certificates_are_verified_as_in_nginx() {
    compare("", "ssl_verify_client on;", false);
    compare("", "ssl_verify_client on;", true);
}

#[test]
fn optional_certificates_are_verified_as_in_nginx() {
    let annotation = "nginx.ingress.kubernetes.io/auth-tls-verify-client:";
    for mode in ["optional", "optional_no_ca"] {
        compare(
            &format!("{annotation} {mode}"),
            &format!("ssl_verify_client {mode};"),
            mode == "optional",
        );
    }
    compare(
        &format!("{annotation} 'off'"),
        "ssl_verify_client off;",
        false,
    );
}

#[test]
fn subjects_and_error_pages_are_those_of_nginx() {
    let prefix = "nginx.ingress.kubernetes.io";
    compare(
        &format!(
            "{prefix}/auth-tls-verify-depth: '2'
             {prefix}/auth-tls-error-page: https://help.example.com/error?x=y
             {prefix}/auth-tls-match-cn: CN=a(nn|x)"
        ),
        "ssl_verify_client on; ssl_verify_depth 2;
         error_page 495 496 = https://help.example.com/error?x=y;
         if ( $ssl_client_s_dn !~ \"CN=a(nn|x)\" ) { return 403; }",
        false,
    );
}
