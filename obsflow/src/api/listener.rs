//! The sockets an agent listens at.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use super::address::Address;

/// The owner and its group may ask.
const SOCKET_MODE: u32 = 0o660;
/// Everybody may pass through the folder.
const FOLDER_MODE: u32 = 0o755;

/// An agent cannot listen, or had to stop. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is something else.
    #[error(
        "{0} exists and is no socket: obsflow takes nothing away that it did not make; choose another path with --listen"
    )]
    Foreign(PathBuf),
    /// There is somebody else.
    #[error("another process listens at {0}: end it first, or choose another path with --listen")]
    Busy(PathBuf),
    /// The folder cannot be made.
    #[error("cannot make the folder {path} for a socket: {source}; choose another path with --listen")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen at {path}: {source}; choose another path with --listen")]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Serving ended.
    #[error("serving at {path} failed: {source}")]
    Serve {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// A socket that listens; its file goes when this goes.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    listener: UnixListener,
    /// Device and inode of the file: another one's is left alone.
    file: Option<(u64, u64)>,
}

impl Listener {
    /// Makes a socket, readable and writable for its owner and group, and its folder if need be. A socket that nobody
    /// listens at any more is replaced.
    ///
    /// To be called before there are other threads: the process's file mode mask changes for a moment.
    ///
    /// # Errors
    /// When there is something else at this path, or it cannot be made.
    pub fn bind(address: &Address) -> Result<Self, ServeError> {
        let path = address.path();
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        make_room(path)?;
        let failed = |source| ServeError::Bind {
            path: path.to_owned(),
            source,
        };
        // Its mode must be right from the first moment on.
        let mask = rustix::process::umask(Mode::from_raw_mode(!SOCKET_MODE & 0o777));
        let bound = UnixListener::bind(path);
        rustix::process::umask(mask);
        let listener = bound.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            listener,
            file: identity(path),
        })
    }

    /// Where.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// For the runtime that serves.
    pub(super) fn accepting(&self) -> Result<tokio::net::UnixListener, ServeError> {
        let failed = |source| ServeError::Bind {
            path: self.path.clone(),
            source,
        };
        let listener = self.listener.try_clone().map_err(failed)?;
        tokio::net::UnixListener::from_std(listener).map_err(failed)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if self.file.is_some() && self.file == identity(&self.path) {
            // It may be gone already, and there is nobody to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

fn make_folder(folder: &Path) -> Result<(), ServeError> {
    if folder.is_dir() {
        return Ok(());
    }
    let failed = |source| ServeError::Folder {
        path: folder.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(folder)
        .map_err(failed)?;
    // A strict mask may have taken something away.
    fs::set_permissions(folder, Permissions::from_mode(FOLDER_MODE)).map_err(failed)
}

/// Removes a socket that nobody listens at.
fn make_room(path: &Path) -> Result<(), ServeError> {
    let failed = |source| ServeError::Bind {
        path: path.to_owned(),
        source,
    };
    let file: Metadata = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !file.file_type().is_socket() {
        return Err(ServeError::Foreign(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ServeError::Busy(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        // Gone in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A datagram socket, or one that lets nobody in: somebody else's.
        Err(error) => Err(failed(error)),
    }
}
