//! The name that a certificate is made out to.

use std::path::Path;

use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{TlsError, certificates};

/// The common name; where there is none, the first URI, host name or e-mail address of `subjectAltName` (RFC 5280,
/// section 4.2.1.6). A name that could be read in two ways (several common names, control characters, among them the
/// NUL that would cut it short in C) is no name.
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut common_names = certificate.subject().iter_common_name();
    let name = match (common_names.next(), common_names.next()) {
        (Some(name), None) => name.as_str().ok()?.to_owned(),
        (None, _) => alternative(&certificate)?,
        (Some(_), Some(_)) => return None,
    };
    Some(name).filter(|name| !name.is_empty() && !name.chars().any(char::is_control))
}

/// The common name in the first certificate of a file, which PostgreSQL goes by (`cert` in `pg_hba.conf`).
pub(crate) fn common_name_in(path: &Path) -> Result<Option<String>, TlsError> {
    let chain = certificates("the gateway's TLS certificate", path)?;
    let has_common_name = |certificate: &CertificateDer<'_>| {
        let parsed = X509Certificate::from_der(certificate);
        parsed.is_ok_and(|(_, certificate)| certificate.subject().iter_common_name().next().is_some())
    };
    Ok(chain.first().filter(|certificate| has_common_name(certificate)).and_then(|certificate| subject(certificate)))
}

fn alternative(certificate: &X509Certificate<'_>) -> Option<String> {
    let names = &certificate.subject_alternative_name().ok()??.value.general_names;
    names.iter().find_map(|name| match name {
        GeneralName::URI(name) | GeneralName::DNSName(name) | GeneralName::RFC822Name(name) => Some((*name).to_owned()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common_names: &[&str], alternatives: &[SanType]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = alternatives.to_vec();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn the_common_name_goes_first() {
        let host = SanType::DnsName("host.example".try_into().unwrap());
        assert_eq!(subject(&certificate(&["alice"], &[host])).as_deref(), Some("alice"));
    }

    #[test]
    fn without_a_common_name_an_alternative_name_counts() {
        let workload = SanType::URI("spiffe://example.org/billing".try_into().unwrap());
        let address = SanType::IpAddress("127.0.0.1".parse().unwrap());
        assert_eq!(subject(&certificate(&[], &[address, workload])).as_deref(), Some("spiffe://example.org/billing"));
        assert_eq!(subject(&certificate(&[], &[])), None);
    }

    #[test]
    fn a_name_that_could_be_cut_short_is_no_name() {
        assert_eq!(subject(&certificate(&["alice\0.example"], &[])), None);
        assert_eq!(subject(&certificate(&[""], &[])), None);
        assert_eq!(subject(&CertificateDer::from(vec![1, 2, 3])), None);
    }
}
