//! `[[issuers]]` as the file writes them: every key is optional, so that an error can name each
//! mistake. [`strict`] checks the tables and makes issuers of them.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de::Error};

use super::{
    ConfigError,
    dns_table::DnsTable,
    issuer_keys::{Hidden, needed, one_of, wrong},
    issuers::{
        Acme, Directory, Eab, Issuer, IssuerKind, IssuerProblem, is_issuer_name, not_a_name,
    },
    keys,
};
use crate::{acme::issuer::ChallengeType, pki::KeyType};

/// Directories that have a name of their own.
const PRESETS: [&str; 2] = ["letsencrypt", "letsencrypt-staging"];

/// One of `[[issuers]]`, as the file writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IssuerTable {
    name: Option<String>,
    kind: Option<Kind>,
    directory: Option<String>,
    roots: Option<PathBuf>,
    roots_pem: Option<String>,
    contacts: Option<Vec<String>>,
    profile: Option<String>,
    preferred_chain: Option<String>,
    key_type: Option<KeyType>,
    challenges: Option<Vec<ChallengeType>>,
    eab: Option<EabTable>,
    dns: Option<DnsTable>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    #[default]
    Acme,
    LocalCa,
    SelfSigned,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct EabTable {
    kid: Option<String>,
    hmac: Option<Hidden>,
    hmac_file: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for Issuer {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let table = IssuerTable::deserialize(from)?;
        table.strict().map_err(D::Error::custom)
    }
}

impl Issuer {
    /// Reads the keys of one `[[issuers]]` table that stands alone. `name` is the name if the text
    /// has none; the text cannot set another one.
    ///
    /// # Errors
    /// The first mistake. It does not repeat parts of the text that may be secret.
    pub fn parse(name: &str, text: &str) -> Result<Self, IssuerProblem> {
        let mut table: IssuerTable = toml::from_str(text).map_err(|error| {
            let line = keys::line_at(text, error.span().map_or(0, |span| span.start));
            wrong("", format!("line {line}: {}", error.message()))
        })?;

        let own = table.name.get_or_insert_with(|| name.to_owned());
        if own != name {
            return Err(wrong(
                "name",
                format!("{own:?} is not the object's name, {name:?}; it can be left out"),
            ));
        }
        table.strict()
    }
}

/// Checks the tables of a file and makes issuers of them.
pub(super) fn strict(tables: Vec<IssuerTable>) -> Result<Vec<Issuer>, ConfigError> {
    let mut issuers: Vec<Issuer> = Vec::new();
    for (index, table) in tables.into_iter().enumerate() {
        let at = |problem: IssuerProblem| ConfigError::Value {
            field: format!("issuers[{index}].{}", problem.field),
            message: problem.message,
        };

        let issuer = table.strict().map_err(at)?;
        if issuers.iter().any(|other| other.name == issuer.name) {
            let message = format!("another issuer is named {:?} already", issuer.name);
            return Err(at(wrong("name", message)));
        }
        issuers.push(issuer);
    }
    Ok(issuers)
}

impl IssuerTable {
    fn strict(self) -> Result<Issuer, IssuerProblem> {
        let Some(name) = self.name.clone() else {
            return Err(needed("name", "the issuer"));
        };
        if !is_issuer_name(&name) {
            return Err(wrong("name", not_a_name(&name)));
        }

        let kind = self.kind.unwrap_or_default();
        for (reserved, only) in [
            ("local-ca", Kind::LocalCa),
            ("self-signed", Kind::SelfSigned),
        ] {
            if name == reserved && kind != only {
                return Err(wrong(
                    "name",
                    format!("an issuer that is named {reserved:?} is of this kind"),
                ));
            }
        }

        let kind = match kind {
            Kind::Acme => IssuerKind::Acme(Box::new(self.acme(&name)?)),
            Kind::LocalCa => self.without_keys().map(|()| IssuerKind::LocalCa)?,
            Kind::SelfSigned => self.without_keys().map(|()| IssuerKind::SelfSigned)?,
        };
        Ok(Issuer { name, kind })
    }

