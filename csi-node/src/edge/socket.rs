//! Unix sockets that only root may connect to.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::UnixListener;

/// How often it is looked whether a path still leads to its socket.
const LOOK: Duration = Duration::from_secs(2);

/// Where a socket was bound, and which one it was: no other has its inode while it is listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Bound {
    /// The socket that lies at `found`, and is or will be at `path`.
    fn of(found: &Path, path: &Path) -> io::Result<Self> {
        let meta = std::fs::symlink_metadata(found)?;
        Ok(Self {
            path: path.to_owned(),
            device: meta.dev(),
            inode: meta.ino(),
        })
    }

    /// Ends when the path no longer leads to this socket, which nobody can reach then: it was removed, or another
    /// process listens there.
    pub async fn lost(self) -> io::Error {
        loop {
            tokio::time::sleep(LOOK).await;
            match Self::of(&self.path, &self.path) {
                Ok(now) if now == self => {}
                Ok(_) => return io::Error::other("another socket lies there now"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return error,
                // Whether it is gone is not known.
                Err(error) => tracing::warn!(path = %self.path.display(), %error, "looking at a socket of ours"),
            }
        }
    }
}

/// Listens at a path with mode 0600. A socket that an earlier process left there is removed first; anything else that
/// lies there is an error.
///
/// # Errors
/// What the system says.
pub fn bind(path: &Path) -> io::Result<(UnixListener, Bound)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::other(format!("{} is not a socket", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    // Bound under another name first, so that nobody finds it before its mode is set.
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("a socket needs a name"))?;
    let new = path.with_file_name(format!(".{}", name.to_string_lossy()));
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
    let bound = Bound::of(&new, path)?;
    std::fs::rename(&new, path)?;
    Ok((listener, bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_file_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins/x.sock");
        drop(bind(&path).unwrap());
        let (_listener, _) = bind(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        tokio::net::UnixStream::connect(&path).await.unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        assert!(bind(&file).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"precious");
    }
    #[tokio::test(start_paused = true)]
    async fn a_socket_that_nobody_can_reach_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.sock");
        let (_first, bound) = bind(&path).unwrap();
        tokio::time::timeout(LOOK * 5, bound.clone().lost()).await.unwrap_err();
        let (_second, other) = bind(&path).unwrap();
        assert_eq!(bound.lost().await.to_string(), "another socket lies there now");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(other.lost().await.kind(), io::ErrorKind::NotFound);
    }
}
