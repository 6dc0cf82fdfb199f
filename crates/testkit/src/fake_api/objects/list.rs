//! Which objects a list or a watch asks for, and lists in pages that all show one revision.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::refusal::{Refusal, bad_request, expired};
use super::resources::Resource;
use super::stored::Object;
use super::{Objects, Stored, key_of};

/// What a list or a watch asks for.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    resource: &'static Resource,
    namespace: Option<String>,
    /// Label and value; without a value: that it is there.
    labels: Vec<(String, Option<String>)>,
    fields: Vec<(String, String)>,
}

/// A part of a list.
#[derive(Debug)]
pub(crate) struct Page {
    /// In order of namespace and name.
    pub(crate) items: Vec<Arc<Object>>,
    /// That the whole list shows.
    pub(crate) revision: u64,
    /// Asks for the next page.
    pub(crate) next: Option<String>,
}

fn terms(selector: &str) -> impl Iterator<Item = &str> {
    selector.split(',').filter(|term| !term.is_empty())
}

impl Selection {
    /// Of a kind, in one namespace or in all, with selectors as in a request's query.
    ///
    /// # Errors
    /// When objects cannot be selected by such a field.
    ///
    /// # Panics
    /// When a selector is of a form that nobody needed yet.
    pub(crate) fn new(
        resource: &'static Resource,
        namespace: Option<&str>,
        labels: &str,
        fields: &str,
    ) -> Result<Self, Refusal> {
        let equality = |term: &str| {
            assert!(
                !term.contains('!') && !term.contains(' ') && !term.contains('('),
                "the fake API does not know the selector {term:?}"
            );
            let pair = term.split_once('=');
            pair.map_or((term.to_owned(), None), |(name, value)| {
                (name.to_owned(), Some(value.trim_start_matches('=').to_owned()))
            })
        };
        let fields: Vec<_> = terms(fields)
            .map(equality)
            .map(|(name, value)| (name, value.unwrap_or_default()))
            .collect();
        let known =
            |name: &str| matches!(name, "metadata.name" | "metadata.namespace") || resource.fields.contains(&name);
        if let Some((name, _)) = fields.iter().find(|(name, _)| !known(name)) {
            return Err(bad_request(format!("field label not supported: {name}")));
        }
        Ok(Self {
            resource,
            namespace: namespace.map(str::to_owned),
            labels: terms(labels).map(equality).collect(),
            fields,
        })
    }

    /// Of which kind.
    pub(crate) fn resource(&self) -> &'static Resource {
        self.resource
    }

    /// Whether an object of any kind is asked for.
    pub(crate) fn has(&self, kind: &str, object: &Value) -> bool {
        let text = |path: &str| object.pointer(path).and_then(Value::as_str);
        let namespace = || text("/metadata/namespace");
        let labels = &object["metadata"]["labels"];
        kind == self.resource.kind
            && self
                .namespace
                .as_deref()
                .is_none_or(|wanted| namespace() == Some(wanted))
            && self.labels.iter().all(|(name, wanted)| {
                let value = labels[name].as_str();
                value.is_some() && wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
            })
            && self
                .fields
                .iter()
                .all(|(path, wanted)| text(&format!("/{}", path.replace('.', "/"))).unwrap_or_default() == wanted)
    }
}

impl Objects {
    /// All objects that are asked for.
    pub(crate) fn select<'a>(&'a self, selection: &'a Selection) -> impl Iterator<Item = &'a Arc<Object>> {
        let kind = selection.resource.kind;
        self.list(kind).filter(move |object| selection.has(kind, object))
    }

    /// At most `limit` of them, from where `token` says.
    ///
    /// # Errors
    /// When the list that the token continues is compacted.
    ///
    /// # Panics
    /// When the token was not made here.
    pub(crate) fn page(
        &self,
        selection: &Selection,
        limit: Option<usize>,
        token: Option<&str>,
    ) -> Result<Page, Refusal> {
        let continued = token.map(|token| {
            let parts = token
                .split_once(':')
                .and_then(|(at, after)| Some((at.parse().ok()?, after)));
            parts.unwrap_or_else(|| panic!("not a continue token of the fake API: {token}"))
        });
        let revision = continued.map_or(self.version, |(revision, _)| revision);
        let shown = self.at(revision).ok_or_else(expired)?;
        let position = |object: &Value| key_of(object).to_string();
        let rest: Vec<_> = shown
            .into_values()
            .flat_map(BTreeMap::into_values)
            .filter(|object| selection.has(object["kind"].as_str().unwrap_or_default(), object))
            .skip_while(|object| continued.is_some_and(|(_, after)| position(object) != after))
            .skip(usize::from(continued.is_some()))
            .collect();
        let items: Vec<_> = rest.iter().take(limit.unwrap_or(usize::MAX)).cloned().collect();
        let last = items.last().filter(|_| items.len() < rest.len());
        Ok(Page {
            next: last.map(|last| format!("{revision}:{}", position(last))),
            items,
            revision,
        })
    }

    /// The objects as they were; absent when that is compacted.
    fn at(&self, revision: u64) -> Option<Stored> {
        let mut objects = self.objects.clone();
        for change in self.log.since(revision)?.iter().rev() {
            let ours = objects.entry(change.kind).or_default();
            match &change.before {
                Some(before) => ours.insert(change.key.clone(), before.clone()),
                None => ours.remove(&change.key),
            };
        }
        Some(objects)
    }
}
