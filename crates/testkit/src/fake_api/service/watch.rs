//! A watch: changes after a revision, one JSON document a line, until somebody ends it.

use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};

use super::super::objects::list::Selection;
use super::super::objects::log::Change;
use super::super::objects::refusal::expired;
use super::super::{FakeApi, State};

/// How far a watch has come.
struct Position {
    api: FakeApi,
    selection: Selection,
    revision: u64,
    round: u64,
    /// Bookmarks sent so far; absent: not wanted.
    bookmarks: Option<u64>,
    ended: bool,
}

impl FakeApi {
    pub(super) fn watch(
        &self,
        selection: Selection,
        from: u64,
        bookmarks: bool,
    ) -> impl Stream<Item = String> + Send + use<> {
        let state = self.lock();
        let position = Position {
            api: self.clone(),
            selection,
            revision: from,
            round: state.switches.round,
            bookmarks: bookmarks.then_some(state.switches.bookmarks),
            ended: false,
        };
        stream::unfold(position, async |mut position| {
            position.next().await.map(|lines| (lines, position))
        })
        .flat_map(stream::iter)
    }
}

impl Position {
    /// What is new; waits for it. Absent: the watch has ended.
    async fn next(&mut self) -> Option<Vec<String>> {
        loop {
            if self.ended {
                return None;
            }
            let seen = self.api.changes_so_far();
            let api = self.api.clone();
            let lines = self.look(&api.lock());
            if !lines.is_empty() || self.ended {
                return Some(lines);
            }
            self.api.changes(seen).await;
        }
    }

    fn look(&mut self, state: &State) -> Vec<String> {
        let Some(changes) = state.objects.log().since(self.revision) else {
            self.ended = true;
            let mut status = json!(expired());
            status["kind"] = json!("Status");
            return vec![line("ERROR", &status)];
        };
        let mut lines: Vec<_> = changes
            .iter()
            .filter_map(|change| {
                let (kind, object) = seen(&self.selection, change)?;
                Some(line(kind, object))
            })
            .collect();
        self.revision = state.objects.version();
        if let Some(sent) = &mut self.bookmarks {
            let due = state.switches.bookmarks - *sent;
            *sent = state.switches.bookmarks;
            let resource = self.selection.resource();
            let bookmark = json!({
                "apiVersion": resource.api_version(),
                "kind": resource.kind,
                "metadata": {"resourceVersion": self.revision.to_string(), "creationTimestamp": null},
            });
            lines.extend((0..due).map(|_| line("BOOKMARK", &bookmark)));
        }
        self.ended = state.switches.round != self.round;
        lines
    }
}

/// How a watch of a selection sees a change: objects come and go with their labels and fields.
fn seen<'a>(selection: &Selection, change: &'a Change) -> Option<(&'static str, &'a Value)> {
    let before = change.before.as_ref();
    let was = before.is_some_and(|before| selection.has(change.kind, before));
    let is = !change.gone && selection.has(change.kind, &change.object);
    let kind = match (was, is) {
        (false, false) => return None,
        (false, true) => "ADDED",
        (true, true) => "MODIFIED",
        (true, false) => "DELETED",
    };
    Some((kind, &**change.object))
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}
