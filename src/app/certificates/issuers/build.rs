//! Builds issuers from their configuration, and reads the files that it names.

use std::{path::Path, sync::OnceLock};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::{
    acme::{
        ca::jws::ExternalAccount,
        dns::{
            AcmeDnsSettings, CloudflareSettings, CommandSettings, Lookup, OvhSettings,
            PorkbunSettings, Propagation, Provider, ProviderContext, ProviderSettings,
            Rfc2136Settings, Route53Settings, Secret, TokenSettings, TsigKey, WebhookSettings,
        },
        issuer::{AcmeIssuer, Issuer, IssuerKind},
    },
    config::{self, IssuerProblem},
    http_client::{Clock, Http, HttpSettings, Proxy},
    objects::RawObject,
};

/// Namespace of the ConfigMaps whose issuers all namespaces can use.
pub(super) const CLUSTER: &str = "kube-system";
/// Key of a ConfigMap's data that holds the issuer.
pub(super) const DATA: &str = "issuer";

const CONFIGMAP_FILE: &str =
    "a ConfigMap cannot name files of the device: put this issuer into the configuration file";
const CONFIGMAP_SECRET: &str = "a ConfigMap is no place for secrets, and Secrets are not read for \
    this: put this issuer into the configuration file";
const CONFIGMAP_PROGRAM: &str =
    "a ConfigMap cannot start programs of the device: put this issuer into the configuration file";

/// Builds issuers.
pub(super) struct IssuerBuilder {
    clock: Clock,
    /// The client for web services, made on first use: it holds all roots.
    http: OnceLock<Http>,
}

