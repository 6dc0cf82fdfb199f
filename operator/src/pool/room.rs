//! How large a volume may become. Pure.
//!
//! A volume's size is a limit for it and reserves nothing in the pool: all of them together may be larger than the
//! pool. One alone may not be, and while little is free none becomes larger: what is left is for what has been
//! promised.

use dotmesh_crds::Pool;
use dotmesh_crds::condition::Reason;
use dotmesh_model::size::{format_quantity, parse_quantity};
use kube::ResourceExt;

use crate::status::{is_ready, ready_condition};

/// The watermark: volumes grow while at least this part of the pool is free.
pub(super) const FREE_PART: u64 = 20;

/// Why a volume does not grow. Display completes "… cannot grow: ".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Nobody can say how much room there is.
    #[error("{0}")]
    Unknown(String),
    /// More than the pool holds.
    #[error("{asked} is more than all of Pool {pool:?} of {size}; ask for less or enlarge the pool")]
    LargerThanPool {
        /// The size that is asked for, as a quantity.
        asked: String,
        /// The Pool object.
        pool: String,
        /// Its size, as a quantity.
        size: String,
    },
    /// Below the watermark.
    #[error("less than a twentieth of Pool {pool:?} of {size} is free; enlarge the pool, or delete what nobody needs")]
    Low {
        /// The Pool object.
        pool: String,
        /// Its size, as a quantity.
        size: String,
    },
}

impl NoRoom {
    /// The condition's reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Unknown(_) => Reason::PoolUnavailable,
            Self::LargerThanPool { .. } | Self::Low { .. } => Reason::OutOfSpace,
        }
    }
}

/// Whether a volume of this pool may grow to so many bytes.
///
/// # Errors
/// Why not.
pub fn check_growth(pool: Option<&Pool>, bytes: u64) -> Result<(), NoRoom> {
    let pool = pool.ok_or_else(|| NoRoom::Unknown("its node has no Pool".to_owned()))?;
    let name = pool.name_any();
    let status = pool.status.clone().unwrap_or_default();
    if !is_ready(&status.conditions) {
        let why = ready_condition(&status.conditions).map_or("not looked at yet", |ready| ready.message.as_str());
        return Err(NoRoom::Unknown(format!("Pool {name:?} is not ready: {why}")));
    }
    let of = |quantity: &Option<String>| parse_quantity(quantity.as_deref()?).ok();
    let (Some(size), Some(available)) = (of(&status.size), of(&status.available)) else {
        return Err(NoRoom::Unknown(format!("Pool {name:?} does not tell its size")));
    };
    let (pool, all) = (name, format_quantity(size));
    if bytes > size {
        let asked = format_quantity(bytes);
        return Err(NoRoom::LargerThanPool { asked, pool, size: all });
    }
    match available < size / FREE_PART {
        true => Err(NoRoom::Low { pool, size: all }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(available: &str, ready: &str) -> Pool {
        serde_yaml::from_str(&format!(
            "{{apiVersion: dotmesh.io/v1alpha1, kind: Pool, metadata: {{name: n1}}, spec: {{nodeName: n1}}, \
             status: {{size: 20Gi, available: {available}, conditions: [{{type: Ready, status: '{ready}', reason: Ready, \
             message: ZFS says FAULTED, lastTransitionTime: '2026-01-01T00:00:00Z'}}]}}}}"
        ))
        .unwrap()
    }

    #[test]
    fn a_volume_grows_up_to_the_pools_size_while_a_twentieth_is_free() {
        let check = |available: &str, size: &str| {
            let size = parse_quantity(size).unwrap();
            check_growth(Some(&pool(available, "True")), size).map_err(|why| (why.reason(), why.to_string()))
        };
        assert_eq!(check("1Gi", "20Gi"), Ok(()), "more than is free: nothing is reserved");
        let (reason, why) = check("1Gi", "21Gi").unwrap_err();
        assert_eq!(reason, Reason::OutOfSpace);
        assert!(why.contains("21Gi is more than all of Pool \"n1\" of 20Gi"), "{why}");
        let (reason, why) = check("1023Mi", "2Gi").unwrap_err();
        assert_eq!(reason, Reason::OutOfSpace);
        assert!(why.contains("less than a twentieth"), "{why}");
    }

    #[test]
    fn where_nobody_knows_the_room_nothing_grows() {
        let unknown = check_growth(None, 1).unwrap_err();
        assert_eq!(unknown.reason(), Reason::PoolUnavailable);
        let away = check_growth(Some(&pool("19Gi", "False")), 1).unwrap_err();
        assert!(away.to_string().contains("ZFS says FAULTED"), "{away}");
        let silent = Pool {
            status: Some(dotmesh_crds::PoolStatus {
                size: None,
                ..pool("19Gi", "True").status.unwrap()
            }),
            ..pool("19Gi", "True")
        };
        assert!(matches!(check_growth(Some(&silent), 1), Err(NoRoom::Unknown(_))));
    }
}
