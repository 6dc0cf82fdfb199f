//! Work that is done for many at once: while some are served, others gather, and whoever is next does the work of all
//! who wait.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::locks::KeyedLocks;

/// Something to be done, of which several can be done together.
pub(super) trait Item {
    /// How much is together already.
    type Load: Default;

    /// Adds itself; false: there is no room for it.
    fn add(&self, load: &mut Self::Load) -> bool;
}

#[derive(Debug)]
struct Waiting<T, A> {
    item: T,
    answer: oneshot::Sender<A>,
}

/// What waits to be done, by what can be done together.
#[derive(Debug)]
pub(super) struct Gather<K, T, A> {
    waiting: Mutex<HashMap<K, Vec<Waiting<T, A>>>>,
    turns: KeyedLocks<K>,
}

impl<K, T, A> Default for Gather<K, T, A> {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            turns: KeyedLocks::default(),
        }
    }
}

impl<K: Hash + Eq + Copy, T: Item, A> Gather<K, T, A> {
    /// Has it done, together with what else waits under this key. `serve` gives an answer for each, in their order.
    /// Nothing: whoever did it was given up at its deadline, and the effect is unknown.
    pub(super) async fn join<F>(&self, key: K, item: T, serve: impl Fn(Vec<T>) -> F + Send) -> Option<A>
    where
        F: Future<Output = Vec<A>> + Send,
    {
        let (answer, mut answered) = oneshot::channel();
        self.lock().entry(key).or_default().push(Waiting { item, answer });
        let _turn = self.turns.exclusive(key).await;
        loop {
            match answered.try_recv() {
                Ok(answer) => return Some(answer),
                Err(TryRecvError::Closed) => return None,
                Err(TryRecvError::Empty) => {}
            }
            let (items, answers): (Vec<T>, Vec<_>) =
                self.next(key).into_iter().map(|one| (one.item, one.answer)).unzip();
            for (to, answer) in answers.into_iter().zip(serve(items).await) {
                // A caller that gave up meanwhile finds what was done when it repeats.
                let _ = to.send(answer);
            }
        }
    }

    /// As many as go together, the longest waiting first; those whose caller is gone are left out.
    fn next(&self, key: K) -> Vec<Waiting<T, A>> {
        let mut all = self.lock();
        let Some(waiting) = all.get_mut(&key) else {
            return Vec::new();
        };
        waiting.retain(|one| !one.answer.is_closed());
        let mut load = T::Load::default();
        let fit = waiting.iter().take_while(|one| one.item.add(&mut load)).count();
        let next = waiting.drain(..fit).collect();
        if waiting.is_empty() {
            all.remove(&key);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Vec<Waiting<T, A>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    struct Number(u32);

    impl Item for Number {
        type Load = u32;

        fn add(&self, load: &mut u32) -> bool {
            *load += 1;
            *load <= 3
        }
    }

    #[tokio::test]
    async fn those_who_wait_are_served_together_and_each_gets_its_own_answer() {
        let gather = Gather::<u8, Number, u32>::default();
        let served = Mutex::new(Vec::new());
        let gate = Arc::new(Semaphore::new(0));
        let join = |key, number| {
            gather.join(key, Number(number), |items| {
                let numbers: Vec<u32> = items.into_iter().map(|one| one.0).collect();
                served.lock().unwrap().push(numbers.clone());
                let gate = Arc::clone(&gate);
                async move {
                    gate.acquire().await.unwrap().forget();
                    numbers.into_iter().map(|number| number * 10).collect()
                }
            })
        };
        let answers = async {
            let one = futures::future::join_all((1..=5).map(|number| join(0, number)));
            futures::join!(one, join(1, 9))
        };
        let (answers, ()) = futures::join!(answers, async { gate.add_permits(4) });
        assert_eq!(answers, ((1..=5).map(|number| Some(number * 10)).collect(), Some(90)));
        let mut served = served.into_inner().unwrap();
        served.sort();
        assert_eq!(served, [vec![1], vec![2, 3, 4], vec![5], vec![9]]);
        assert!(gather.lock().is_empty());
    }

    #[tokio::test]
    async fn who_gave_up_is_left_out_and_whoever_is_next_serves() {
        let gather = Gather::<u8, Number, u32>::default();
        let never = |_: Vec<Number>| futures::future::pending::<Vec<u32>>();
        let echo = |items: Vec<Number>| async move { items.into_iter().map(|one| one.0).collect() };
        let mut first = Box::pin(gather.join(0, Number(1), never));
        assert!(futures::poll!(&mut first).is_pending());
        let mut second = Box::pin(gather.join(0, Number(2), echo));
        let mut third = Box::pin(gather.join(0, Number(3), echo));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(futures::poll!(&mut third).is_pending());
        drop((first, second));
        assert_eq!(third.await, Some(3));
    }

    #[tokio::test]
    async fn who_is_served_by_somebody_that_gives_up_gets_no_answer() {
        let gather = Gather::<u8, Number, u32>::default();
        let turn = gather.turns.exclusive(0).await;
        let never = |_: Vec<Number>| futures::future::pending::<Vec<u32>>();
        let mut first = Box::pin(gather.join(0, Number(1), never));
        let mut second = Box::pin(gather.join(0, Number(2), never));
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending());
        drop(turn);
        assert!(futures::poll!(&mut first).is_pending());
        drop(first);
        assert_eq!(second.await, None);
    }
}
