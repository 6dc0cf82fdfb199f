//! The authority's two objects: Secret `dotmesh-authority` with the key, for the operator alone, and ConfigMap
//! `dotmesh-authority` with the certificate, for csi-node's pods. Made once; whoever comes second takes what is there.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::ObjectMeta;
use serde_json::json;
use time::OffsetDateTime;

use crate::api::{Api, ApiError, ApiErrorKind, Guard, Key};
use crate::pki::{Authority, PkiError};

/// Name of both objects.
pub const NAME: &str = "dotmesh-authority";
/// Entry with the certificate, in both.
const CERTIFICATE: &str = "ca.crt";
/// Entry with the key, in the Secret.
const KEY: &str = "ca.key";

/// Why there is no authority to work with.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The API.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// What is stored cannot be used; it is never replaced, because nodes may trust it.
    #[error(
        "Secret {namespace}/{NAME} cannot be used; if it is lost for good, delete it and restart operator and csi-node"
    )]
    Stored {
        /// The installation's namespace.
        namespace: String,
        /// What is wrong with it.
        #[source]
        source: PkiError,
    },
    /// A new one could not be made.
    #[error("making the authority")]
    Generate(#[source] PkiError),
}

/// The installation's authority, made if there is none yet, and its certificate published.
pub async fn ensure<A: Api>(api: &A, namespace: &str, now: OffsetDateTime) -> Result<Authority, AuthorityError> {
    let key = Key::namespaced(namespace, NAME);
    let stored = match api.get::<Secret>(&key).await? {
        Some(secret) => secret,
        None => make(api, &key, now).await?,
    };
    let entry = |name: &str| {
        let bytes = stored.data.as_ref().and_then(|data| data.get(name));
        bytes.map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes.0).into_owned())
    };
    let authority = Authority::from_pem(&entry(CERTIFICATE), &entry(KEY)).map_err(|source| AuthorityError::Stored {
        namespace: namespace.to_owned(),
        source,
    })?;
    publish(api, &key, &authority).await?;
    Ok(authority)
}

async fn make<A: Api>(api: &A, key: &Key, now: OffsetDateTime) -> Result<Secret, AuthorityError> {
    let authority = Authority::generate(now).map_err(AuthorityError::Generate)?;
    let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
    let secret = Secret {
        metadata: metadata(key),
        type_: Some("Opaque".to_owned()),
        data: Some(BTreeMap::from([
            (CERTIFICATE.to_owned(), bytes(authority.certificate_pem())),
            (KEY.to_owned(), bytes(&authority.key_pem())),
        ])),
        ..Secret::default()
    };
    match api.create(&secret).await {
        Ok(created) => Ok(created),
        // Another replica was first: its authority is the one.
        Err(error) if error.kind == ApiErrorKind::AlreadyExists => Ok(api.get(key).await?.ok_or(error)?),
        Err(error) => Err(error.into()),
    }
}

async fn publish<A: Api>(api: &A, key: &Key, authority: &Authority) -> Result<(), ApiError> {
    let wanted = BTreeMap::from([(CERTIFICATE.to_owned(), authority.certificate_pem().to_owned())]);
    let published: Option<ConfigMap> = api.get(key).await?;
    let current = match published {
        Some(found) => found,
        None => {
            let object = ConfigMap {
                metadata: metadata(key),
                data: Some(wanted.clone()),
                ..ConfigMap::default()
            };
            match api.create(&object).await {
                Err(error) if error.kind == ApiErrorKind::AlreadyExists => api.get(key).await?.ok_or(error)?,
                result => return result.map(|_| ()),
            }
        }
    };
    if current.data.as_ref() != Some(&wanted) {
        let patch = json!({ "data": wanted });
        api.patch::<ConfigMap>(key, &Guard::unchanged(&current), patch).await?;
    }
    Ok(())
}

fn metadata(key: &Key) -> ObjectMeta {
    ObjectMeta {
        namespace: key.namespace.clone(),
        name: Some(key.name.clone()),
        ..ObjectMeta::default()
    }
}
