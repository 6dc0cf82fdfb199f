//! I2, I3, I7 and "exactly once": what may come into a pool, and what may go from it.

use std::collections::BTreeMap;

use dotmesh_zfs::FakeObject;

use super::{Oracle, ROOT};

impl Oracle {
    /// The devices of a machine's pool are exchanged for their copy, or back: what comes and goes by that is nobody's
    /// doing.
    pub fn pool_is_exchanged(&mut self, index: usize, exchange: impl FnOnce()) {
        self.look(true);
        exchange();
        self.pools[index] = self.inventory(index);
        self.stands_in = if self.stands_in.is_none() { Some(index) } else { None };
    }

    fn inventory(&self, index: usize) -> BTreeMap<String, FakeObject> {
        let found = self.machines[index].zfs.inventory().into_iter();
        found.map(|object| (object.name.clone(), object)).collect()
    }

    pub(super) fn look_at_pools(&mut self) {
        let mut lost = false;
        for index in 0..self.machines.len() {
            let now = self.inventory(index);
            let before = std::mem::replace(&mut self.pools[index], now);
            let gone: Vec<FakeObject> = before
                .iter()
                .filter(|(name, _)| !self.pools[index].contains_key(*name))
                .map(|(_, object)| object.clone())
                .collect();
            let new: Vec<String> = self.pools[index]
                .keys()
                .filter(|name| !before.contains_key(*name))
                .cloned()
                .collect();
            if self.stands_in == Some(index) {
                for name in gone.iter().map(|object| &object.name).chain(&new) {
                    let what = format!("{name} was made or destroyed in a pool that was taken back");
                    self.violated("a pool that was taken back is left alone", what);
                }
                continue;
            }
            lost |= !gone.is_empty();
            for object in gone {
                self.judge_gone(&object);
            }
            for name in new {
                self.judge_new(index, name);
            }
            self.judge_written(index, &before);
        }
        if lost
            || self
                .machines
                .iter()
                .any(|machine| !machine.zfs.destroyed_while_mounted().is_empty())
        {
            self.check_all_commits();
        }
    }

    /// I2: only the deletion of that very id takes it away.
    fn judge_gone(&mut self, object: &FakeObject) {
        let Some(name) = object.name.strip_prefix(ROOT) else {
            self.violated("I7 nothing of others", format!("{} was destroyed", object.name));
            return;
        };
        let (dataset, snap) = match name.split_once('@') {
            Some((dataset, snap)) => (dataset, Some(snap)),
            None => (name, None),
        };
        let mut parts = dataset.split('/');
        let (dot, head) = (parts.next().unwrap_or_default(), parts.next());
        let allowed = self.is_requested(dot)
            || match (snap, head) {
                (Some(commit), _) => self.is_requested(commit),
                (None, Some(head)) => self.is_requested(head),
                (None, None) => false,
            };
        if !allowed {
            self.violated("I2 nothing else is destroyed", format!("{name} was destroyed"));
        }
    }

    /// Everything is made once on a node.
    fn judge_new(&mut self, index: usize, name: String) {
        let times = self.made.entry((index, name.clone())).or_default();
        *times += 1;
        if *times > 1 {
            self.violated("exactly once", format!("{name} was made again"));
        }
        let dot = name.strip_prefix(ROOT).filter(|rest| !rest.contains(['/', '@']));
        if dot.is_some() && self.pools.iter().filter(|pool| pool.contains_key(&name)).count() > 1 {
            self.violated("I3 one node", format!("{name} lies on two nodes"));
        }
    }

    /// I2: nothing that was written to a live head is taken back.
    fn judge_written(&mut self, index: usize, before: &BTreeMap<String, FakeObject>) {
        let mut wrong = Vec::new();
        for (name, object) in &self.pools[index] {
            let lost = before.get(name).is_some_and(|before| before.written > object.written);
            let mut parts = name.strip_prefix(ROOT).unwrap_or_default().split('/');
            let (dot, head) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            if lost && !self.is_requested(dot) && !self.is_requested(head) {
                wrong.push(format!("{name} lost what was written to it"));
            }
        }
        for what in wrong {
            self.violated("I2 nothing else is destroyed", what);
        }
    }
}
