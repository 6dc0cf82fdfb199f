//! I2, I3, I7 and "exactly once": what may come into a pool, and what may go from it.

use dotmesh_crds::names::DEFAULT_CLASS;
use dotmesh_zfs::{FakeObject, Inventory};

use super::{Oracle, below};
use crate::machine::POOL;

impl Oracle {
    /// The devices of a machine's pool are exchanged for their copy, or back: what comes and goes by that is nobody's
    /// doing. Copies are made before anything is destroyed with other tools.
    pub fn pool_is_exchanged(&mut self, index: usize, exchange: impl FnOnce()) {
        self.look(true);
        exchange();
        self.pools[index] = self.inventory(index);
        self.lost.clear();
        self.stands_in = if self.stands_in.is_none() { Some(index) } else { None };
    }

    /// Somebody destroys with other tools what is behind the objects of these uids: that is not ours.
    pub fn is_destroyed(&mut self, index: usize, uids: Vec<String>, destroy: impl FnOnce()) {
        self.look(true);
        destroy();
        self.pools[index] = self.inventory(index);
        self.lost.extend(uids);
    }

    fn inventory(&self, index: usize) -> Inventory {
        self.machines[index].zfs.inventory_after(&self.pools[index])
    }

    pub(super) fn look_at_pools(&mut self) {
        let mut lost = false;
        for index in 0..self.machines.len() {
            let now = self.inventory(index);
            let before = std::mem::replace(&mut self.pools[index], now.clone());
            for change in now.changes(&before) {
                match change {
                    (was, is) if self.stands_in == Some(index) => {
                        let what = match (was, is) {
                            (Some(object), None) | (None, Some(object)) => &object.name,
                            _ => continue,
                        };
                        let what = format!("{what} was made or destroyed in a pool that was taken back");
                        self.violated("a pool that was taken back is left alone", what);
                    }
                    (Some(gone), None) => {
                        lost = true;
                        self.judge_gone(gone);
                    }
                    (None, Some(new)) => {
                        self.judge_new(index, &new.name);
                        self.judge_adopted(new);
                    }
                    (Some(was), Some(is)) => self.judge_written(was, is),
                    (None, None) => {}
                }
            }
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
        let Some(name) = below(&object.name) else {
            self.violated("I7 nothing of others", format!("{} was destroyed", object.name));
            return;
        };
        let (dataset, snap) = match name.split_once('@') {
            Some((dataset, snap)) => (dataset, Some(snap)),
            None => (name, None),
        };
        let mut parts = dataset.split('/');
        let (dot, head) = (parts.next().unwrap_or_default(), parts.next());
        let allowed = self.may_end(dot)
            || match (snap, head) {
                (Some(commit), _) => self.ends.contains(commit),
                (None, Some(head)) => self.may_end(head),
                (None, None) => false,
            };
        if !allowed {
            self.violated("I2 nothing else is destroyed", format!("{name} was destroyed"));
        }
    }

    /// Everything is made once on a node.
    fn judge_new(&mut self, index: usize, name: &str) {
        let times = self.made.entry((index, name.to_owned())).or_default();
        *times += 1;
        if *times > 1 {
            self.violated("exactly once", format!("{name} was made again"));
        }
        let Some(dot) = below(name).filter(|rest| !rest.contains(['/', '@'])) else {
            return;
        };
        if self.find_all(dot).count() > 1 {
            self.violated("I3 one node", format!("{name} lies in two pools"));
        }
        self.judge_class(name, dot);
    }

    /// A Dot lies in the pool of the class that it asks for.
    fn judge_class(&mut self, name: &str, dot: &str) {
        let mut dots = self.server.all("Dot").into_iter();
        let Some(object) = dots.find(|object| object["metadata"]["uid"] == dot) else {
            return;
        };
        let zpool = match object["spec"]["placement"]["poolClass"].as_str() {
            None | Some(DEFAULT_CLASS) => POOL.to_owned(),
            Some(class) => format!("{POOL}-{class}"),
        };
        if !name.starts_with(&format!("{zpool}/")) {
            self.violated("a Dot lies on its class", format!("{name} is to be in {zpool}"));
        }
    }

    /// I2: nothing that was written to a live head is taken back.
    fn judge_written(&mut self, was: &FakeObject, is: &FakeObject) {
        let name = &is.name;
        self.judge_quota(was, is);
        let mut parts = below(name).unwrap_or_default().split('/');
        let (dot, head) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if was.written > is.written && !self.may_end(dot) && !self.may_end(head) {
            let what = format!("{name} lost what was written to it");
            self.violated("I2 nothing else is destroyed", what);
        }
    }
}
