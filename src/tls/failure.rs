//! Why a TLS handshake with a backend failed, in the words of its operator.

use std::io;

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

/// The reason; it follows a colon.
pub fn handshake_failure(error: &io::Error) -> String {
    let Some(tls) = of(error) else {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => "it ended the connection".to_owned(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                "it reset the connection".to_owned()
            }
            _ => error.to_string(),
        };
    };

    match tls {
        Error::InvalidMessage(_) => "it does not speak TLS on this port".to_owned(),
        Error::AlertReceived(received) => alert(*received),
        Error::InvalidCertificate(why) => certificate(why),
        Error::PeerIncompatible(why) => incompatible(why).to_owned(),
        Error::NoApplicationProtocol => {
            "it does not offer the version of HTTP that is asked for".to_owned()
        }
        Error::NoCertificatesPresented => "it showed no certificate".to_owned(),
        _ => "it broke the rules of TLS".to_owned(),
    }
}

/// Why a connection ended that seemed to be set up: in TLS 1.3 a server sees what the client lacks
/// only then. `None` if it is not by an alert.
pub fn refused_later(error: &io::Error) -> Option<String> {
    match of(error)? {
        Error::AlertReceived(received) => Some(alert(*received)),
        _ => None,
    }
}

fn of(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// An alert by its name in RFC 8446 section 6, and what it usually means where that is known.
fn alert(received: AlertDescription) -> String {
    let code = u8::from(received);
    let (name, hint) = match code {
        10 => ("unexpected_message", ""),
        20 => ("bad_record_mac", ""),
        22 => ("record_overflow", ""),
        40 => (
            "handshake_failure",
            ": no version, cipher suite or key in common, or it wants a client certificate",
        ),
        42 => ("bad_certificate", ": it wants a client certificate"),
        43 => ("unsupported_certificate", ""),
        44 => ("certificate_revoked", ""),
        45 => ("certificate_expired", ""),
        46 => ("certificate_unknown", ""),
        47 => ("illegal_parameter", ""),
        48 => ("unknown_ca", ""),
        49 => ("access_denied", ""),
        50 => ("decode_error", ""),
        51 => ("decrypt_error", ""),
        70 => (
            "protocol_version",
            ": it speaks other versions of TLS than 1.2 and 1.3",
        ),
        71 => ("insufficient_security", ""),
        80 => ("internal_error", ""),
        86 => ("inappropriate_fallback", ""),
        109 => ("missing_extension", ""),
        110 => ("unsupported_extension", ""),
        112 => ("unrecognized_name", ": it does not know the server name"),
        116 => ("certificate_required", ": it wants a client certificate"),
        120 => (
            "no_application_protocol",
            ": it does not offer the version of HTTP that is asked for",
        ),
        _ => return format!("it sent alert {code}"),
    };

    format!("it sent the alert {name}{hint}")
}

fn certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "its certificate is of no trusted issuer".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for other names".to_owned()
        }
        CertificateError::Revoked => "its certificate is revoked".to_owned(),
        CertificateError::BadEncoding => "its certificate cannot be read".to_owned(),
        CertificateError::UnhandledCriticalExtension => {
            "its certificate has an unknown critical extension".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for servers".to_owned()
        }
        CertificateError::BadSignature => "a signature is wrong".to_owned(),
        // What webpki alone has a name for.
        CertificateError::Other(other) if other.to_string() == "UnsupportedCertVersion" => {
            "its certificate is not of version 3".to_owned()
        }
        _ => "its certificate cannot be used".to_owned(),
    }
}

fn incompatible(why: &PeerIncompatible) -> &'static str {
    match why {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig => {
            "it speaks other versions of TLS than 1.2 and 1.3"
        }
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher suite in common",
        PeerIncompatible::NoKxGroupsInCommon => "no group for the key exchange in common",
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "no signature scheme in common"
        }
        _ => "it lacks a part of TLS that is needed",
    }
}

#[cfg(test)]
mod tests {
    use rustls::InvalidMessage;

    use super::*;

    #[test]
    fn every_reason_is_in_words() {
        let tls = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        for (error, expected) in [
            (
                tls(Error::InvalidMessage(InvalidMessage::InvalidContentType)),
                "it does not speak TLS on this port",
            ),
            (
                tls(Error::AlertReceived(AlertDescription::ProtocolVersion)),
                "it sent the alert protocol_version: \
                 it speaks other versions of TLS than 1.2 and 1.3",
            ),
            (
                tls(Error::AlertReceived(AlertDescription::Unknown(200))),
                "it sent alert 200",
            ),
            (
                tls(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
                "its certificate is of no trusted issuer",
            ),
            (
                io::ErrorKind::UnexpectedEof.into(),
                "it ended the connection",
            ),
            (io::Error::from_raw_os_error(104), "it reset the connection"),
        ] {
            assert_eq!(handshake_failure(&error), expected);
        }
        for code in 0..=255 {
            assert!(
                alert(AlertDescription::from(code)).starts_with("it sent "),
                "{code}"
            );
        }
        assert_eq!(refused_later(&io::ErrorKind::UnexpectedEof.into()), None);
    }
}
