//! The end of a run: what watches from its beginning show, and nothing left behind.

use dotmesh_operator::api::{Api, Guard};
use futures::StreamExt;
use kube::api::{WatchEvent, WatchParams};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::kinds::of_kind;
use super::super::normal::{Line, rank};
use super::super::operation::{Object, Subject};
use super::{LABEL, PATIENCE, Session};

/// The last object of each kind that a watch shows.
const LAST: &str = "zzz";

impl Session {
    /// What watches from the beginning show; then everything goes.
    pub(in super::super) async fn end(mut self) -> Vec<Line> {
        let subjects: Vec<_> = self.begun.keys().copied().collect();
        for &subject in &subjects {
            let last = Object(subject, LAST);
            of_kind!(subject, K => self.create::<K>(last, &json!({})).await);
            self.watch(subject).await;
        }
        let known: Vec<_> = self.known.keys().copied().collect();
        let lasts = subjects.into_iter().map(|subject| Object(subject, LAST));
        for object in known.into_iter().chain(lasts) {
            let key = self.key(object);
            of_kind!(object.0, K => {
                let free = json!({"metadata": {"finalizers": null}});
                let _ = self.api.patch::<K>(&key, &Guard::default(), free).await;
                let _ = self.api.delete::<K>(&key, &Guard::default()).await;
            });
        }
        rank(&mut self.lines);
        self.lines
    }

    async fn watch(&mut self, subject: Subject) {
        let params = WatchParams::default()
            .labels(&format!("{LABEL}={}", self.stage.run))
            .timeout(20);
        let request = self.request_of(subject).watch(&params, &self.begun[&subject]);
        let request = request.unwrap_or_else(|error| panic!("{error}"));
        let events = self.plain.request_events::<Value>(request).await;
        let mut events = std::pin::pin!(events.unwrap_or_else(|error| panic!("{error}")));
        loop {
            let next = timeout(PATIENCE, events.next()).await;
            let event = next.unwrap_or_else(|_| panic!("no more events of {subject:?}"));
            let (what, object) = match event {
                Some(Ok(WatchEvent::Added(object))) => ("added", object),
                Some(Ok(WatchEvent::Modified(object))) => ("modified", object),
                Some(Ok(WatchEvent::Deleted(object))) => ("deleted", object),
                other => panic!("a watch of {subject:?} says {other:?}"),
            };
            let is_last = object["metadata"]["name"] == json!(self.key(Object(subject, LAST)).name);
            self.lines.push(Line {
                call: format!("watch {subject:?}: {what}"),
                code: 200,
                reason: String::new(),
                kind: None,
                value: self.names.normal(&object),
            });
            if is_last {
                return;
            }
        }
    }
}
