//! What is asked of the CSI's lists. They are in the order of ids, and a token is the last id of the page before: whatever
//! comes or goes between two pages, nothing is told twice and nothing left out that was there all the time.

use tonic::Status;

use crate::csi::ListSnapshotsRequest;

/// Which part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// What comes behind this id; empty: from the beginning.
    after: String,
    /// At most so many.
    most: usize,
}

impl Page {
    /// The part that a request asks for, whose tokens are ids of this type.
    ///
    /// # Errors
    /// A token that no page ended with is `ABORTED`: the caller is to begin anew (CSI, ListVolumes).
    pub fn parse<T: std::str::FromStr>(max_entries: i32, token: String) -> Result<Self, Status> {
        let most = usize::try_from(max_entries).map_err(|_| Status::invalid_argument("max_entries is negative"))?;
        if !token.is_empty() && token.parse::<T>().is_err() {
            return Err(Status::aborted(format!(
                "starting_token {token:?} is none that was given; begin without one"
            )));
        }
        Ok(Self {
            after: token,
            most: if most == 0 { usize::MAX } else { most },
        })
    }

    /// The part, and the token of the next one; empty: it is the last.
    #[must_use]
    pub fn cut<T>(&self, mut all: Vec<(String, T)>) -> (Vec<T>, String) {
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.retain(|(id, _)| *id > self.after);
        let is_last = all.len() <= self.most;
        all.truncate(self.most);
        let next = all.last().filter(|_| !is_last).map(|(id, _)| id.clone());
        (all.into_iter().map(|(_, one)| one).collect(), next.unwrap_or_default())
    }
}

/// Which snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFilter {
    /// The one of this id.
    pub id: Option<String>,
    /// Those of this volume.
    source: Option<String>,
    /// Of those this part.
    pub page: Page,
}

impl SnapshotFilter {
    /// What a request asks for; tokens are ids of this type.
    ///
    /// # Errors
    /// Those of [`Page::parse`].
    pub fn parse<T: std::str::FromStr>(request: ListSnapshotsRequest) -> Result<Self, Status> {
        let is_said = |text: &String| !text.is_empty();
        Ok(Self {
            id: Some(request.snapshot_id).filter(is_said),
            source: Some(request.source_volume_id).filter(is_said),
            page: Page::parse::<T>(request.max_entries, request.starting_token)?,
        })
    }

    /// Whether a snapshot of a volume is one of them. An id has one spelling.
    #[must_use]
    pub fn takes(&self, id: &impl ToString, source: &impl ToString) -> bool {
        let is_it = |wanted: &Option<String>, text: String| wanted.as_ref().is_none_or(|wanted| *wanted == text);
        is_it(&self.id, id.to_string()) && is_it(&self.source, source.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_go_on_behind_the_last_id_whatever_came_or_went() {
        let all = |ids: &[&str]| {
            ids.iter()
                .map(|id| ((*id).to_owned(), (*id).to_owned()))
                .collect::<Vec<_>>()
        };
        let page = |after: &str, most| Page {
            after: after.to_owned(),
            most,
        };
        let (first, next) = page("", 2).cut(all(&["d", "a", "c"]));
        assert_eq!((first, next.as_str()), (vec!["a".to_owned(), "c".to_owned()], "c"));
        let (rest, next) = page("c", 2).cut(all(&["b", "d", "e"]));
        assert_eq!((rest, next.as_str()), (vec!["d".to_owned(), "e".to_owned()], ""));
        let (none, next) = page("x", 2).cut(all(&["b"]));
        assert_eq!((none.len(), next.as_str()), (0, ""));
    }

    #[test]
    fn a_token_is_an_id_and_nothing_else() {
        let page = |max, token: &str| Page::parse::<u32>(max, token.to_owned());
        assert_eq!(page(0, "").unwrap().most, usize::MAX);
        assert_eq!(page(-1, "").unwrap_err().code(), tonic::Code::InvalidArgument);
        assert_eq!(page(0, "invalid-token").unwrap_err().code(), tonic::Code::Aborted);
    }
}
