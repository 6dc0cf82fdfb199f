//! The entries of claims in a Dot's status: who holds which volume, and their one guarded write.
//!
//! Field manager `dotmesh-claims` owns all of `status.claims` and writes it whole, guarded by the resourceVersion it
//! was computed from: of two writers at once one fails and looks again, so no volume is ever given out twice.

use std::collections::BTreeMap;

use dotmesh_crds::Dot;
use dotmesh_crds::dot::{DotClaim, DotVolume, DotVolumeStatus};
use dotmesh_crds::names::MANAGER_CLAIMS;
use dotmesh_model::format::VolumeFormat;
use dotmesh_model::name::BranchName;
use dotmesh_mutant::{Mutant, is_planted};
use serde_json::json;

use crate::api::{Api, ApiError, Guard, Key};

/// Names of Branch objects to the names of branches within their Dot.
pub type BranchNames = BTreeMap<String, String>;

/// All entries of a Dot.
pub fn entries(dot: &Dot) -> &[DotClaim] {
    dot.status.as_ref().map_or(&[], |status| status.claims.as_slice())
}

/// The entry of this claim.
pub fn entry_of<'a>(dot: &'a Dot, uid: &str) -> Option<&'a DotClaim> {
    entries(dot).iter().find(|entry| entry.uid == uid)
}

/// What the Dot's volume of this name is to pods, as far as anybody has said: what it is, what the Dot asks for, what the
/// first claim asked for that added it.
pub fn format_of(dot: &Dot, volume: &str) -> Option<VolumeFormat> {
    let status = dot.status.as_ref();
    let there = status.and_then(|status| status.volumes.iter().find(|there| there.name == volume));
    let listed = dot.spec.volumes.iter().flatten().find(|listed| listed.name == volume);
    there
        .map(DotVolumeStatus::format)
        .or_else(|| listed.map(DotVolume::format))
        .or_else(|| {
            entries(dot)
                .iter()
                .find(|entry| entry.volume == volume)
                .map(DotClaim::format)
        })
}

/// Whether the claim's volume can be mounted on the Dot's node.
pub fn is_attached(dot: &Dot, uid: &str) -> bool {
    dot.status
        .as_ref()
        .is_some_and(|status| status.attachments.iter().any(|attached| attached == uid))
}

/// The branch that is checked out.
pub fn checkout(dot: &Dot) -> &str {
    dot.status
        .as_ref()
        .and_then(|status| status.checkout.as_deref())
        .unwrap_or(BranchName::DEFAULT)
}

/// The branch, by its name within the Dot, whose volume the entry's claim mounts.
///
/// Two ways lead to one branch: following a checkout of `main`, and being pinned to the Branch object of `main`.
pub fn branch_of<'a>(entry: &'a DotClaim, dot: &'a Dot, names: &'a BranchNames) -> &'a str {
    match &entry.branch {
        None => checkout(dot),
        Some(object) => names.get(object).unwrap_or(object),
    }
}

/// Another claim that holds the same volume of the same branch, and does not share it with this one.
pub fn holder<'a>(dot: &'a Dot, names: &'a BranchNames, wanted: &DotClaim) -> Option<&'a DotClaim> {
    entries(dot).iter().find(|entry| {
        entry.uid != wanted.uid
            && entry.volume == wanted.volume
            && !(entry.shared && (wanted.shared || is_planted(Mutant::ASharedVolumeNeedsOneWordOnly)))
            && branch_of(entry, dot, names) == branch_of(wanted, dot, names)
    })
}

/// The Dot's entries with this one added, or put in the place of the claim's earlier one. When it says how its volume's
/// data is to be kept, it alone does.
pub fn with(dot: &Dot, entry: DotClaim) -> Vec<DotClaim> {
    let mut all: Vec<DotClaim> = without(dot, &entry.uid);
    if entry.attributes.is_some() {
        silence_others(&mut all, &entry);
    }
    all.push(entry);
    all
}

/// The other entries of this one's volume no longer say how its data is to be kept: a volume is one on all branches, and
/// what was said last counts.
pub fn silence_others(all: &mut [DotClaim], entry: &DotClaim) {
    let others = all
        .iter_mut()
        .filter(|other| other.uid != entry.uid && other.volume == entry.volume);
    others.for_each(|other| other.attributes = None);
}

/// The Dot's entries without that of this claim.
pub fn without(dot: &Dot, uid: &str) -> Vec<DotClaim> {
    entries(dot).iter().filter(|entry| entry.uid != uid).cloned().collect()
}

