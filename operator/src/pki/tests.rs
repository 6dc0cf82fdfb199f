//! What a certificate is good for, judged by whole TLS handshakes in memory.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use super::certificates::{Certificates, Clock};
use super::*;

struct Party {
    certificate: String,
    key: String,
}

impl From<OperatorIdentity> for Party {
    fn from(identity: OperatorIdentity) -> Self {
        Self {
            certificate: identity.certificate_pem,
            key: identity.key_pem,
        }
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A node that asks for far more than it may have.
fn node(authority: &Authority, name: &str) -> Party {
    let key = KeyPair::generate().unwrap();
    let mut wish = CertificateParams::new(vec![OPERATOR_IDENTITY.to_owned()]).unwrap();
    wish.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let request = wish.serialize_request(&key).unwrap();
    Party {
        certificate: authority.issue_node(request.der(), name, now()).unwrap(),
        key: key.serialize_pem(),
    }
}

fn roots(authority: &Authority) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap())
        .unwrap();
    Arc::new(roots)
}

fn pair(party: &Party) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    (
        vec![CertificateDer::from_pem_slice(party.certificate.as_bytes()).unwrap()],
        PrivateKeyDer::from_pem_slice(party.key.as_bytes()).unwrap(),
    )
}

/// A mutually authenticated handshake; both sides trust the authority only.
fn handshake(authority: &Authority, client: &Party, server: &Party, server_name: &str) -> Result<(), String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let (chain, key) = pair(server);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(authority), provider.clone())
        .build()
        .unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    let (chain, key) = pair(client);
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots(authority))
        .with_client_auth_cert(chain, key)
        .unwrap();
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    for _ in 0..16 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest: &[u8] = &wire;
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets().map_err(|e| format!("server: {e}"))?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest: &[u8] = &wire;
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets().map_err(|e| format!("client: {e}"))?;
        }
        if !client.is_handshaking() && !server.is_handshaking() {
            client.writer().write_all(b"x").unwrap();
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets().map_err(|e| format!("server: {e}"))?;
            let mut got = [0; 1];
            server.reader().read_exact(&mut got).unwrap();
            return Ok(());
        }
    }
    panic!("the handshake did not end");
}

#[test]
fn the_operator_reaches_a_node_by_its_name() {
    let authority = Authority::generate(now()).unwrap();
    let operator = authority.issue_operator("dotmesh-system", now()).unwrap().into();
    for name in ["n1", "ip-10-0-0-1.ec2.internal", "10.0.0.1"] {
        handshake(&authority, &operator, &node(&authority, name), name).unwrap();
    }
}

#[test]
fn a_node_is_no_client_whatever_it_asked_for() {
    let authority = Authority::generate(now()).unwrap();
    let error = handshake(&authority, &node(&authority, "n1"), &node(&authority, "n2"), "n2").unwrap_err();
    assert!(error.starts_with("server: invalid peer certificate"), "{error}");
}

#[test]
fn a_node_is_no_other_node_and_not_the_operator() {
    let authority = Authority::generate(now()).unwrap();
    let operator = authority.issue_operator("dotmesh-system", now()).unwrap().into();
    for name in ["n2", OPERATOR_IDENTITY, "dotmesh-operator.dotmesh-system.svc"] {
        let error = handshake(&authority, &operator, &node(&authority, "n1"), name).unwrap_err();
        assert!(error.starts_with("client: invalid peer certificate"), "{error}");
    }
    let request = CertificateParams::default()
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap();
    for name in [
        OPERATOR_IDENTITY,
        "dotmesh-operator.dotmesh-system.svc",
        "",
        "a b",
        "a/../b",
        "*",
    ] {
        let result = authority.issue_node(request.der(), name, now());
        assert!(matches!(result, Err(PkiError::NodeName(_))), "{name:?}: {result:?}");
    }
}

#[test]
fn another_authority_counts_for_nothing() {
    let (ours, theirs) = (Authority::generate(now()).unwrap(), Authority::generate(now()).unwrap());
    let operator = ours.issue_operator("x", now()).unwrap().into();
    let imposter = theirs.issue_operator("x", now()).unwrap().into();
    assert!(handshake(&ours, &imposter, &node(&ours, "n1"), "n1").is_err());
    assert!(handshake(&ours, &operator, &node(&theirs, "n1"), "n1").is_err());
}

#[test]
fn an_authority_survives_storage() {
    let made = Authority::generate(now()).unwrap();
    let read = Authority::from_pem(made.certificate_pem(), &made.key_pem()).unwrap();
    let operator = read.issue_operator("x", now()).unwrap().into();
    handshake(&made, &operator, &node(&read, "n1"), "n1").unwrap();
}

#[test]
fn a_broken_store_is_an_error_and_no_new_authority() {
    let (a, b) = (Authority::generate(now()).unwrap(), Authority::generate(now()).unwrap());
    assert!(matches!(
        Authority::from_pem(a.certificate_pem(), &b.key_pem()),
        Err(PkiError::Mismatch)
    ));
    assert!(Authority::from_pem("", "").is_err());
    assert!(Authority::from_pem(a.certificate_pem(), "").is_err());
    assert!(Authority::from_pem("", &a.key_pem()).is_err());
}

#[test]
fn requests_that_are_none_are_refused() {
    let authority = Authority::generate(now()).unwrap();
    let good = CertificateParams::default()
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap();
    let mut forged = good.der().to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for request in [vec![], b"hello".to_vec(), forged, vec![0x30; MAX_REQUEST + 1]] {
        let result = authority.issue_node(&request, "n1", now());
        assert!(matches!(result, Err(PkiError::Request(_))), "{result:?}");
    }
}

#[test]
fn a_certificate_ends() {
    let authority = Authority::generate(now()).unwrap();
    let operator: Party = authority.issue_operator("x", now()).unwrap().into();
    let long_ago = now() - NODE_LIFETIME - Duration::minutes(1);
    let key = KeyPair::generate().unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap();
    let expired = Party {
        certificate: authority.issue_node(request.der(), "n1", long_ago).unwrap(),
        key: key.serialize_pem(),
    };
    let error = handshake(&authority, &operator, &expired, "n1").unwrap_err();
    assert!(error.contains("expired"), "{error}");
}

#[test]
fn the_end_of_the_authority_itself_ends_nothing() {
    let long_ago = now() - AUTHORITY_LIFETIME - Duration::days(1);
    let made = Authority::generate(long_ago).unwrap();
    let read = Authority::from_pem(made.certificate_pem(), &made.key_pem()).unwrap();
    let operator = read.issue_operator("x", now()).unwrap().into();
    handshake(&read, &operator, &node(&read, "n1"), "n1").unwrap();
}

#[test]
fn the_operators_own_certificate_is_made_anew_when_half_of_its_life_is_over() {
    let time = Arc::new(std::sync::Mutex::new(now()));
    let clock: Clock = {
        let time = Arc::clone(&time);
        Arc::new(move || *time.lock().unwrap())
    };
    let certificates = Certificates::new(Authority::generate(now()).unwrap(), "x", clock);
    let at = |hours: i64| {
        *time.lock().unwrap() += Duration::hours(hours);
        certificates.own().unwrap()
    };
    let first = at(0);
    assert!(Arc::ptr_eq(&first, &at(11)));
    let second = at(1);
    assert_ne!(first.certificate_pem, second.certificate_pem);
    assert_ne!(first.key_pem, second.key_pem);
    assert!(Arc::ptr_eq(&second, &at(11)));
    assert!(!Arc::ptr_eq(&second, &at(-12)), "it would not be valid yet");
}
