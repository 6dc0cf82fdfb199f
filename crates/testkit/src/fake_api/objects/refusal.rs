//! Why the server does not do what it was asked for: the answers of a real one, status code and reason.

use kube::core::Status;

use super::resources::Resource;

/// What is answered instead of an object.
pub(crate) type Refusal = Box<Status>;

fn refuse(code: u16, reason: &str, message: impl AsRef<str>) -> Refusal {
    Status::failure(message.as_ref(), reason).with_code(code).boxed()
}

/// Nothing of that name.
pub(crate) fn not_found(resource: &Resource, name: &str) -> Refusal {
    refuse(
        404,
        "NotFound",
        format!("{} \"{name}\" not found", resource.qualified()),
    )
}

/// The name is taken.
pub(crate) fn already_exists(resource: &Resource, name: &str) -> Refusal {
    let message = format!("{} \"{name}\" already exists", resource.qualified());
    refuse(409, "AlreadyExists", message)
}

/// A precondition does not hold.
pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Refusal {
    let message = format!(
        "Operation cannot be fulfilled on {} \"{name}\": {why}",
        resource.qualified()
    );
    refuse(409, "Conflict", message)
}

/// The object that would be stored is not allowed.
pub(crate) fn invalid(resource: &Resource, name: &str, why: &[String]) -> Refusal {
    let message = format!("{} \"{name}\" is invalid: {}", resource.kind, why.join(", "));
    refuse(422, "Invalid", message)
}

/// The request makes no sense.
pub(crate) fn bad_request(why: impl AsRef<str>) -> Refusal {
    refuse(400, "BadRequest", why)
}

/// The server's own checks failed.
pub(crate) fn internal(why: &str) -> Refusal {
    refuse(500, "", why)
}

/// What was applied does not fit the schema, found before anything is validated: an internal error, as the server
/// calls it.
pub(crate) fn untyped(why: &[String]) -> Refusal {
    let message = format!("failed to create typed patch object: {}", why.join(", "));
    refuse(500, "", message)
}

/// The revision that was asked for is compacted.
pub(crate) fn expired() -> Refusal {
    refuse(410, "Expired", "the resource version that was asked for is too old")
}