/// Makes `entries` all that the Dot has, if the Dot is still as it was read.
pub async fn write<A: Api>(api: &A, dot: &Dot, entries: &[DotClaim]) -> Result<Dot, ApiError> {
    let status = json!({ "claims": entries });
    let guard = match is_planted(Mutant::ClaimsAreWrittenWithoutAGuard) {
        true => Guard::same(dot),
        false => Guard::unchanged(dot),
    };
    api.apply_status(&Key::of(dot), &guard, MANAGER_CLAIMS, status).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(claims: &str) -> Dot {
        serde_yaml::from_str(&format!(
            "{{apiVersion: dotmesh.io/v1alpha1, kind: Dot, metadata: {{name: shop, namespace: dev}}, spec: {{}}, \
             status: {{checkout: main, claims: {claims}}}}}"
        ))
        .unwrap()
    }

    #[test]
    fn of_a_volumes_claims_the_one_that_said_something_last_counts() {
        let said = "{compression: lz4}";
        let dot = dot(&format!(
            "[{{uid: a, namespace: dev, name: a, volume: db, size: 1Gi, attributes: {said}}}, \
             {{uid: b, namespace: dev, name: b, volume: cache, size: 1Gi, attributes: {said}}}]"
        ));
        let says = |all: &[DotClaim]| -> Vec<(String, bool)> {
            all.iter()
                .map(|entry| (entry.uid.clone(), entry.attributes.is_some()))
                .collect()
        };
        let pair = |uid: &str, says| (uid.to_owned(), says);
        let silent = with(&dot, entry("c", "db", None));
        assert_eq!(says(&silent), [pair("a", true), pair("b", true), pair("c", false)]);
        let speaks = with(
            &dot,
            DotClaim {
                attributes: entries(&dot)[0].attributes.clone(),
                ..entry("c", "db", None)
            },
        );
        assert_eq!(says(&speaks), [pair("a", false), pair("b", true), pair("c", true)]);
    }

    fn entry(uid: &str, volume: &str, branch: Option<&str>) -> DotClaim {
        DotClaim {
            uid: uid.to_owned(),
            volume: volume.to_owned(),
            branch: branch.map(str::to_owned),
            ..DotClaim::default()
        }
    }

    #[test]
    fn a_volume_of_a_branch_has_one_holder_whichever_way_it_is_named() {
        let names = BranchNames::from([
            ("shop-main".to_owned(), "main".to_owned()),
            ("try".to_owned(), "feature/x".to_owned()),
        ]);
        let shop = dot("[{uid: a, namespace: dev, name: one, volume: db, size: 1Gi}, \
                        {uid: b, namespace: dev, name: two, volume: db, size: 1Gi, branch: try}]");
        for (wanted, held_by) in [
            (entry("c", "db", None), Some("one")),
            (entry("c", "db", Some("shop-main")), Some("one")),
            (entry("c", "db", Some("try")), Some("two")),
            (entry("c", "db", Some("other")), None),
            (entry("c", "cache", None), None),
            (entry("a", "db", None), None),
        ] {
            let holder = holder(&shop, &names, &wanted).map(|entry| entry.name.as_str());
            assert_eq!(holder, held_by, "{wanted:?}");
        }
    }

    #[test]
    fn a_volume_is_shared_only_when_all_its_holders_say_so() {
        let shared = |uid: &str, shared: bool| DotClaim {
            shared,
            ..entry(uid, "db", None)
        };
        let shop = |first: bool| {
            let claims = format!("[{{uid: a, namespace: dev, name: one, volume: db, size: 1Gi, shared: {first}}}]");
            dot(&claims)
        };
        for (first, second, is_held) in [
            (true, true, false),
            (true, false, true),
            (false, true, true),
            (false, false, true),
        ] {
            let held = holder(&shop(first), &BranchNames::new(), &shared("b", second)).is_some();
            assert_eq!(held, is_held, "{first} {second}");
        }
    }

    #[test]
    fn an_entry_replaces_its_own_and_leaves_the_others() {
        let shop = dot("[{uid: a, namespace: dev, name: one, volume: db, size: 1Gi}, \
                        {uid: b, namespace: dev, name: two, volume: cache, size: 1Gi}]");
        let uids = |entries: Vec<DotClaim>| -> Vec<(String, String)> {
            entries.into_iter().map(|entry| (entry.uid, entry.volume)).collect()
        };
        let pair = |uid: &str, volume: &str| (uid.to_owned(), volume.to_owned());
        assert_eq!(
            uids(with(&shop, entry("a", "x", None))),
            [pair("b", "cache"), pair("a", "x")]
        );
        assert_eq!(uids(without(&shop, "b")), [pair("a", "db")]);
        assert_eq!(uids(without(&shop, "c")), [pair("a", "db"), pair("b", "cache")]);
    }
}
