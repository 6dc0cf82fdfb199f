//! Which objects to look at when one has changed. Pure, over the caches.
//!
//! Only those that could be waiting for the change: an object that is Ready waits for nothing but its own deletion.

use std::collections::BTreeSet;

use dotmesh_crds::names::{
    ANNOTATION_SELECTED_NODE, LABEL_AUTOMATIC, LABEL_CLAIM_UID, LABEL_COMMIT, LABEL_DOT, snapshot_object, volume_object,
};
use dotmesh_crds::remnant::RemnantKind;
use dotmesh_crds::{Branch, Commit, Condition, Dot, Pool, Remnant};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIStorageCapacity, StorageClass};
use kube::{Resource, ResourceExt};

use crate::api::{Api, Key};
use crate::claim::validate::{has_source, is_copy, is_unbound};
use crate::claim::{waiting_for, waiting_for_commit};
use crate::commit::group;
use crate::context::NewUsers;
use crate::dot::import::{self, clones};
use crate::dot::observe::node_of;
use crate::meta::{belongs_to, dot_id, is_deleting, is_restoring, uid};
use crate::pool::discover::serving_node;
use crate::publish::build::{content_key, snapshot_key};
use crate::publish::{self, sweep};
use crate::remnant::observe::{first_to_go, pool_below};
use crate::status::is_ready;
use crate::volume_snapshot::{VolumeSnapshot, VolumeSnapshotContent};

/// Objects to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wake {
    /// Dots.
    pub dots: Vec<Key>,
    /// Branches.
    pub branches: Vec<Key>,
    /// Commits.
    pub commits: Vec<Key>,
    /// Pools.
    pub pools: Vec<Key>,
    /// Remnants.
    pub remnants: Vec<Key>,
    /// csi-node's pods.
    pub pods: Vec<Key>,
    /// Claims.
    pub claims: Vec<Key>,
    /// Commits, for what is published of them.
    pub published: Vec<Key>,
    /// VolumeSnapshotContents that are published.
    pub contents: Vec<Key>,
    /// What the scheduler is told of the Pools, all of it.
    pub capacities: bool,
}

