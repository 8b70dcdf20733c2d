//! The sockets an agent listens at.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::Mode;

use super::address::Address;
use super::incoming::{Accepting, Incoming};
use super::tls::{Tls, TlsFiles};

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
    #[error("another process listens at {0}: end it first, or choose another place with --listen")]
    Busy(Address),
    /// The folder cannot be made.
    #[error("cannot make the folder {path} for a socket: {source}; choose another path with --listen")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot listen at {address}: {source}; choose another place with --listen")]
    Bind {
        /// Where.
        address: Address,
        /// Why.
        source: io::Error,
    },
    /// Serving ended.
    #[error("serving at {address} failed: {source}")]
    Serve {
        /// Where.
        address: Address,
        /// Why.
        source: tonic::transport::Error,
    },
}

/// A socket that listens; the file of a unix socket goes when this goes.
#[derive(Debug)]
pub struct Listener {
    /// Where it really listens: of port 0, the one that the kernel chose.
    address: Address,
    socket: Bound,
    tls: Option<TlsFiles>,
}

#[derive(Debug)]
enum Bound {
    Unix {
        listener: UnixListener,
        path: PathBuf,
        /// Device and inode of the file: another one's is left alone.
        file: Option<(u64, u64)>,
    },
    Tcp(TcpListener),
}

impl Listener {
    /// Makes a socket. One of a path is readable and writable for its owner and group; its folder is made if need be, and a
    /// socket that nobody listens at any more is replaced.
    ///
    /// To be called before there are other threads: the process's file mode mask changes for a moment.
    ///
    /// # Errors
    /// When there is something else at this address, or it cannot be made.
    pub fn bind(address: &Address) -> Result<Self, ServeError> {
        match address {
            Address::Unix(path) => Self::bind_path(address, path),
            Address::Tcp(socket) => {
                let failed = |source: io::Error| match source.kind() {
                    io::ErrorKind::AddrInUse => ServeError::Busy(address.clone()),
                    _ => not_bound(address, source),
                };
                let listener = TcpListener::bind(socket).map_err(failed)?;
                listener.set_nonblocking(true).map_err(failed)?;
                let address = Address::Tcp(listener.local_addr().map_err(failed)?);
                let socket = Bound::Tcp(listener);
                Ok(Self {
                    address,
                    socket,
                    tls: None,
                })
            }
        }
    }

    fn bind_path(address: &Address, path: &Path) -> Result<Self, ServeError> {
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        make_room(address, path)?;
        let failed = |source| not_bound(address, source);
        // Its mode must be right from the first moment on.
        let mask = rustix::process::umask(Mode::from_raw_mode(!SOCKET_MODE & 0o777));
        let bound = UnixListener::bind(path);
        rustix::process::umask(mask);
        let listener = bound.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            address: address.clone(),
            socket: Bound::Unix {
                listener,
                path: path.to_owned(),
                file: identity(path),
            },
            tls: None,
        })
    }

    /// A port that speaks TLS.
    #[must_use]
    pub fn with_tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// Where.
    #[must_use]
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The files of its certificate, when it speaks TLS.
    #[must_use]
    pub fn tls(&self) -> Option<&TlsFiles> {
        self.tls.as_ref()
    }

    /// Whether it is known who asks: somebody of this machine, or with a certificate.
    pub(super) fn is_for_known_people(&self) -> bool {
        self.address.is_local() || self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some())
    }

    /// For the runtime that serves.
    pub(super) fn incoming(&self) -> Result<Incoming, ServeError> {
        let failed = |source| not_bound(&self.address, source);
        let accepting = match &self.socket {
            Bound::Unix { listener, .. } => listener
                .try_clone()
                .and_then(tokio::net::UnixListener::from_std)
                .map(Accepting::Unix),
            Bound::Tcp(listener) => listener
                .try_clone()
                .and_then(tokio::net::TcpListener::from_std)
                .map(Accepting::Tcp),
        };
        let tls = self.tls.clone().map(Tls::new);
        Ok(Incoming::new(
            accepting.map_err(failed)?,
            self.address.clone(),
            tls,
        ))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Bound::Unix { path, file, .. } = &self.socket
            && file.is_some()
            && *file == identity(path)
        {
            // It may be gone already, and there is nobody to tell.
            let _ = fs::remove_file(path);
        }
    }
}

fn not_bound(address: &Address, source: io::Error) -> ServeError {
    ServeError::Bind {
        address: address.clone(),
        source,
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
fn make_room(address: &Address, path: &Path) -> Result<(), ServeError> {
    let failed = |source| not_bound(address, source);
    let file: Metadata = match fs::symlink_metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !file.file_type().is_socket() {
        return Err(ServeError::Foreign(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Ok(_) => Err(ServeError::Busy(address.clone())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        // Gone in the meantime.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // A datagram socket, or one that lets nobody in: somebody else's.
        Err(error) => Err(failed(error)),
    }
}
