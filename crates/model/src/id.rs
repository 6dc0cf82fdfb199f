//! UUIDs that identify things for ever and on every cluster.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The text is not a UUID in hyphenated lower-case form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a UUID in lower-case hyphenated form")]
pub struct InvalidId {
    /// What was given, cut to 64 characters.
    pub text: String,
}

/// Only the hyphenated lower-case form is accepted, so that an id has one spelling: it is a dataset's name.
fn parse(text: &str) -> Result<Uuid, InvalidId> {
    let invalid = || InvalidId {
        text: text.chars().take(64).collect(),
    };
    let id = Uuid::try_parse(text).map_err(|_| invalid())?;
    if text.len() == 36 && id.hyphenated().to_string() == text {
        Ok(id)
    } else {
        Err(invalid())
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Length of the text form in bytes.
            pub const LEN: usize = 36;

            /// Takes a UUID over.
            pub const fn new(id: Uuid) -> Self {
                Self(id)
            }

            /// The UUID itself.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }
    )*};
}

ids! {
    /// A Dot: the `metadata.uid` of the object that first recorded it.
    DotId;
    /// A volume of a Dot, see [`VolumeId::derive`].
    VolumeId;
    /// A Branch: the `metadata.uid` of its object.
    BranchId;
    /// A writable head. A branch's first head has the Branch's id, see [`HeadId::first_of`].
    HeadId;
    /// A Commit: the `metadata.uid` of the object that first recorded it.
    CommitId;
    /// A PersistentVolumeClaim's `metadata.uid`.
    ClaimUid;
}

impl VolumeId {
    /// UUIDv5 (RFC 9562) of the volume's name in the namespace of its Dot's id: the same on every cluster.
    pub fn derive(dot: DotId, volume: &str) -> Self {
        Self(Uuid::new_v5(&dot.0, volume.as_bytes()))
    }
}

impl HeadId {
    /// The head that a branch is born with.
    pub const fn first_of(branch: BranchId) -> Self {
        Self(branch.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0c5a6f6e-1111-4222-8333-444455556666";

    #[test]
    fn an_id_has_one_spelling() {
        assert_eq!(TEXT.parse::<DotId>().unwrap().to_string(), TEXT);
        for wrong in [
            "",
            "x",
            &TEXT.to_uppercase(),
            &TEXT.replace('-', ""),
            &format!("{{{TEXT}}}"),
            &format!(" {TEXT}"),
        ] {
            assert!(wrong.parse::<DotId>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_volume_id_depends_on_dot_and_name_only() {
        let dot: DotId = TEXT.parse().unwrap();
        assert_eq!(VolumeId::derive(dot, "data"), VolumeId::derive(dot, "data"));
        assert_ne!(VolumeId::derive(dot, "data"), VolumeId::derive(dot, "cache"));
        // Golden: a change here would lose every volume's identity.
        assert_eq!(
            VolumeId::derive(dot, "data").to_string(),
            "79e9f83f-db06-5393-be7f-3096b044c108"
        );
    }
}
