//! The skin over HTTP: what stands below `kube::Client` in place of a connection.
//!
//! Knows addresses, queries, bodies and answers; what a call does is decided by [`super::objects`].

mod request;
mod watch;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use dotmesh_operator::api::{ApiError, ApiErrorKind};
use http::{Response, StatusCode, header};
use kube::core::Status;
use serde_json::{Value, json};

use super::objects::list::{Page, Selection};
use super::objects::refusal::{Refusal, bad_request, not_found};
use super::objects::stored::Object;
use super::objects::{Deleted, key_of};
use super::switches::Answer;
use super::{FakeApi, State};
use request::{Call, Request};

impl FakeApi {
    /// A client of this API.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let api = api.clone();
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect_bytes().await?;
                Ok::<_, kube::Error>(api.respond(&Request::parse(&parts, &body)))
            }
        });
        kube::Client::new(service, "default")
    }

    fn respond(&self, request: &Request) -> Response<Body> {
        let answer = self.lock().switches.answers.pop_front();
        if let Some(answer) = answer {
            return out_of_turn(&answer);
        }
        if let Call::Watch {
            selection,
            from,
            bookmarks,
        } = &request.call
        {
            return match selection {
                Ok(selection) => stream(self.watch(selection.clone(), *from, *bookmarks)),
                Err(refusal) => refused(refusal),
            };
        }
        let performed = self.perform(request.call.verb(), request.resource.kind, |state| {
            state.answer(request)
        });
        match performed {
            Ok(Ok((code, value))) => json_response(code, &value),
            Ok(Err(refusal)) => refused(&refusal),
            Err(injected) => refused(&status_of(&injected)),
        }
    }
}

impl State {
    fn answer(&mut self, request: &Request) -> Result<(StatusCode, Arc<Object>), Refusal> {
        let Request { resource, key, call } = request;
        let ok = |value| Ok((StatusCode::OK, value));
        match call {
            Call::Get => {
                let found = self.objects.get(resource.kind, key);
                ok(found.cloned().ok_or_else(|| not_found(resource, &key.name))?)
            }
            Call::List {
                selection,
                limit,
                token,
            } => {
                let selection = selection.clone()?;
                let page = self.objects.page(&selection, *limit, token.as_deref())?;
                ok(Object::new(list_of(&selection, &page)))
            }
            Call::Create(object) => {
                let mut object = object.clone();
                let namespace = key_of(&object).namespace;
                if namespace.is_some() && namespace != key.namespace {
                    return Err(bad_request("the namespace of the object does not match the request's"));
                }
                if let Some(namespace) = &key.namespace {
                    object["metadata"]["namespace"] = json!(namespace);
                }
                Ok((StatusCode::CREATED, self.create(resource, object)?))
            }
            Call::Merge(patch) => ok(self.objects.patch(resource, key, patch)?),
            Call::ApplyStatus { manager, body } => ok(self.objects.apply_status(resource, key, manager, body)?),
            Call::Delete(guard) => ok(match self.objects.delete(resource, key, guard)? {
                Deleted::Held(object) => object,
                Deleted::Gone(object) => Object::new(json!({
                    "apiVersion": "v1", "kind": "Status", "status": "Success", "metadata": {},
                    "details": {"name": key.name, "kind": resource.plural, "uid": object["metadata"]["uid"]},
                })),
            }),
            Call::Watch { .. } => unreachable!("a watch is a stream"),
        }
    }
}

fn list_of(selection: &Selection, page: &Page) -> Value {
    let resource = selection.resource();
    let mut metadata = json!({"resourceVersion": page.revision.to_string()});
    if let Some(next) = &page.next {
        metadata["continue"] = json!(next);
    }
    json!({
        "apiVersion": resource.api_version(),
        "kind": format!("{}List", resource.kind),
        "metadata": metadata,
        "items": page.items.iter().map(|item| &***item).collect::<Vec<&Value>>(),
    })
}

fn json_response(code: StatusCode, value: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = code;
    response
}

fn stream(lines: impl futures::Stream<Item = String> + Send + 'static) -> Response<Body> {
    use futures::StreamExt;
    Response::new(Body::from_stream(lines.map(Ok::<_, Infallible>)))
}

fn refused(status: &Status) -> Response<Body> {
    let mut body = json!(status);
    body["kind"] = json!("Status");
    body["apiVersion"] = json!("v1");
    json_response(code_of(status.code), &body)
}

fn code_of(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or_else(|error| panic!("{code}: {error}"))
}

fn out_of_turn(answer: &Answer) -> Response<Body> {
    let mut response = if answer.reason.is_empty() {
        json_response(code_of(answer.code), &Value::Null)
    } else {
        refused(&Status::failure("on purpose", answer.reason).with_code(answer.code))
    };
    if let Some(seconds) = answer.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The answer of a server that fails in a way that callers see as this error.
fn status_of(error: &ApiError) -> Refusal {
    let (code, reason) = match error.kind {
        ApiErrorKind::Conflict => (409, "Conflict"),
        ApiErrorKind::AlreadyExists => (409, "AlreadyExists"),
        ApiErrorKind::NotFound => (404, "NotFound"),
        ApiErrorKind::Invalid => (422, "Invalid"),
        ApiErrorKind::Forbidden => (403, "Forbidden"),
        ApiErrorKind::Unavailable => (500, "InternalError"),
    };
    Status::failure(&error.message, reason).with_code(code).boxed()
}
