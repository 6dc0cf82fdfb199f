//! Locks by key, made when first asked for and forgotten when nobody has them.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

/// Above this many keys, those that nobody has are forgotten.
const PRUNE_ABOVE: usize = 256;

/// One fair read-write lock per key.
#[derive(Debug)]
pub(crate) struct KeyedLocks<K>(Mutex<HashMap<K, Weak<RwLock<()>>>>);

impl<K> Default for KeyedLocks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq> KeyedLocks<K> {
    fn of(&self, key: K) -> Arc<RwLock<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if locks.len() > PRUNE_ABOVE {
            locks.retain(|_, lock| lock.strong_count() > 0);
        }
        if let Some(lock) = locks.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::new(RwLock::new(()));
        locks.insert(key, Arc::downgrade(&lock));
        lock
    }

    /// Waits until nobody has this key exclusively.
    pub(crate) async fn shared(&self, key: K) -> OwnedRwLockReadGuard<()> {
        self.of(key).read_owned().await
    }

    /// Waits until nobody has this key.
    pub(crate) async fn exclusive(&self, key: K) -> OwnedRwLockWriteGuard<()> {
        self.of(key).write_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[tokio::test]
    async fn a_key_is_exclusive_and_others_are_free() {
        let locks = KeyedLocks::default();
        let first = locks.exclusive(1).await;
        assert!(locks.exclusive(1).now_or_never().is_none());
        assert!(locks.shared(1).now_or_never().is_none());
        assert!(locks.exclusive(2).now_or_never().is_some());
        drop(first);
        let shared = locks.shared(1).await;
        assert!(locks.shared(1).now_or_never().is_some());
        assert!(locks.exclusive(1).now_or_never().is_none());
        drop(shared);
        assert!(locks.exclusive(1).now_or_never().is_some());
    }

    #[tokio::test]
    async fn keys_that_nobody_has_are_forgotten() {
        let locks = KeyedLocks::default();
        let held = locks.exclusive(0).await;
        for key in 1..2000 {
            drop(locks.exclusive(key).await);
        }
        assert!(locks.0.lock().unwrap().len() <= PRUNE_ABOVE + 1);
        assert!(locks.exclusive(0).now_or_never().is_none());
        drop(held);
    }
}
