//! How ZFS keeps data: in the end each volume is, on all branches, as its Dot says.

use dotmesh_crds::zfs::ZfsProperties;
use dotmesh_crds::{Branch, Dot};

use super::Oracle;

impl Oracle {
    /// In a settled world.
    pub(super) fn judge_tuning(&mut self) {
        for dot in self.typed::<Dot>() {
            let (name, uid) = (dot.metadata.name.clone(), dot.metadata.uid.clone().unwrap_or_default());
            let status = dot.status.clone().unwrap_or_default();
            if status.pool.is_none() || self.is_lost(&uid) {
                continue;
            }
            for listed in dot.spec.volumes.iter().flatten() {
                let Some(said) = &listed.zfs else { continue };
                let recorded = status.volumes.iter().find(|volume| volume.name == listed.name);
                let Some(recorded) = recorded else { continue };
                self.judge_branches(&uid, name.as_ref(), &recorded.id, said);
            }
        }
    }

    fn judge_branches(&mut self, dot: &str, name: Option<&String>, volume: &str, said: &ZfsProperties) {
        let Ok(said) = said.tuning() else { return };
        let id = self.id_of(dot);
        let is_its = |branch: &Branch| Some(&branch.spec.dot) == name;
        for branch in self.typed::<Branch>().into_iter().filter(is_its) {
            if self.is_lost(branch.metadata.uid.as_deref().unwrap_or_default()) {
                continue;
            }
            let head = branch.status.clone().and_then(|status| status.head).unwrap_or_default();
            let local = self
                .find(&format!("{id}/{head}/{volume}"))
                .map(|found| found.local.clone());
            let has = |property: &str| local.as_ref().and_then(|local| local.get(property)).cloned();
            let wanted = [
                ("compression", said.compression.as_ref().map(ToString::to_string)),
                ("sync", said.sync.map(|sync| sync.to_string())),
                ("recordsize", said.recordsize.map(|size| size.bytes().to_string())),
            ];
            for (property, wanted) in wanted {
                if wanted.is_some() && has(property) != wanted {
                    let what = format!(
                        "Branch {:?}: volume {volume} has {property} {:?} instead of {wanted:?}",
                        branch.metadata.name,
                        has(property)
                    );
                    self.violated("kept as the Dot says", what);
                }
            }
        }
    }
}
