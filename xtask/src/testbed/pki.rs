//! The instance's certificates and kubeconfigs: one authority, one client certificate per component.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use super::net;

/// A folder with `NAME.crt`, `NAME.key` and, for clients of the API, `NAME.conf` (a kubeconfig).
#[derive(Debug, Clone)]
pub(crate) struct Pki {
    folder: PathBuf,
}

/// Who a certificate is for.
struct Subject<'a> {
    name: &'a str,
    common_name: String,
    /// The Kubernetes group, or empty.
    organization: &'a str,
    /// Addresses and DNS names it serves under.
    serves: Vec<String>,
}

impl Pki {
    /// The one in `folder`, made before.
    pub(crate) fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes everything for a control plane and `nodes` nodes.
    pub(crate) fn create(&self, nodes: u8) -> Result<()> {
        fs::create_dir_all(&self.folder).with_context(|| format!("make {}", self.folder.display()))?;
        let authority_key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "dotmesh test bed");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        self.write("ca.crt", &params.self_signed(&authority_key)?.pem())?;
        self.write("ca.key", &authority_key.serialize_pem())?;
        let authority = Issuer::new(params, authority_key);

        let service_account = KeyPair::generate()?;
        self.write("sa.key", &service_account.serialize_pem())?;
        self.write("sa.pub", &service_account.public_key_pem())?;

        let api_names = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let mut serves: Vec<_> = api_names.map(str::to_owned).into();
        serves.extend([
            net::HOST.to_string(),
            net::API_SERVICE.to_string(),
            "127.0.0.1".to_owned(),
        ]);
        self.issue(
            &authority,
            Subject {
                name: "apiserver",
                common_name: "kube-apiserver".to_owned(),
                organization: "",
                serves,
            },
        )?;
        for (name, common_name, organization) in [
            ("admin", "admin", "system:masters"),
            ("kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
            ("controller-manager", "system:kube-controller-manager", ""),
            ("scheduler", "system:kube-scheduler", ""),
            ("kube-proxy", "system:kube-proxy", ""),
            ("front-proxy", "front-proxy", ""),
        ] {
            self.client(
                &authority,
                Subject {
                    name,
                    common_name: common_name.to_owned(),
                    organization,
                    serves: Vec::new(),
                },
            )?;
        }
        for index in 1..=nodes {
            let name = format!("n{index}");
            let serves = vec![name.clone(), net::node_address(index).to_string()];
            let common_name = format!("system:node:{name}");
            self.client(
                &authority,
                Subject {
                    name: &name,
                    common_name,
                    organization: "system:nodes",
                    serves,
                },
            )?;
        }
        Ok(())
    }

    /// The path of one of its files.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    fn client(&self, authority: &Issuer<'_, KeyPair>, subject: Subject<'_>) -> Result<()> {
        let name = subject.name;
        let (certificate, key) = self.issue(authority, subject)?;
        let config = kubeconfig(&fs::read_to_string(self.path("ca.crt"))?, &certificate, &key);
        self.write(&format!("{name}.conf"), &serde_json::to_string_pretty(&config)?)
    }

    fn issue(&self, authority: &Issuer<'_, KeyPair>, subject: Subject<'_>) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(subject.serves)?;
        params.distinguished_name.push(DnType::CommonName, subject.common_name);
        if !subject.organization.is_empty() {
            params
                .distinguished_name
                .push(DnType::OrganizationName, subject.organization);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, authority)?.pem();
        let key = key.serialize_pem();
        self.write(&format!("{}.crt", subject.name), &certificate)?;
        self.write(&format!("{}.key", subject.name), &key)?;
        Ok((certificate, key))
    }

    fn write(&self, file: &str, content: &str) -> Result<()> {
        let path: &Path = &self.path(file);
        fs::write(path, content).with_context(|| format!("write {}", path.display()))
    }
}

/// A kubeconfig; kubectl and everybody else reads JSON where YAML is expected.
fn kubeconfig(authority: &str, certificate: &str, key: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": {
            "server": format!("https://{}:{}", net::HOST, net::API_PORT),
            "certificate-authority-data": base64(authority),
        }}],
        "users": [{"name": "testbed", "user": {"client-certificate-data": base64(certificate), "client-key-data": base64(key)}}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "testbed"}}],
        "current-context": "testbed",
    })
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