    /// Refuses the keys of ACME: the issuers on this device have no settings.
    fn without_keys(&self) -> Result<(), IssuerProblem> {
        let set = [
            ("directory", self.directory.is_some()),
            ("roots", self.roots.is_some()),
            ("roots_pem", self.roots_pem.is_some()),
            ("contacts", self.contacts.is_some()),
            ("profile", self.profile.is_some()),
            ("preferred_chain", self.preferred_chain.is_some()),
            ("key_type", self.key_type.is_some()),
            ("challenges", self.challenges.is_some()),
            ("eab", self.eab.is_some()),
            ("dns", self.dns.is_some()),
        ];
        match set.into_iter().find(|(_, set)| *set) {
            Some((field, _)) => Err(wrong(field, "it is for issuers of the kind \"acme\" only")),
            None => Ok(()),
        }
    }

    fn acme(self, name: &str) -> Result<Acme, IssuerProblem> {
        let directory = directory(self.directory, name)?;

        let contacts = self.contacts.unwrap_or_default();
        if let Some(contact) = contacts.iter().find(|contact| !is_mailto(contact)) {
            return Err(wrong(
                "contacts",
                format!("{contact:?} is not of the form mailto:ops@example.net"),
            ));
        }

        let challenges = self.challenges.unwrap_or_default();
        if (1..challenges.len()).any(|at| challenges[..at].contains(&challenges[at])) {
            return Err(wrong("challenges", "one is named twice"));
        }

        let dns = self.dns.map(DnsTable::strict).transpose()?;
        let with_dns = challenges.contains(&ChallengeType::Dns01);
        if with_dns && dns.is_none() {
            return Err(wrong(
                "challenges",
                "\"dns-01\" needs `dns`, which says how records are published",
            ));
        }
        if dns.is_some() && !challenges.is_empty() && !with_dns {
            return Err(wrong(
                "dns",
                "it is not used unless `challenges` has \"dns-01\"",
            ));
        }

        for (field, value) in [
            ("profile", &self.profile),
            ("preferred_chain", &self.preferred_chain),
        ] {
            if value.as_ref().is_some_and(|value| value.trim().is_empty()) {
                return Err(wrong(field, "it is empty"));
            }
        }

        Ok(Acme {
            directory,
            roots: self.roots,
            roots_pem: self.roots_pem,
            contacts,
            eab: self.eab.map(EabTable::strict).transpose()?,
            profile: self.profile,
            preferred_chain: self.preferred_chain,
            key_type: self.key_type.unwrap_or_default(),
            challenges,
            dns,
        })
    }
}

impl EabTable {
    fn strict(self) -> Result<Eab, IssuerProblem> {
        let kid = self
            .kid
            .filter(|kid| !kid.is_empty())
            .ok_or_else(|| needed("eab.kid", "`eab`"))?;
        Ok(Eab {
            kid,
            hmac: one_of("eab.hmac", "eab.hmac_file", self.hmac, self.hmac_file)?,
        })
    }
}

/// Returns the directory that the key names, or that of the built-in CA with the issuer's name.
fn directory(directory: Option<String>, name: &str) -> Result<Directory, IssuerProblem> {
    let text = directory.as_deref().unwrap_or(name);
    if let Some(preset) = PRESETS.into_iter().find(|preset| *preset == text) {
        return Ok(Directory::Preset(preset));
    }
    let allowed = format!("an https URL, {:?} or {:?}", PRESETS[0], PRESETS[1]);
    let Some(text) = directory else {
        return Err(wrong("directory", format!("it is needed: {allowed}")));
    };

    let url: Option<http::Uri> = text.parse().ok();
    let https = |url: &http::Uri| {
        url.scheme_str() == Some("https")
            && url.authority().is_some_and(|at| !at.as_str().contains('@'))
    };
    match url.is_some_and(|url| https(&url)) {
        true => Ok(Directory::Url(text)),
        false => Err(wrong("directory", format!("{text:?} is not {allowed}"))),
    }
}

/// Returns true for a `mailto:` URL with one address and no header fields (RFC 8555 section 7.3).
fn is_mailto(contact: &str) -> bool {
    let address = contact
        .strip_prefix("mailto:")
        .and_then(|address| address.split_once('@'));
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b",?@".contains(&b))
    };
    address.is_some_and(|(user, host)| plain(user) && plain(host))
}