impl IssuerBuilder {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            http: OnceLock::new(),
        }
    }

    /// Builds the issuer that a ConfigMap describes; `text` is its TOML.
    pub(super) fn build_described(
        &self,
        object: &RawObject,
        text: &str,
    ) -> Result<Issuer, IssuerProblem> {
        let name = &*object.key.name;
        if !config::is_issuer_name(name) {
            return Err(problem(
                "metadata.name",
                "the name of an issuer is a label of 1 to 63 lower-case letters, digits and -",
            ));
        }
        if text.is_empty() {
            return Err(below_data(problem(
                "",
                "it is missing: the keys of one [[issuers]] table, as TOML",
            )));
        }

        let issuer = config::Issuer::parse(name, text).map_err(below_data)?;
        check_config_map(&issuer).map_err(below_data)?;

        let name = match &*object.key.namespace {
            CLUSTER => name.to_owned(),
            namespace => format!("{namespace}/{name}"),
        };

        self.build(&issuer, &name).map_err(below_data)
    }

    /// Builds an issuer under a name. Reads the files that it names, but connects to no CA.
    pub(super) fn build(
        &self,
        issuer: &config::Issuer,
        name: &str,
    ) -> Result<Issuer, IssuerProblem> {
        let kind = match &issuer.kind {
            config::IssuerKind::Acme(acme) => IssuerKind::Acme(Box::new(self.acme(acme)?)),
            config::IssuerKind::LocalCa => IssuerKind::LocalCa,
            config::IssuerKind::SelfSigned => IssuerKind::SelfSigned,
        };
        Ok(Issuer {
            name: name.into(),
            kind,
        })
    }

    fn acme(&self, acme: &config::Acme) -> Result<AcmeIssuer, IssuerProblem> {
        let mut roots = Vec::new();
        if let Some(path) = &acme.roots {
            let pem = std::fs::read(path).map_err(|error| in_file("roots", path, error))?;
            roots.extend(parse_roots(&pem).map_err(|error| in_file("roots", path, error))?);
        }
        if let Some(pem) = &acme.roots_pem {
            let parsed = parse_roots(pem.as_bytes());
            roots.extend(parsed.map_err(|error| problem("roots_pem", error))?);
        }

        let dns = acme.dns.as_ref();
        Ok(AcmeIssuer {
            roots,
            contacts: acme.contacts.clone(),
            eab: acme.eab.as_ref().map(external_account).transpose()?,
            profile: acme.profile.clone(),
            preferred_chain: acme.preferred_chain.clone(),
            key_type: acme.key_type,
            challenges: acme.challenges.clone(),
            dns: dns.map(|dns| self.provider(dns)).transpose()?,
            ..AcmeIssuer::at(&directory(acme))
        })
    }

    fn provider(&self, dns: &config::Dns) -> Result<Provider, IssuerProblem> {
        let settings = match &dns.provider {
            config::DnsProvider::Rfc2136 { server, zone, key } => {
                ProviderSettings::Rfc2136(Rfc2136Settings {
                    server: *server,
                    zone: zone.clone(),
                    key: key.as_ref().map(tsig_key).transpose()?,
                })
            }
            config::DnsProvider::Cloudflare {
                token_file,
                zone_id,
                base,
            } => ProviderSettings::Cloudflare(CloudflareSettings {
                token: read_secret("dns.token_file", token_file)?,
                zone_id: zone_id.clone(),
                base: base.clone(),
            }),
            config::DnsProvider::Token {
                api,
                token_file,
                base,
            } => ProviderSettings::Token(TokenSettings {
                api: *api,
                token: read_secret("dns.token_file", token_file)?,
                base: base.clone(),
            }),
            config::DnsProvider::Ovh {
                application_key,
                secret_key_file,
                consumer_key_file,
                base,
            } => ProviderSettings::Ovh(OvhSettings {
                application_key: application_key.clone(),
                application_secret: read_secret("dns.secret_key_file", secret_key_file)?,
                consumer_key: read_secret("dns.consumer_key_file", consumer_key_file)?,
                base: base.clone(),
            }),
            config::DnsProvider::Porkbun {
                api_key_file,
                secret_key_file,
                base,
            } => ProviderSettings::Porkbun(PorkbunSettings {
                api_key: read_secret("dns.api_key_file", api_key_file)?,
                secret_key: read_secret("dns.secret_key_file", secret_key_file)?,
                base: base.clone(),
            }),
            config::DnsProvider::Route53 {
                access_key_id,
                secret_key_file,
                zone_id,
                base,
            } => ProviderSettings::Route53(Route53Settings {
                access_key_id: access_key_id.clone(),
                secret_key: read_secret("dns.secret_key_file", secret_key_file)?,
                zone_id: zone_id.clone(),
                base: base.clone(),
            }),
            config::DnsProvider::AcmeDns { url, accounts_file } => {
                ProviderSettings::AcmeDns(AcmeDnsSettings {
                    url: url.clone(),
                    accounts: read_secret("dns.accounts_file", accounts_file)?,
                })
            }
            config::DnsProvider::Webhook { url, login } => {
                let login = login.as_ref().map(|(user, path)| {
                    Ok((user.clone(), read_secret("dns.password_file", path)?))
                });
                ProviderSettings::Webhook(WebhookSettings {
                    url: url.clone(),
                    login: login.transpose()?,
                })
            }
            config::DnsProvider::Command { program, arguments } => {
                ProviderSettings::Command(CommandSettings {
                    program: program.clone(),
                    arguments: arguments.clone(),
                })
            }
        };

        let propagation = match dns.propagation {
            config::Propagation::Authoritative => Propagation::default(),
            config::Propagation::Resolvers => Propagation::Resolvers,
        };

        let context = ProviderContext {
            lookup: Lookup {
                resolvers: dns.resolvers.clone(),
                propagation,
            },
            follow_cname: dns.follow_cname,
            http: self.http()?,
            time: self.clock.clone(),
        };

        Provider::new(settings, context).map_err(|error| problem("dns", error))
    }

    fn http(&self) -> Result<Http, IssuerProblem> {
        if let Some(http) = self.http.get() {
            return Ok(http.clone());
        }
        let proxy = Proxy::from_environment().map_err(|error| problem("dns", error))?;
        let settings = HttpSettings {
            proxy,
            ..HttpSettings::new(self.clock.clone())
        };
        let http = Http::new(settings).map_err(|error| problem("dns", error))?;
        Ok(self.http.get_or_init(|| http).clone())
    }
}

/// Returns an issuer that cannot be used because of a problem. It has the settings whose change
/// would force the reissue of its certificates.
pub(super) fn unusable(issuer: &config::Issuer, name: &str, problem: &IssuerProblem) -> Issuer {
    let acme = match &issuer.kind {
        config::IssuerKind::Acme(acme) => AcmeIssuer {
            directory: directory(acme),
            profile: acme.profile.clone(),
            key_type: acme.key_type,
            problem: Some(problem.to_string().into()),
            ..AcmeIssuer::default()
        },
        config::IssuerKind::LocalCa | config::IssuerKind::SelfSigned => AcmeIssuer {
            problem: Some(problem.to_string().into()),
            ..AcmeIssuer::default()
        },
    };
    Issuer {
        name: name.into(),
        kind: IssuerKind::Acme(Box::new(acme)),
    }
}

fn directory(acme: &config::Acme) -> String {
    match &acme.directory {
        config::Directory::Url(url) => url.clone(),
        config::Directory::Preset(name) => Issuer::preset(name)
            .and_then(|preset| preset.acme().map(|acme| acme.directory.clone()))
            .expect("the presets of the configuration are built in"),
    }
}

