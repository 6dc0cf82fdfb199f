//! The CSI controller socket for csi-provisioner and csi-resizer.
//!
//! Calls write our objects and wait for their status; the controllers do the work, whoever leads. A repeated call
//! finds what an earlier one wrote, so any replica may serve it and a caller may give up at any time. "Absent" is
//! concluded from consistent reads only. Clauses: Container Storage Interface 1.12, external-provisioner's and
//! external-resizer's reading.

pub mod controller;
pub mod create;
pub mod delete;
pub mod expand;
pub mod group;
pub mod held;
pub mod identity;
pub mod modify;
pub mod plan;
pub mod request;
pub mod snapshot;
pub mod status;
pub mod watch;

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use dotmesh_csi_proto::csi::controller_server::ControllerServer;
use dotmesh_csi_proto::csi::group_controller_server::GroupControllerServer;
use dotmesh_csi_proto::csi::identity_server::IdentityServer;
use dotmesh_telemetry::Readiness;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::metadata::MetadataMap;
use tonic::transport::Server;

use crate::api::Api;
use controller::ControllerService;
use group::service::GroupService;
use identity::IdentityService;
use watch::WatchObject;

/// Longest that a call is worked on, whatever the caller would wait.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// The answer is on its way this long before the caller gives up.
const ANSWER_MARGIN: Duration = Duration::from_millis(500);

/// Takes the socket over from an earlier process of this pod.
///
/// # Errors
/// The folder is missing or not writable.
pub fn bind(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    UnixListener::bind(socket)
}

/// Serves Identity, Controller and GroupController until `shutdown`; snapshots only when there is somebody who asks for them.
///
/// # Errors
/// The socket cannot be served any more.
pub async fn serve<A: Api + Clone, W: WatchObject + Clone>(
    listener: UnixListener,
    api: A,
    watches: W,
    (readiness, with_snapshots): (Readiness, bool),
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let groups = with_snapshots.then(|| GroupService::new(api.clone(), watches.clone()));
    Server::builder()
        .add_service(IdentityServer::new(IdentityService::new(readiness, with_snapshots)))
        .add_optional_service(groups.map(GroupControllerServer::new))
        .add_service(ControllerServer::new(ControllerService::new(
            api,
            watches,
            with_snapshots,
        )))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), shutdown)
        .await
}

/// How long a call may take: what the caller says in `grpc-timeout`, a little less, at most [`MAX_WAIT`].
fn budget(metadata: &MetadataMap) -> Duration {
    let said = metadata.get("grpc-timeout").and_then(|value| value.to_str().ok());
    said.and_then(parse_timeout).map_or(MAX_WAIT, |timeout| {
        timeout.saturating_sub(ANSWER_MARGIN.min(timeout / 4)).min(MAX_WAIT)
    })
}

/// `TimeoutValue TimeoutUnit` of gRPC over HTTP/2: at most eight digits and a unit.
fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_ends_before_its_caller_gives_up() {
        let budget = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            budget(&metadata)
        };
        assert_eq!(budget("10S"), Duration::from_millis(9500));
        assert_eq!(budget("59999m"), Duration::from_millis(59499));
        assert_eq!(budget("400m"), Duration::from_millis(300));
        for longest in ["2H", "60M", "x", "", "S", "123456789S", "-1S", "1ä"] {
            if longest.is_ascii() {
                assert_eq!(budget(longest), MAX_WAIT, "{longest}");
            }
        }
        assert_eq!(parse_timeout("ä"), None);
        assert_eq!(parse_timeout("5u"), Some(Duration::from_micros(5)));
    }
}
