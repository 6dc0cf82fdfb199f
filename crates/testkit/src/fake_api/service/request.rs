//! A request over HTTP as a call. Whatever nobody of us sends is a panic that shows it.

use std::collections::BTreeMap;

use dotmesh_operator::api::{Guard, Key};
use http::Method;
use http::request::Parts;
use serde_json::Value;

use super::super::objects::list::Selection;
use super::super::objects::refusal::Refusal;
use super::super::objects::resources::Resource;

/// A call of one kind.
pub(super) struct Request {
    pub(super) resource: &'static Resource,
    /// Without a name where the call is of many objects.
    pub(super) key: Key,
    pub(super) call: Call,
}

pub(super) enum Call {
    Get,
    List {
        selection: Result<Selection, Refusal>,
        limit: Option<usize>,
        token: Option<String>,
    },
    Watch {
        selection: Result<Selection, Refusal>,
        from: u64,
        bookmarks: bool,
    },
    Create(Value),
    Merge(Value),
    ApplyStatus {
        manager: String,
        body: Value,
    },
    Delete(Guard),
}

impl Call {
    /// As in [`super::super::Fault`].
    pub(super) const fn verb(&self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List { .. } => "list",
            Self::Watch { .. } => "watch",
            Self::Create(_) => "create",
            Self::Merge(_) => "patch",
            Self::ApplyStatus { .. } => "apply_status",
            Self::Delete(_) => "delete",
        }
    }
}

struct Address<'a> {
    resource: &'static Resource,
    key: Key,
    subresource: Option<&'a str>,
}

impl<'a> Address<'a> {
    /// `/api/v1/…` or `/apis/<group>/<version>/…`, then a namespace, a kind, a name, a subresource.
    fn parse(path: &'a str) -> Option<Self> {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [plural] => (plural, "", None),
            [plural, name] => (plural, *name, None),
            [plural, name, subresource] => (plural, *name, Some(*subresource)),
            _ => return None,
        };
        Some(Self {
            resource: Resource::at(group, version, plural)?,
            key: Key {
                namespace,
                name: name.to_owned(),
            },
            subresource,
        })
    }
}

impl Request {
    /// # Panics
    /// When the request is of a form that the fake does not know.
    pub(super) fn parse(parts: &Parts, body: &[u8]) -> Self {
        let shown = || format!("{} {}\n{}", parts.method, parts.uri, String::from_utf8_lossy(body));
        Self::try_parse(parts, body).unwrap_or_else(|| panic!("the fake API does not know the request {}", shown()))
    }

    fn try_parse(parts: &Parts, body: &[u8]) -> Option<Self> {
        let Address {
            resource,
            key,
            subresource,
        } = Address::parse(parts.uri.path())?;
        let mut query = Query::parse(parts.uri.query().unwrap_or_default());
        let is_one = !key.name.is_empty();
        let content = parts
            .headers
            .get(http::header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let call = match (&parts.method, is_one, subresource) {
            (&Method::GET, true, None) => Call::Get,
            (&Method::GET, false, None) => many(resource, &key, &mut query)?,
            (&Method::POST, false, None) => {
                query.take("fieldManager");
                Call::Create(json_of(body)?)
            }
            (&Method::PATCH, true, None) if content == Some("application/merge-patch+json") => {
                query.take("fieldManager");
                Call::Merge(json_of(body)?)
            }
            (&Method::PATCH, true, Some("status")) if content == Some("application/apply-patch+yaml") => {
                query.take("force").filter(|force| force == "true")?;
                Call::ApplyStatus {
                    manager: query.take("fieldManager")?,
                    body: json_of(body)?,
                }
            }
            (&Method::DELETE, true, None) => Call::Delete(guard_of(body)?),
            _ => return None,
        };
        query.is_empty().then_some(Self { resource, key, call })
    }
}

fn many(resource: &'static Resource, key: &Key, query: &mut Query) -> Option<Call> {
    let labels = query.take("labelSelector").unwrap_or_default();
    let fields = query.take("fieldSelector").unwrap_or_default();
    let selection = Selection::new(resource, key.namespace.as_deref(), &labels, &fields);
    let revision = query.take("resourceVersion").filter(|revision| revision != "0");
    if query.take("watch").is_some_and(|watch| watch == "true") {
        query.take("timeoutSeconds");
        return Some(Call::Watch {
            selection,
            from: revision?.parse().ok()?,
            bookmarks: query.take("allowWatchBookmarks").is_some_and(|wanted| wanted == "true"),
        });
    }
    revision.is_none().then_some(Call::List {
        selection,
        limit: query.take("limit").and_then(|limit| limit.parse().ok()),
        token: query.take("continue"),
    })
}

/// Deletion in the background, perhaps with preconditions.
fn guard_of(body: &[u8]) -> Option<Guard> {
    if body.is_empty() {
        return Some(Guard::default());
    }
    let options = json_of(body)?;
    let known = ["apiVersion", "kind", "propagationPolicy", "preconditions"];
    let is_known = options.as_object()?.keys().all(|name| known.contains(&name.as_str()));
    let in_background = matches!(options["propagationPolicy"].as_str(), None | Some("Background"));
    let text = |name: &str| options["preconditions"][name].as_str().map(str::to_owned);
    (is_known && in_background).then(|| Guard {
        uid: text("uid"),
        resource_version: text("resourceVersion"),
    })
}

fn json_of(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body).ok()
}

/// What a request asks for behind `?`.
struct Query(BTreeMap<String, String>);

impl Query {
    fn parse(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self(pairs.into_owned().collect())
    }

    fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
