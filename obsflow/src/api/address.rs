//! Where an agent listens.

use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Where an agent listens unless it is told otherwise, and where commands look for one.
pub const DEFAULT: &str = "unix:///var/run/obsflow/obsflow.sock";

/// Longest path of a unix socket: `sun_path` has 108 bytes, and a NUL ends it (unix(7)).
const PATH_MAX: usize = 107;

/// An address of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(PathBuf);

/// Not an address of an agent. Each message says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not `unix://`.
    #[error("{0:?} is no address of an agent: write unix:///PATH, such as {DEFAULT}")]
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
}

impl Address {
    /// Reads `unix:///path`.
    ///
    /// # Errors
    /// When it is something else, or no socket can have that path.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
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
        Ok(Self(path.to_owned()))
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// [`DEFAULT`].
impl Default for Address {
    fn default() -> Self {
        Self(DEFAULT.trim_start_matches("unix://").into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix://{}", self.0.display())
    }
}
