//! The authority that node certificates come from, and the certificates themselves. X.509 by rcgen, keys P-256.
//!
//! Two kinds of certificate, told apart by extended key usage (RFC 5280 §4.2.1.12) and name, so that neither can stand
//! in for the other: a node's serves TLS under the node's name and can never be a client; the operator's is the only
//! one that a node accepts as a client. Pure: knows neither Kubernetes nor sockets; `now` is an argument.

pub mod certificates;

use std::net::IpAddr;

use dotmesh_crds::names::OPERATOR_IDENTITY;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SanType,
};
use rustls::pki_types::{CertificateSigningRequestDer, ServerName};
use time::{Duration, OffsetDateTime};

/// How long the authority is valid. Nobody looks at its end: in rustls a trust anchor is a name and a key (RFC 5280 §6.1.1).
const AUTHORITY_LIFETIME: Duration = Duration::days(3650);
/// How long a node's certificate is valid; the node asks for a new one between half and two thirds of that.
pub const NODE_LIFETIME: Duration = Duration::hours(24);
/// How long a certificate of the operator is valid; [`certificates::Certificates`] makes a new one in time.
pub const OPERATOR_LIFETIME: Duration = Duration::hours(24);
/// Certificates begin to be valid this long ago: clocks of nodes differ.
const BACKDATE: Duration = Duration::hours(1);
/// Largest signing request that is looked at, in bytes; one with a P-256 key is about 300.
const MAX_REQUEST: usize = 8192;

/// What went wrong with a certificate.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// The stored authority cannot be read.
    #[error("the stored authority is not a certificate with its key in PEM")]
    Stored(#[source] rcgen::Error),
    /// The stored certificate and the stored key are not a pair.
    #[error("the stored authority's key does not belong to its certificate")]
    Mismatch,
    /// The signing request is no PKCS#10 in DER, is too large, or is not signed by its own key.
    #[error("the certificate signing request cannot be used")]
    Request(#[source] Option<rcgen::Error>),
    /// The signing request's key is of another kind than P-256 or Ed25519.
    #[error("the certificate signing request's key is neither P-256 nor Ed25519")]
    Algorithm,
    /// The node's name cannot be a TLS server's name, or is one that the operator itself goes by.
    #[error("the node name {0:?} cannot be the name in a certificate")]
    NodeName(String),
    /// Making or signing failed.
    #[error("signing a certificate")]
    Sign(#[from] rcgen::Error),
}

/// The authority: signs for nodes and for the operator.
pub struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// The operator's own certificate with its key, for both directions: enrollment's server, the nodes' client.
#[derive(Clone)]
pub struct OperatorIdentity {
    /// PEM.
    pub certificate_pem: String,
    /// PKCS#8, PEM. Never leaves memory.
    pub key_pem: String,
}

impl Authority {
    /// A new authority.
    pub fn generate(now: OffsetDateTime) -> Result<Self, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params("dotmesh authority", now, AUTHORITY_LIFETIME);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate_pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// The authority as it was stored.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem).map_err(PkiError::Stored)?;
        if !names_key(certificate_pem, &key) {
            return Err(PkiError::Mismatch);
        }
        Ok(Self {
            certificate_pem: certificate_pem.to_owned(),
            issuer: Issuer::from_ca_cert_pem(certificate_pem, key).map_err(PkiError::Stored)?,
        })
    }

    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The key, PKCS#8 in PEM.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for the node of this name, for the key in the request. Whatever else the request asks for is
    /// ignored. PEM, leaf only: the authority is what the caller trusts already.
    pub fn issue_node(&self, request_der: &[u8], node: &str, now: OffsetDateTime) -> Result<String, PkiError> {
        if request_der.len() > MAX_REQUEST {
            return Err(PkiError::Request(None));
        }
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(request_der))
            .map_err(|error| PkiError::Request(Some(error)))?;
        let algorithm = request.public_key.algorithm();
        if algorithm != &PKCS_ECDSA_P256_SHA256 && algorithm != &PKCS_ED25519 {
            return Err(PkiError::Algorithm);
        }
        let mut params = params("dotmesh node", now, NODE_LIFETIME);
        params.subject_alt_names = vec![node_name(node)?];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params.signed_by(&request.public_key, &self.issuer)?.pem())
    }

    /// A new key and certificate for the operator in this namespace.
    pub fn issue_operator(&self, namespace: &str, now: OffsetDateTime) -> Result<OperatorIdentity, PkiError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = params("dotmesh operator", now, OPERATOR_LIFETIME);
        params.subject_alt_names = operator_names(namespace)
            .into_iter()
            .map(|name| Ok(SanType::DnsName(name.try_into()?)))
            .collect::<Result<_, rcgen::Error>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        Ok(OperatorIdentity {
            certificate_pem: params.signed_by(&key, &self.issuer)?.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

/// The names the operator is known by: one for its role, one for its Service.
fn operator_names(namespace: &str) -> [String; 2] {
    [
        OPERATOR_IDENTITY.to_owned(),
        format!("dotmesh-operator.{namespace}.svc"),
    ]
}

fn params(common_name: &str, now: OffsetDateTime, lifetime: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    params.not_before = now - BACKDATE;
    params.not_after = now + lifetime;
    params.use_authority_key_identifier_extension = true;
    params
}

/// Whether the certificate is for this key: its subjectPublicKeyInfo contains the public key.
fn names_key(certificate_pem: &str, key: &KeyPair) -> bool {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let wanted = key.public_key_raw();
    CertificateDer::from_pem_slice(certificate_pem.as_bytes())
        .is_ok_and(|der| der.windows(wanted.len()).any(|window| window == wanted))
}

/// The node's name as a subject alternative name. Kubernetes allows names that look like addresses; TLS compares
/// those with address entries only (RFC 6125 §1.7.2).
fn node_name(node: &str) -> Result<SanType, PkiError> {
    let refused = || PkiError::NodeName(node.chars().take(253).collect());
    // No node may pass for the operator's enrollment server.
    if node == OPERATOR_IDENTITY || (node.starts_with("dotmesh-operator.") && node.ends_with(".svc")) {
        return Err(refused());
    }
    match ServerName::try_from(node).map_err(|_| refused())? {
        ServerName::DnsName(name) => Ok(SanType::DnsName(
            name.as_ref().to_owned().try_into().map_err(|_| refused())?,
        )),
        ServerName::IpAddress(_) => Ok(SanType::IpAddress(node.parse::<IpAddr>().map_err(|_| refused())?)),
        _ => Err(refused()),
    }
}

#[cfg(test)]
mod tests;