/// An object that changed.
#[derive(Debug, Clone, Copy)]
pub enum Woken<'a> {
    /// A Dot.
    Dot(&'a Dot),
    /// A Branch.
    Branch(&'a Branch),
    /// A Commit.
    Commit(&'a Commit),
    /// A Pool.
    Pool(&'a Pool),
    /// A Remnant.
    Remnant(&'a Remnant),
    /// A pod of csi-node.
    Pod(&'a Pod),
    /// A pod that copies the data of a claim into a volume.
    Importer(&'a Pod),
    /// A claim.
    Claim(&'a PersistentVolumeClaim),
    /// A PersistentVolume.
    Volume(&'a PersistentVolume),
    /// A StorageClass.
    Class(&'a StorageClass),
    /// A CSIStorageCapacity of the installation's namespace.
    Capacity(&'a CSIStorageCapacity),
    /// A VolumeSnapshot that is published of a Commit.
    Snapshot(&'a VolumeSnapshot),
    /// Its VolumeSnapshotContent.
    Content(&'a VolumeSnapshotContent),
}

/// Whom the change of an object concerns.
pub fn wakes<A: Api>(api: &A, woken: Woken<'_>) -> Wake {
    match woken {
        Woken::Dot(dot) => dot_changed(api, dot),
        Woken::Branch(branch) => branch_changed(api, branch),
        Woken::Commit(commit) => commit_changed(api, commit),
        Woken::Pool(pool) => pool_changed(api, pool),
        Woken::Remnant(remnant) => remnant_changed(api, remnant),
        Woken::Pod(pod) => pod_changed(api, pod),
        Woken::Importer(pod) => importer_changed(pod),
        Woken::Claim(claim) => claim_changed(api, claim),
        Woken::Volume(volume) => volume_changed(api, volume),
        Woken::Class(_) | Woken::Capacity(_) => Wake {
            capacities: true,
            ..Wake::default()
        },
        Woken::Snapshot(snapshot) => snapshot_changed(snapshot),
        Woken::Content(content) => content_changed(content),
    }
}

fn waits<K: Resource>(object: &K, conditions: &[Condition]) -> bool {
    is_deleting(object) || !is_ready(conditions)
}

fn conditions_of_dot(dot: &Dot) -> &[Condition] {
    dot.status
        .as_ref()
        .map(|status| status.conditions.as_slice())
        .unwrap_or_default()
}

/// The Dot that an object of that namespace names.
fn named(namespace: Option<String>, dot: &str) -> Key {
    Key {
        namespace,
        name: dot.to_owned(),
    }
}

fn waiting_branches<A: Api>(api: &A, is_meant: impl Fn(&Key) -> bool) -> Vec<Key> {
    let waits = |branch: &Branch| {
        let conditions = branch
            .status
            .as_ref()
            .map(|status| status.conditions.as_slice())
            .unwrap_or_default();
        waits(branch, conditions) && is_meant(&named(branch.namespace(), &branch.spec.dot))
    };
    api.cached_where(waits)
        .iter()
        .map(|branch| Key::of(&**branch))
        .collect()
}

fn waiting_commits<A: Api>(api: &A, is_meant: impl Fn(&Key) -> bool) -> Vec<Key> {
    let found = api.cached_where(|commit| is_waiting(commit) && is_meant(&named(commit.namespace(), &commit.spec.dot)));
    let mut keys: BTreeSet<Key> = found.iter().map(|commit| Key::of(&**commit)).collect();
    keys.extend(found.iter().flat_map(|commit| waiting_fellows(api, commit)));
    keys.into_iter().collect()
}

/// Commits of its group that wait.
fn waiting_fellows<A: Api>(api: &A, commit: &Commit) -> Vec<Key> {
    if commit.spec.group.is_none() {
        return Vec::new();
    }
    let fellows = api.cached_where(|other| is_waiting(other) && group::are_fellows(commit, other));
    fellows.iter().map(|other| Key::of(&**other)).collect()
}

fn is_waiting(commit: &Commit) -> bool {
    let conditions = commit.status.as_ref().map(|status| status.conditions.as_slice());
    waits(commit, conditions.unwrap_or_default())
}

/// A Dot came, changed or went: all its Branches (volumes may have been added) and what waits for it.
pub fn dot_changed<A: Api>(api: &A, dot: &Dot) -> Wake {
    let key = Key::of(dot);
    let is_of_it = |branch: &Branch| branch.spec.dot == key.name && branch.namespace() == key.namespace;
    let branches = api.cached_where::<Branch>(is_of_it);
    let node = dot.status.as_ref().and_then(|status| status.node.clone());
    let pools = node.map_or_else(Vec::new, |node| {
        api.cached_where::<Pool>(|pool| pool.spec.node_name == node)
    });
    let mut commits = waiting_commits(api, |named| *named == key);
    commits.extend(commit_of_clone(dot.namespace(), dot.labels().get(LABEL_CLAIM_UID)));
    Wake {
        commits,
        claims: waiting_for(api, |named| *named == key),
        dots: vec![key],
        branches: branches.iter().map(|branch| Key::of(&**branch)).collect(),
        pools: pools.iter().map(|pool| Key::of(&**pool)).collect(),
        remnants: remnants_of(dot),
        published: to_publish(api, dot),
        ..Wake::default()
    }
}

/// Commits of a Dot whose VolumeSnapshots are asked for and not there, or the other way round.
fn to_publish<A: Api>(api: &A, dot: &Dot) -> Vec<Key> {
    let name = dot.name_any();
    let waits = |commit: &Commit| commit.spec.dot == name && belongs_to(commit, dot) && publish::waits(commit, dot);
    api.cached_where(waits)
        .iter()
        .map(|commit| Key::of(&**commit))
        .collect()
}

/// The Commit that may have been taken for the clone of this claim.
fn commit_of_clone(namespace: Option<String>, claim: Option<&String>) -> Option<Key> {
    claim.map(|uid| Key {
        namespace,
        name: snapshot_object(uid),
    })
}

/// Those that a Dot leaves, or takes over.
fn remnants_of(dot: &Dot) -> Vec<Key> {
    let left = is_deleting(dot).then(|| dot_id(dot));
    let all: BTreeSet<&str> = dot.spec.restore_from.as_deref().into_iter().chain(left).collect();
    all.into_iter()
        .map(|id| Key::cluster(RemnantKind::Dot.remnant(id)))
        .collect()
}

/// A Remnant came, changed or went: the Dots or Branches that leave it or want it; its node's Pool, and the Remnant that goes early
/// in its place.
pub fn remnant_changed<A: Api>(api: &A, remnant: &Remnant) -> Wake {
    let id = &remnant.spec.id;
    let is_concerned = |dot: &Dot| match remnant.spec.kind {
        RemnantKind::Dot => {
            let wants = dot.spec.restore_from.as_ref() == Some(id) && is_restoring(dot);
            wants || is_deleting(dot) && dot_id(dot) == id
        }
        // It may be the last thing that people made of a claim's Dot.
        RemnantKind::Branch => dot.labels().contains_key(LABEL_CLAIM_UID) && dot_id(dot) == remnant.spec.dot,
    };
    let concerns_branch = |branch: &Branch| {
        let recorded = branch.status.as_ref().and_then(|status| status.id.as_ref());
        let wants = branch.spec.restore_from.as_ref() == Some(id) && recorded.is_none();
        remnant.spec.kind == RemnantKind::Branch && (wants || is_deleting(branch) && recorded == Some(id))
    };
    let mut remnants = vec![Key::of(remnant)];
    remnants.extend(pool_below(api, remnant).and_then(|pool| first_to_go(api, &pool)));
    remnants.dedup();
    Wake {
        dots: api
            .cached_where(is_concerned)
            .iter()
            .map(|dot| Key::of(&**dot))
            .collect(),
        branches: api
            .cached_where(concerns_branch)
            .iter()
            .map(|branch| Key::of(&**branch))
            .collect(),
        pools: node_changed(api, &remnant.spec.node),
        remnants,
        ..Wake::default()
    }
}

/// A Branch came, changed or went: its Dot (claims wait for volumes), waiting siblings (names, references), waiting
/// Commits.
pub fn branch_changed<A: Api>(api: &A, branch: &Branch) -> Wake {
    let dot = named(branch.namespace(), &branch.spec.dot);
    let mut branches = waiting_branches(api, |named| *named == dot);
    branches.push(Key::of(branch));
    branches.dedup();
    let mut dots = restoring_beside(api, branch);
    dots.push(dot.clone());
    Wake {
        branches,
        commits: waiting_commits(api, |named| *named == dot),
        claims: waiting_for(api, |named| *named == dot),
        dots,
        remnants: remnants_of_branch(branch),
        ..Wake::default()
    }
}

/// Those that a Branch leaves, or takes over.
fn remnants_of_branch(branch: &Branch) -> Vec<Key> {
    let recorded = branch.status.as_ref().and_then(|status| status.id.as_deref());
    let left = recorded.filter(|_| is_deleting(branch));
    let all: BTreeSet<&str> = branch.spec.restore_from.as_deref().into_iter().chain(left).collect();
    let key = |id: &str| Key::cluster(RemnantKind::Branch.remnant(id));
    all.into_iter().map(key).collect()
}

/// Dots of the namespace that take data over, and may wait for the name of an object that goes.
fn restoring_beside<A: Api, K: Resource>(api: &A, object: &K) -> Vec<Key> {
    if !is_deleting(object) {
        return Vec::new();
    }
    let waits = |dot: &Dot| is_restoring(dot) && dot.meta().namespace == object.meta().namespace;
    api.cached_where(waits).iter().map(|dot| Key::of(&**dot)).collect()
}

/// A Commit came, changed or went: Branches that wait for a reference, claims that wait for it, and its group; its Dot, if that
/// waits for its initial commit or for its last commit to go.
pub fn commit_changed<A: Api>(api: &A, commit: &Commit) -> Wake {
    let dot = named(commit.namespace(), &commit.spec.dot);
    let is_automatic = commit.labels().contains_key(LABEL_AUTOMATIC);
    let is_claims = || {
        api.cached::<Dot>(&dot)
            .is_some_and(|dot| dot.labels().contains_key(LABEL_CLAIM_UID) || is_restoring(&dot))
    };
    let mut dots = restoring_beside(api, commit);
    let begins = |dot: &Dot| clones::is_awaited_of(dot, &Key::of(commit));
    dots.extend(api.cached_where(begins).iter().map(|dot| Key::of(&**dot)));
    if is_automatic || is_claims() {
        dots.push(dot.clone());
    }
    let mut commits = vec![Key::of(commit)];
    commits.extend(waiting_fellows(api, commit));
    Wake {
        dots,
        branches: waiting_branches(api, |named| *named == dot),
        commits,
        claims: waiting_for_commit(api, &Key::of(commit)),
        published: is_published(api, commit, &dot)
            .then(|| Key::of(commit))
            .into_iter()
            .collect(),
        contents: left_contents(api, commit),
        ..Wake::default()
    }
}

/// Whether VolumeSnapshots of a Commit are asked for, or were: what is there of them may have been seen before the Commit
/// was as it is now.
fn is_published<A: Api>(api: &A, commit: &Commit, dot: &Key) -> bool {
    let is_wanted = || {
        api.cached::<Dot>(dot)
            .is_some_and(|dot| publish::is_wanted(commit, &dot))
    };
    let is_there = || {
        let mut volumes = commit.status.iter().flat_map(|status| &status.volumes);
        volumes.any(|volume| {
            api.cached::<VolumeSnapshotContent>(&content_key(commit, volume))
                .is_some()
                || api.cached::<VolumeSnapshot>(&snapshot_key(commit, volume)).is_some()
        })
    };
    commit.spec.publish || publish::published_condition(commit).is_some() || is_wanted() || is_there()
}

/// What is published of a Commit that is gone.
fn left_contents<A: Api>(api: &A, commit: &Commit) -> Vec<Key> {
    let key = Key::of(commit);
    let is_there = api
        .cached::<Commit>(&key)
        .is_some_and(|found| uid(&*found) == uid(commit));
    let volumes = commit.status.iter().flat_map(|status| &status.volumes);
    let contents = volumes.map(|volume| content_key(commit, volume));
    contents
        .filter(|content| !is_there && api.cached::<VolumeSnapshotContent>(content).is_some())
        .collect()
}

/// A VolumeSnapshot that is published came, changed or went: its Commit.
fn snapshot_changed(snapshot: &VolumeSnapshot) -> Wake {
    let commit = snapshot.labels().get(LABEL_COMMIT);
    Wake {
        published: commit
            .map(|commit| named(snapshot.namespace(), commit))
            .into_iter()
            .collect(),
        ..Wake::default()
    }
}

/// A VolumeSnapshotContent that is published came, changed or went: its Commit, or itself if that is gone.
fn content_changed(content: &VolumeSnapshotContent) -> Wake {
    let commit = sweep::commit_of(content);
    Wake {
        published: commit.map(|(commit, _)| commit).into_iter().collect(),
        contents: vec![Key::of(content)],
        ..Wake::default()
    }
}

/// A Pool came, changed or went: Dots and claims of its node that wait, and what waits with them; the node's pod, which
/// asks for a Pool when there is none.
pub fn pool_changed<A: Api>(api: &A, pool: &Pool) -> Wake {
    let node = Some(pool.spec.node_name.as_str());
    let pods = api.cached_where::<Pod>(|pod| serving_node(pod) == node);
    let dots = api
        .cached_where::<Dot>(|dot| node_of(dot).as_deref() == node || clones::is_awaited_from(dot, &pool.name_any()));
    let here: BTreeSet<Key> = dots.iter().map(|dot| Key::of(&**dot)).collect();
    let mut claims = claims_placed_on(api, &pool.spec.node_name);
    claims.extend(waiting_for(api, |named| here.contains(named)));
    let waiting = dots.iter().filter(|dot| waits(&***dot, conditions_of_dot(dot)));
    let mut pools = vec![Key::of(pool)];
    pools.extend(waiting_pools(api, pool));
    Wake {
        dots: waiting.map(|dot| Key::of(&**dot)).collect(),
        branches: waiting_branches(api, |named| here.contains(named)),
        commits: waiting_commits(api, |named| here.contains(named)),
        pools,
        pods: pods.iter().map(|pod| Key::of(&**pod)).collect(),
        claims,
        remnants: waiting_remnants(api, &pool.spec.node_name),
        capacities: true,
        ..Wake::default()
    }
}

/// Other Pools of the node that wait, perhaps for this one to make room.
fn waiting_pools<A: Api>(api: &A, pool: &Pool) -> Vec<Key> {
    let waits = |other: &Pool| {
        let conditions = other.status.as_ref().map(|status| status.conditions.as_slice());
        other.spec.node_name == pool.spec.node_name
            && uid(other) != uid(pool)
            && !is_ready(conditions.unwrap_or_default())
    };
    api.cached_where(waits).iter().map(|pool| Key::of(&**pool)).collect()
}

/// Remnants of a node that are to go.
fn waiting_remnants<A: Api>(api: &A, node: &str) -> Vec<Key> {
    let waits = |remnant: &Remnant| remnant.spec.node == node && is_deleting(remnant);
    api.cached_where(waits)
        .iter()
        .map(|remnant| Key::of(&**remnant))
        .collect()
}

/// Claims that wait, and whose first pod will run on this node.
fn claims_placed_on<A: Api>(api: &A, node: &str) -> Vec<Key> {
    let waits = |claim: &PersistentVolumeClaim| {
        let selected = claim.annotations().get(ANNOTATION_SELECTED_NODE);
        selected.is_some_and(|selected| selected == node) && is_unbound(claim) && has_source(claim)
    };
    api.cached_where(waits).iter().map(|claim| Key::of(&**claim)).collect()
}

/// A csi-node pod came, changed or went: its node's Pool.
pub fn pod_changed<A: Api>(api: &A, pod: &Pod) -> Wake {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    let pools = node.map_or_else(Vec::new, |node| node_changed(api, &node));
    Wake {
        pools,
        pods: vec![Key::of(pod)],
        ..Wake::default()
    }
}

/// The Pools of a node.
pub fn node_changed<A: Api>(api: &A, node: &str) -> Vec<Key> {
    let pools = api.cached_where::<Pool>(|pool| pool.spec.node_name == node);
    pools.iter().map(|pool| Key::of(&**pool)).collect()
}

/// Who uses volumes of a node has changed: the Branches of those heads, where it was not known before all that have a
/// head; and their Dots that are to go.
pub fn users_changed<A: Api>(api: &A, node: &str, news: &NewUsers) -> Wake {
    let is_concerned = |branch: &Branch| {
        let head = branch.status.as_ref().and_then(|status| status.head.as_ref());
        head.is_some_and(|head| match news {
            NewUsers::Unknown => true,
            NewUsers::Of(heads) => heads.contains(head),
        })
    };
    let mut wake = Wake::default();
    if *news == NewUsers::Of(BTreeSet::new()) {
        return wake;
    }
    for branch in api.cached_where(is_concerned) {
        let key = named(branch.namespace(), &branch.spec.dot);
        let Some(dot) = api.cached::<Dot>(&key) else { continue };
        if node_of(&dot).as_deref() != Some(node) {
            continue;
        }
        wake.branches.push(Key::of(&*branch));
        if is_deleting(&*dot) && !wake.dots.contains(&key) {
            wake.dots.push(key);
        }
    }
    wake
}

/// A pod that fills a volume came, changed or went: its Dot.
fn importer_changed(pod: &Pod) -> Wake {
    let dot = pod.labels().get(LABEL_DOT);
    Wake {
        dots: dot.map(|dot| named(pod.namespace(), dot)).into_iter().collect(),
        ..Wake::default()
    }
}

/// A claim came, changed or went: the Dots that have an entry for it, or an import from or by it, and the Dot or Branch that
/// was made for it.
pub fn claim_changed<A: Api>(api: &A, claim: &PersistentVolumeClaim) -> Wake {
    let mut wake = holders(api, uid(claim));
    let own = Key {
        namespace: claim.namespace(),
        name: volume_object(uid(claim)),
    };
    let imports =
        |dot: &Dot| dot.meta().namespace == claim.meta().namespace && import::concerns(dot, &claim.name_any());
    let importing = api.cached_where(imports);
    wake.dots.extend(importing.iter().map(|dot| Key::of(&**dot)));
    wake.claims.push(Key::of(claim));
    if is_copy(claim) {
        wake.commits
            .extend(commit_of_clone(claim.namespace(), claim.metadata.uid.as_ref()));
    }
    wake.dots.push(own.clone());
    wake.branches.push(own);
    wake
}

/// A PersistentVolume came, changed or went: the Dots that have an entry for its claim.
pub fn volume_changed<A: Api>(api: &A, volume: &PersistentVolume) -> Wake {
    let claim = volume
        .spec
        .as_ref()
        .and_then(|spec| spec.claim_ref.as_ref())
        .and_then(|claim| claim.uid.clone());
    claim.map_or_else(Wake::default, |claim| holders(api, &claim))
}

fn holders<A: Api>(api: &A, claim: &str) -> Wake {
    let holds = |dot: &Dot| {
        dot.status
            .as_ref()
            .is_some_and(|status| status.claims.iter().any(|entry| entry.uid == claim))
    };
    Wake {
        dots: api.cached_where(holds).iter().map(|dot| Key::of(&**dot)).collect(),
        ..Wake::default()
    }
}