/// Checks that an issuer is safe to take from a ConfigMap: the right to write ConfigMaps must not
/// be a right to read files of the device, start programs on it or call its unencrypted services.
/// Nor does a ConfigMap keep secrets.
fn check_config_map(issuer: &config::Issuer) -> Result<(), IssuerProblem> {
    let config::IssuerKind::Acme(acme) = &issuer.kind else {
        return Ok(());
    };
    if acme.roots.is_some() {
        let message = "a ConfigMap cannot name files of the device: put the PEM into roots_pem";
        return Err(problem("roots", message));
    }

    match acme.eab.as_ref().map(|eab| &eab.hmac) {
        Some(config::Secret::Inline(_)) => return Err(problem("eab.hmac", CONFIGMAP_SECRET)),
        Some(config::Secret::File(_)) => return Err(problem("eab.hmac_file", CONFIGMAP_FILE)),
        None => {}
    }

    let Some(dns) = &acme.dns else { return Ok(()) };
    let (field, message) = match &dns.provider {
        config::DnsProvider::Rfc2136 { key: Some(key), .. } => match &key.secret {
            config::Secret::Inline(_) => ("dns.key.secret", CONFIGMAP_SECRET),
            config::Secret::File(_) => ("dns.key.secret_file", CONFIGMAP_FILE),
        },
        config::DnsProvider::Cloudflare { .. } | config::DnsProvider::Token { .. } => {
            ("dns.token_file", CONFIGMAP_FILE)
        }
        config::DnsProvider::Ovh { .. } | config::DnsProvider::Route53 { .. } => {
            ("dns.secret_key_file", CONFIGMAP_FILE)
        }
        config::DnsProvider::Porkbun { .. } => ("dns.api_key_file", CONFIGMAP_FILE),
        config::DnsProvider::AcmeDns { .. } => ("dns.accounts_file", CONFIGMAP_FILE),
        config::DnsProvider::Webhook { login: Some(_), .. } => {
            ("dns.password_file", CONFIGMAP_FILE)
        }
        config::DnsProvider::Webhook { url, login: None } if !url.starts_with("https://") => {
            ("dns.url", "in a ConfigMap it must be an https URL")
        }
        config::DnsProvider::Command { .. } => ("dns.program", CONFIGMAP_PROGRAM),
        config::DnsProvider::Rfc2136 { key: None, .. } | config::DnsProvider::Webhook { .. } => {
            return Ok(());
        }
    };

    Err(problem(field, message))
}

fn external_account(eab: &config::Eab) -> Result<ExternalAccount, IssuerProblem> {
    match &eab.hmac {
        config::Secret::Inline(key) => {
            ExternalAccount::new(&eab.kid, key).map_err(|error| problem("eab.hmac", error))
        }
        config::Secret::File(path) => {
            let failed = |error: &dyn std::fmt::Display| in_file("eab.hmac_file", path, error);
            let key = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
            ExternalAccount::new(&eab.kid, &key).map_err(|error| failed(&error))
        }
    }
}

fn tsig_key(key: &config::TsigKey) -> Result<TsigKey, IssuerProblem> {
    let secret = match &key.secret {
        config::Secret::Inline(secret) => Secret::new(secret),
        config::Secret::File(path) => read_secret("dns.key.secret_file", path)?,
    };
    Ok(TsigKey {
        name: key.name.clone(),
        algorithm: key.algorithm.name().to_owned(),
        secret,
    })
}

/// The reason why a text has no usable root certificates.
#[derive(Debug, thiserror::Error)]
enum RootsError {
    #[error("it is not PEM: {0}")]
    Pem(rustls::pki_types::pem::Error),
    #[error("there is no certificate in PEM in it")]
    Empty,
    #[error("certificate {number} cannot be used: {source}")]
    Unusable {
        /// Counted from 1.
        number: usize,
        source: rustls::Error,
    },
}

/// Parses all certificates of a PEM text, at least one.
fn parse_roots(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, RootsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.map_err(RootsError::Pem)?;
    if all.is_empty() {
        return Err(RootsError::Empty);
    }

    let mut store = RootCertStore::empty();
    for (number, root) in (1..).zip(&all) {
        store
            .add(root.clone())
            .map_err(|source| RootsError::Unusable { number, source })?;
    }
    Ok(all)
}

fn read_secret(field: &str, path: &Path) -> Result<Secret, IssuerProblem> {
    Secret::read(path).map_err(|error| in_file(field, path, error))
}

/// Puts the field of a problem below the key of the ConfigMap's data.
fn below_data(problem: IssuerProblem) -> IssuerProblem {
    let field = match &*problem.field {
        "" => format!("data.{DATA}"),
        field => format!("data.{DATA}.{field}"),
    };
    IssuerProblem { field, ..problem }
}

fn in_file(field: &str, path: &Path, error: impl std::fmt::Display) -> IssuerProblem {
    problem(field, format!("{}: {error}", path.display()))
}

fn problem(field: &str, message: impl std::fmt::Display) -> IssuerProblem {
    IssuerProblem {
        field: field.to_owned(),
        message: message.to_string(),
    }
}
