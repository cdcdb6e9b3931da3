//! Channel binding `tls-server-end-point` (RFC 5929, section 4.1): a hash of the server's certificate, by the hash
//! function of that certificate's own signature. Only the name of that function is read from the DER.

use aws_lc_rs::digest::{self, SHA224, SHA256, SHA384, SHA512};

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const CONTEXT_0: u8 = 0xa0;

/// 1.2.840.113549.1.1: RSA signatures.
const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
/// 1.2.840.10045.4: ECDSA signatures.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
/// 2.16.840.1.101.3.4.2: the SHA-2 family.
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

/// The binding data for a certificate in DER. `None` when the RFC does not say which hash to take (Ed25519), or the
/// certificate cannot be read.
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (outer, _) = element(certificate, SEQUENCE)?;
    let (_to_be_signed, rest) = element(outer, SEQUENCE)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    let (name, parameters) = element(algorithm, OBJECT_IDENTIFIER)?;
    let hash = signature_hash(name, parameters)?;
    Some(digest::digest(hash, certificate).as_ref().to_vec())
}

/// MD5 and SHA-1 are replaced by SHA-256, as the RFC has it.
fn signature_hash(name: &[u8], parameters: &[u8]) -> Option<&'static digest::Algorithm> {
    if let Some(kind) = name.strip_prefix(PKCS1) {
        return match kind {
            [4 | 5 | 11] => Some(&SHA256),
            [10] => Some(pss_hash(parameters)),
            [12] => Some(&SHA384),
            [13] => Some(&SHA512),
            [14] => Some(&SHA224),
            _ => None,
        };
    }
    match name.strip_prefix(ECDSA)? {
        [1] | [3, 2] => Some(&SHA256),
        [3, 1] => Some(&SHA224),
        [3, 3] => Some(&SHA384),
        [3, 4] => Some(&SHA512),
        _ => None,
    }
}

/// RSASSA-PSS names its hash in its parameters (RFC 4055, section 3.1); SHA-1 is the default there.
fn pss_hash(parameters: &[u8]) -> &'static digest::Algorithm {
    let named = || {
        let (parameters, _) = element(parameters, SEQUENCE)?;
        let (hash, _) = element(parameters, CONTEXT_0)?;
        let (hash, _) = element(hash, SEQUENCE)?;
        let (name, _) = element(hash, OBJECT_IDENTIFIER)?;
        name.strip_prefix(SHA2)
    };
    match named() {
        Some([2]) => &SHA384,
        Some([3]) => &SHA512,
        Some([4]) => &SHA224,
        _ => &SHA256,
    }
}

/// The content of the element at the front, which must have this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0usize, |length, byte| length << 8 | usize::from(*byte));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_follows_the_signature() {
        for (algorithm, hash) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, &SHA256),
            (&rcgen::PKCS_ECDSA_P384_SHA384, &SHA384),
            (&rcgen::PKCS_RSA_SHA256, &SHA256),
            (&rcgen::PKCS_RSA_SHA512, &SHA512),
        ] {
            let certificate = certificate(algorithm);
            assert_eq!(server_end_point(&certificate).unwrap(), digest::digest(hash, &certificate).as_ref());
        }
    }

    #[test]
    fn a_signature_without_a_hash_has_no_binding() {
        assert_eq!(server_end_point(&certificate(&rcgen::PKCS_ED25519)), None);
    }

    #[test]
    fn half_a_certificate_has_no_binding() {
        let whole = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        for end in 0..whole.len() {
            assert_eq!(server_end_point(&whole[..end]), None, "{end}");
        }
    }
}
