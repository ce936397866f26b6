//! Certificates of clients, and the authorities that issue them.

use std::{path::PathBuf, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer,
    DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType, date_time_ymd,
};

use super::{Folder, run};

/// An authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// The certificates up to the root, without it.
    chain: String,
}

/// A certificate of a client, in files.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// The certificate and those of its issuers.
    pub chain: PathBuf,
    pub key: PathBuf,
}

fn named(parts: &[(DnType, &str)]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in parts {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2049, 1, 1);
    params
}

fn of_authority(name: &str) -> CertificateParams {
    let mut params = named(&[
        (DnType::OrganizationName, "Shop"),
        (DnType::CommonName, name),
    ]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Returns the settings of a certificate for a client.
pub fn of_client(name: &str) -> CertificateParams {
    let mut params = named(&[
        (DnType::CountryName, "DE"),
        (DnType::OrganizationName, "Shop, Inc"),
        (DnType::CommonName, name),
    ]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.serial_number = Some(1000.into());
    params
}

/// Returns the settings of a certificate for a server.
pub fn of_server(name: &str) -> CertificateParams {
    let mut params = named(&[(DnType::CommonName, "a server")]);
    let name = name.try_into().expect("a name");
    params.subject_alt_names = vec![SanType::DnsName(name)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

impl Authority {
    pub fn root(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(of_authority(name), key);
        Self {
            issuer: issuer.expect("a root"),
            chain: String::new(),
        }
    }

    /// Makes a root that has expired.
    pub fn expired(name: &str) -> Self {
        let mut params = of_authority(name);
        params.not_after = date_time_ymd(2025, 1, 1);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        Self {
            issuer: issuer.expect("a root"),
            chain: String::new(),
        }
    }

    /// Makes an authority that this one has certified.
    pub fn intermediate(&self, name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::signed_by(of_authority(name), key, &self.issuer);
        let issuer = issuer.expect("an intermediate");
        let chain = format!("{}{}", issuer.pem(), self.chain);
        Self { issuer, chain }
    }

    /// Returns its certificate as PEM.
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Issues a certificate, in files called `file`.
    pub fn issue(&self, folder: &Folder, file: &str, params: &CertificateParams) -> ClientFiles {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        ClientFiles {
            chain: folder.write(
                &format!("{file}.crt"),
                &format!("{}{}", certificate.pem(), self.chain),
            ),
            key: folder.write(&format!("{file}.key"), &key.serialize_pem()),
        }
    }

    /// Issues a certificate without extensions (X.509 v1), as the recipe of ingress-nginx does,
    /// with a key in the notation of `openssl req -newkey`.
    pub fn issue_old(
        &self,
        folder: &Folder,
        file: &str,
        kind: &[&str],
        serial: &str,
    ) -> ClientFiles {
        let path = |end: &str| folder.path().join(format!("{file}.{end}"));
        let (ca, ca_key) = (path("ca"), path("ca.key"));
        std::fs::write(&ca, self.pem()).expect("a file");
        let own_key = self.issuer.key().serialize_pem();
        std::fs::write(&ca_key, own_key).expect("a file");

        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-new", "-nodes", "-newkey"])
            .args(kind);
        openssl
            .args(["-subj", "/CN=My Client", "-keyout"])
            .arg(path("key"));
        run(openssl.arg("-out").arg(path("csr")));
        let mut openssl = Command::new("openssl");
        openssl.args([
            "x509",
            "-req",
            "-sha256",
            "-days",
            "365",
            "-set_serial",
            serial,
        ]);
        openssl.arg("-in").arg(path("csr")).arg("-CA").arg(ca);
        openssl
            .arg("-CAkey")
            .arg(ca_key)
            .arg("-out")
            .arg(path("crt"));
        run(&mut openssl);
        ClientFiles {
            chain: path("crt"),
            key: path("key"),
        }
    }

    /// Returns the list of its revoked certificates (PEM) until a year.
    pub fn revoked(&self, serials: &[u64], until: i32) -> String {
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: (*serial).into(),
            revocation_time: date_time_ymd(2024, 6, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 6, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a list");
        list.pem().expect("PEM")
    }
}

/// Returns the arguments of curl for a certificate.
pub fn arguments(client: &ClientFiles) -> Vec<String> {
    let [chain, key] = [&client.chain, &client.key].map(|path| path.display().to_string());
    vec!["--cert".to_owned(), chain, "--key".to_owned(), key]
}

/// Returns a Secret with authorities, and with lists of revoked certificates if there are any. With
/// `stringData` a key that is left out would stay.
pub fn secret(name: &str, ca: &str, crl: &str) -> String {
    let value = |key: &str, text: &str| match text {
        "" => String::new(),
        text => format!("  {key}: {}\n", STANDARD.encode(text)),
    };
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\ndata:\n{}{}---\n",
        value("ca.crt", ca),
        value("ca.crl", crl)
    )
}
