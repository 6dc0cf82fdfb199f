//! The form that all property values share: a version, a colon, fields; free text and JSON as base64url.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dotmesh_zfs::{PropName, PropValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version that this program writes, of every property.
const VERSION: &str = "1";

/// A property of ours that this program cannot read. Nothing is changed on what carries it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer version of the program wrote it.
    #[error("property {property} has format version {version}, which this program does not know")]
    UnknownVersion {
        /// The property.
        property: String,
        /// Its version.
        version: String,
    },
    /// It is not what any version writes.
    #[error("property {property} is damaged")]
    Malformed {
        /// The property.
        property: String,
    },
}

impl DecodeError {
    pub(super) fn malformed(property: &PropName) -> Self {
        Self::Malformed {
            property: property.to_string(),
        }
    }
}

/// A value of these fields.
pub(super) fn value(fields: &[&str]) -> PropValue {
    let text = [&[VERSION], fields].concat().join(":");
    text.parse()
        .expect("fields are ids, words and base64url, and chunks are short")
}

/// The fields after the version.
pub(super) fn fields<'a>(property: &PropName, value: &'a str) -> Result<Vec<&'a str>, DecodeError> {
    let (version, rest) = value.split_once(':').ok_or_else(|| DecodeError::malformed(property))?;
    if version.is_empty() || !version.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecodeError::malformed(property));
    }
    if version != VERSION {
        return Err(DecodeError::UnknownVersion {
            property: property.to_string(),
            version: version.to_owned(),
        });
    }
    Ok(rest.split(':').collect())
}

pub(super) fn encode_text(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

pub(super) fn decode_text(property: &PropName, text: &str) -> Result<String, DecodeError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| DecodeError::malformed(property))?;
    String::from_utf8(bytes).map_err(|_| DecodeError::malformed(property))
}

pub(super) fn encode_json(payload: &impl Serialize) -> String {
    let json = serde_json::to_vec(payload).expect("strings and maps of strings always serialise");
    URL_SAFE_NO_PAD.encode(json)
}

pub(super) fn decode_json<T: DeserializeOwned>(property: &PropName, text: &str) -> Result<T, DecodeError> {
    let bytes = URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| DecodeError::malformed(property))?;
    serde_json::from_slice(&bytes).map_err(|_| DecodeError::malformed(property))
}
