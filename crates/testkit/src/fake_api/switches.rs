//! What goes wrong on the way to the API: answers out of turn, watches that end, a log that is compacted; and garbage
//! that lies about for a while, as it does where the collector has much to do.

use std::collections::VecDeque;

use super::FakeApi;

/// An answer that has nothing to do with what was asked.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// As in a `Status`; empty: the body is none.
    pub reason: &'static str,
    /// Seconds, as the header says.
    pub retry_after: Option<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Switches {
    pub(super) answers: VecDeque<Answer>,
    /// Watches of earlier rounds have ended.
    pub(super) round: u64,
    /// Asked for so often; each watch sends one for each time.
    pub(super) bookmarks: u64,
}

impl FakeApi {
    /// The next request over HTTP gets this answer, and nothing happens.
    pub fn answer_next(&self, answer: Answer) {
        self.lock().switches.answers.push_back(answer);
    }

    /// All watches over HTTP end, as they do from time to time.
    pub fn end_watches(&self) {
        self.lock().switches.round += 1;
        self.notify();
    }

    /// All watches over HTTP that asked for bookmarks get one.
    pub fn send_bookmarks(&self) {
        self.lock().switches.bookmarks += 1;
        self.notify();
    }

    /// What changed so far is forgotten: watches and lists that would continue from before get 410.
    pub fn compact(&self) {
        self.lock().objects.compact();
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.lock().objects.version()
    }

    /// From now on what has lost its owners stays until [`FakeApi::collect_garbage`].
    pub fn collect_garbage_later(&self) {
        self.lock().objects.collect_later();
    }

    /// Whether something may have lost its owners.
    pub fn has_garbage(&self) -> bool {
        self.lock().objects.has_garbage()
    }

    /// What has lost its owners goes now. Whether anything did.
    pub fn collect_garbage(&self) -> bool {
        let mut state = self.lock();
        let before = state.objects.version();
        state.objects.collect_garbage();
        let has_changed = state.objects.version() > before;
        drop(state);
        if has_changed {
            self.notify();
        }
        has_changed
    }
}
