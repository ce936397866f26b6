//! Fields about the certificate of a client, in the form of Traefik.

/// The fields about a certificate that a backend gets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraefikCertificateFields {
    /// The object that it is made from, for people.
    pub from: Box<str>,
    /// True for `X-Forwarded-Tls-Client-Cert` with the certificate.
    pub has_certificate: bool,
    /// The parts of `X-Forwarded-Tls-Client-Cert-Info`; `None` without the field.
    pub info: Option<Box<[CertificatePart]>>,
}

/// A part of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificatePart {
    /// These parts of its subject.
    Subject(Box<[NamePart]>),
    /// These parts of its issuer.
    Issuer(Box<[NamePart]>),
    /// Its number.
    SerialNumber,
    /// The beginning of its validity.
    NotBefore,
    /// The end of its validity.
    NotAfter,
    /// Its names and addresses.
    Names,
}

/// A part of a name in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NamePart {
    /// `DC`
    DomainComponent,
    /// `C`
    Country,
    /// `ST`
    Province,
    /// `L`
    Locality,
    /// `O`
    Organization,
    /// `OU`
    OrganizationalUnit,
    /// `SN`
    SerialNumber,
    /// `CN`
    CommonName,
}

impl NamePart {
    /// Returns its name in the field, and its type in certificates.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::DomainComponent => ("DC", "0.9.2342.19200300.100.1.25"),
            Self::Country => ("C", "2.5.4.6"),
            Self::Province => ("ST", "2.5.4.8"),
            Self::Locality => ("L", "2.5.4.7"),
            Self::Organization => ("O", "2.5.4.10"),
            Self::OrganizationalUnit => ("OU", "2.5.4.11"),
            Self::SerialNumber => ("SN", "2.5.4.5"),
            Self::CommonName => ("CN", "2.5.4.3"),
        }
    }

    /// Returns true if the last one of several counts alone.
    pub fn is_single(self) -> bool {
        matches!(self, Self::SerialNumber | Self::CommonName)
    }
}
