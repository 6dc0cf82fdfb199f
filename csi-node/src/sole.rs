//! One csi-node at a time on a host. A pod that is deleted by force is replaced before its container has ended, so that
//! two programs could work on the same pools, each with its own copies of what is in them, and listen at the same paths.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use dotmesh_csi_proto::csi::ProbeRequest;
use dotmesh_csi_proto::csi::identity_client::IdentityClient;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Endpoint;

/// How long a new program waits for the one before it to end: what is killed by force is gone within seconds.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often the lock is tried.
const TRY: Duration = Duration::from_millis(100);

/// How long the program that holds the lock may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The name of the lock in our folder.
const NAME: &str = "lock";

/// The right to work on the host, until it is dropped or the process ends.
#[derive(Debug)]
pub struct Sole {
    /// Locked by flock(2), unless the holder is dead.
    _lock: File,
}

impl Sole {
    /// Waits until no other program works with this folder. One that holds the lock after `patience` and does not
    /// answer on its CSI socket is dead, but for a call into the kernel that never returns: its successor goes on
    /// without the lock, for a pod's volumes must not wait for it.
    ///
    /// # Errors
    /// When the lock cannot be made, or another program holds it and answers.
    pub async fn wait(folder: &Path, csi_socket: &Path, patience: Duration) -> anyhow::Result<Self> {
        let path = folder.join(NAME);
        let lock = open(folder, &path).with_context(|| format!("making {}", path.display()))?;
        let until = Instant::now() + patience;
        let mut told = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Self { _lock: lock }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
            if !std::mem::replace(&mut told, true) {
                tracing::info!(lock = %path.display(), ?patience, "waiting for another dotmesh-csi-node to end");
            }
            if Instant::now() >= until {
                break;
            }
            sleep(TRY).await;
        }
        let socket = csi_socket.display();
        anyhow::ensure!(
            !answers(csi_socket).await,
            "another dotmesh-csi-node works with {} and answers on {socket}: end that one, or give this one folders of its own with --data-dir, --kubelet-dir and --csi-socket",
            folder.display()
        );
        tracing::warn!(
            lock = %path.display(),
            "another dotmesh-csi-node holds the lock and does not answer on {socket}: it is taken for dead"
        );
        Ok(Self { _lock: lock })
    }
}

fn open(folder: &Path, path: &Path) -> io::Result<File> {
    std::fs::create_dir_all(folder)?;
    File::options().create(true).truncate(false).write(true).open(path)
}

/// Whether a driver answers on the socket.
async fn answers(socket: &Path) -> bool {
    let probe = async {
        let channel = Endpoint::from_shared(format!("unix://{}", socket.display()))?
            .connect()
            .await?;
        anyhow::Ok(IdentityClient::new(channel).probe(ProbeRequest {}).await?)
    };
    matches!(timeout(ANSWER, probe).await, Ok(Ok(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::sync::Arc;

    use dotmesh_mount::FakeMount;
    use dotmesh_zfs::FakeZfs;

    use crate::edge::csi::Csi;
    use crate::edge::{Calls, socket};
    use crate::ops::{Config, HostFiles, Pools};

    const SHORT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn the_next_one_begins_when_the_one_before_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (state, socket) = (folder.path().join("state"), folder.path().join("csi.sock"));
        let first = Sole::wait(&state, &socket, PATIENCE).await.unwrap();
        let next = Sole::wait(&state, &socket, PATIENCE);
        tokio::pin!(next);
        timeout(SHORT, &mut next).await.unwrap_err();
        drop(first);
        timeout(PATIENCE, next).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn one_that_is_dead_keeps_nobody_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("csi.sock");
        let _holder = Sole::wait(folder.path(), &path, PATIENCE).await.unwrap();
        Sole::wait(folder.path(), &path, SHORT).await.unwrap();
        // Its socket may still be there, with nobody behind it.
        drop(socket::bind(&path).unwrap());
        Sole::wait(folder.path(), &path, SHORT).await.unwrap();
    }

    #[tokio::test]
    async fn one_that_works_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("csi.sock");
        let _holder = Sole::wait(folder.path(), &path, PATIENCE).await.unwrap();
        let config = Config {
            state_dir: folder.path().to_owned(),
            host_root: None,
            files: Arc::new(HostFiles),
        };
        let pools = Pools::new(FakeZfs::new(), FakeMount::new(), config);
        let service = Csi::new(pools, Calls::default(), "n1".to_owned());
        let (listener, _) = socket::bind(&path).unwrap();
        tokio::select! {
            ended = service.serve(listener) => panic!("{ended:?}"),
            waited = Sole::wait(folder.path(), &path, SHORT) => {
                let text = waited.unwrap_err().to_string();
                assert!(text.starts_with("another dotmesh-csi-node works with "), "{text}");
            }
        }
    }
}
