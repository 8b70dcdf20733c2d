//! Where an agent listens.

use std::fmt;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Where an agent listens unless it is told otherwise, and where commands look for one.
pub const DEFAULT: &str = "unix:///var/run/obsflow/obsflow.sock";

/// Longest path of a unix socket: `sun_path` has 108 bytes, and a NUL ends it (unix(7)).
const PATH_MAX: usize = 107;

/// An address of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket: for its owner and its group.
    Unix(PathBuf),
    /// A port: of a loopback address for every process of this machine's network, of any other for others, too.
    Tcp(SocketAddr),
}

/// Not an address of an agent. Each message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Neither `unix://` nor `tcp://`.
    #[error("{0:?} is no address of an agent: write unix:///PATH, such as {DEFAULT}, or tcp://ADDRESS:PORT")]
    Scheme(String),
    /// A relative path.
    #[error("{0:?}: the path of a socket begins with a slash: write unix:///PATH with three slashes")]
    Relative(String),
    /// A folder, or nothing.
    #[error("{0:?} names no file: write unix:///FOLDER/FILE")]
    NoFile(String),
    /// A NUL byte.
    #[error("{0:?} holds a NUL byte, which no path does")]
    Nul(String),
    /// Too long for the kernel.
    #[error(
        "the path of {address:?} has {bytes} bytes, and the path of a socket at most {PATH_MAX}: use a shorter one"
    )]
    TooLong {
        /// As written.
        address: String,
        /// Its length.
        bytes: usize,
    },
    /// A name, or no port.
    #[error(
        "{0:?}: after tcp:// comes an IP address with its port: write tcp://127.0.0.1:PORT or tcp://[::1]:PORT"
    )]
    NoSocket(String),
}

impl Address {
    /// Reads `unix:///path` or `tcp://address:port`.
    ///
    /// # Errors
    /// When it is something else, or no socket can have that path.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if let Some(socket) = text.strip_prefix("tcp://") {
            let socket = socket
                .parse()
                .map_err(|_| AddressError::NoSocket(text.to_owned()))?;
            return Ok(Self::Tcp(socket));
        }
        let path = text
            .strip_prefix("unix://")
            .ok_or_else(|| AddressError::Scheme(text.to_owned()))?;
        if path.contains('\0') {
            return Err(AddressError::Nul(text.to_owned()));
        }
        let path = Path::new(path);
        if !path.is_absolute() {
            return Err(AddressError::Relative(text.to_owned()));
        }
        if path.file_name().is_none() || text.ends_with('/') {
            return Err(AddressError::NoFile(text.to_owned()));
        }
        let bytes = path.as_os_str().as_bytes().len();
        if bytes > PATH_MAX {
            return Err(AddressError::TooLong {
                address: text.to_owned(),
                bytes,
            });
        }
        Ok(Self::Unix(path.to_owned()))
    }
}

/// [`DEFAULT`].
impl Default for Address {
    fn default() -> Self {
        Self::Unix(DEFAULT.trim_start_matches("unix://").into())
    }
}

impl Address {
    /// Whether nobody but this machine reaches it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            // An IPv4 address in IPv6's form is one of IPv4.
            Self::Tcp(socket) => socket.ip().to_canonical().is_loopback(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(socket) => write!(f, "tcp://{socket}"),
        }
    }
}
