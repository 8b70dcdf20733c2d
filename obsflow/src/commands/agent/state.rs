//! What an agent remembers when it starts again: a small JSON file, replaced as a whole.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::model::Mono;

/// Format of the file. A change that an older obsflow would misread gets a new number.
const FORMAT: u32 = 1;
/// Largest file read or written, in bytes: 5,000 exporters need a few MiB.
const MAX_BYTES: u64 = 64 << 20;
/// How often it is written when something changed.
const INTERVAL: Duration = Duration::from_secs(30);
/// How long the last write may take before the agent ends without it.
const LAST_WRITE: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Outer<'a, T> {
    format: u32,
    /// Names this start of the machine: kernel times mean nothing after the next.
    boot: &'a str,
    saved: &'a T,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[derive(Debug, Deserialize)]
struct Inner<T> {
    boot: String,
    saved: T,
}

/// What a file said.
#[derive(Debug, PartialEq)]
pub(super) struct Loaded<T> {
    /// What was remembered.
    pub(super) saved: T,
    /// The machine was started again since: kernel times in it mean nothing.
    pub(super) is_of_another_boot: bool,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
enum Useless {
    #[error("it is larger than {} MiB", MAX_BYTES >> 20)]
    TooLarge,
    #[error("it is damaged ({0})")]
    Damaged(serde_json::Error),
    #[error("a newer obsflow wrote it (format {0}, this one knows {FORMAT})")]
    Newer(u32),
}

/// Writes the file now and then, on a thread of its own: a slow disk holds nothing up.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    boot: String,
    writer: SyncSender<Vec<u8>>,
    written: Receiver<()>,
    hasher: RandomState,
    /// Of what was handed to the writer last.
    last: Option<u64>,
    next: Mono,
    said_too_large: bool,
}

impl StateFile {
    /// Makes the folder and starts the writer. Without either, nothing is remembered, which is said.
    pub(super) fn open(path: &Path) -> Option<Self> {
        let off = |what: &str, error: io::Error| {
            tracing::warn!(
                "{what}: {error}; nothing is remembered for the next start (choose another file with --state, or off)"
            );
        };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty())
            && let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(folder)
        {
            off(&format!("cannot make the folder {}", folder.display()), error);
            return None;
        }
        let (writer, jobs) = mpsc::sync_channel::<Vec<u8>>(1);
        let (tell, written) = mpsc::channel();
        let file = path.to_owned();
        let work = move || {
            let mut failed = false;
            for bytes in jobs {
                match replace(&file, &bytes) {
                    Ok(()) => failed = false,
                    Err(error) if !failed => {
                        failed = true;
                        tracing::warn!("cannot write the state file {}: {error}", file.display());
                    }
                    Err(_) => {}
                }
            }
            // Nobody waits when the agent fails.
            let _ = tell.send(());
        };
        if let Err(error) = thread::Builder::new()
            .name("obsflow-state".to_owned())
            .spawn(work)
        {
            off("cannot start a thread to write the state file", error);
            return None;
        }
        Some(Self {
            path: path.to_owned(),
            boot: boot(),
            writer,
            written,
            hasher: RandomState::new(),
            last: None,
            next: Mono(0),
            said_too_large: false,
        })
    }

    /// What was remembered. A file that cannot be used is kept beside, as `.bad`.
    pub(super) fn load<T: DeserializeOwned>(&self) -> Option<Loaded<T>> {
        let path = self.path.display();
        let mut bytes = Vec::new();
        let read = File::open(&self.path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!("cannot read the state file {path}: {error}; starting fresh");
                return None;
            }
        }
        match parse(&bytes) {
            Ok(inner) => Some(Loaded {
                saved: inner.saved,
                is_of_another_boot: inner.boot != self.boot,
            }),
            Err(useless) => {
                let aside = beside(&self.path, ".bad");
                let kept = match fs::rename(&self.path, &aside) {
                    Ok(()) => format!("kept as {}", aside.display()),
                    Err(error) => format!("and it cannot be kept aside: {error}"),
                };
                tracing::warn!("the state file {path} is of no use: {useless}; starting fresh, {kept}");
                None
            }
        }
    }

    /// Writes what `saved` makes, if it is time and something changed.
    pub(super) fn keep<T: Serialize>(&mut self, now: Mono, saved: impl FnOnce() -> T) {
        if now < self.next {
            return;
        }
        self.next = now.after(INTERVAL);
        if let Some((hash, bytes)) = self.bytes(&saved())
            // When the last one is still being written, there is a next time.
            && self.writer.try_send(bytes).is_ok()
        {
            self.last = Some(hash);
        }
    }

    /// Writes it a last time.
    pub(super) fn finish<T: Serialize>(mut self, saved: &T) {
        if let Some((_, bytes)) = self.bytes(saved) {
            // The writer runs as long as there is somebody to write for.
            let _ = self.writer.send(bytes);
        }
        drop(self.writer);
        if self.written.recv_timeout(LAST_WRITE).is_err() {
            tracing::warn!(
                "the state file {} was not written within {LAST_WRITE:?}: the next start has an older one",
                self.path.display()
            );
        }
    }

    /// What there is to write; nothing when it is what was written last, or too large.
    fn bytes<T: Serialize>(&mut self, saved: &T) -> Option<(u64, Vec<u8>)> {
        let bytes = match serde_json::to_vec(&Outer {
            format: FORMAT,
            boot: &self.boot,
            saved,
        }) {
            Ok(bytes) if bytes.len() as u64 <= MAX_BYTES => bytes,
            Ok(bytes) => {
                self.say_once(&format!("it would have {} bytes", bytes.len()));
                return None;
            }
            Err(error) => {
                self.say_once(&error.to_string());
                return None;
            }
        };
        let hash = self.hasher.hash_one(&bytes);
        (self.last != Some(hash)).then_some((hash, bytes))
    }

    fn say_once(&mut self, what: &str) {
        if !std::mem::replace(&mut self.said_too_large, true) {
            tracing::warn!("the state file {} is not written: {what}", self.path.display());
        }
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Inner<T>, Useless> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Useless::TooLarge);
    }
    let format: Format = serde_json::from_slice(bytes).map_err(Useless::Damaged)?;
    if format.format > FORMAT {
        return Err(Useless::Newer(format.format));
    }
    serde_json::from_slice(bytes).map_err(Useless::Damaged)
}

/// Names this start of the machine; empty where the kernel does not say.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// A path with more at its end.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(end);
    beside.into()
}

/// Replaces a file as a whole: whoever reads it sees the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = beside(path, ".new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::testing::TempDir;

    fn now(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    #[test]
    fn what_is_kept_is_there_at_the_next_start() {
        let dir = TempDir::new();
        let path = dir.path().join("a/state.json");
        let mut state = StateFile::open(&path).unwrap();
        assert_eq!(state.load::<Vec<u32>>(), None);
        state.keep(now(1), || vec![1, 2]);
        state.keep(now(2), || -> Vec<u32> { panic!("it is not time") });
        state.finish(&vec![3, 4]);
        let loaded = StateFile::open(&path).unwrap().load().unwrap();
        assert_eq!((loaded.saved, loaded.is_of_another_boot), (vec![3, 4], false));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let folder = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(folder.permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_of_another_boot_says_so() {
        let dir = TempDir::new();
        let path = dir.path().join("state.json");
        fs::write(&path, "{\"format\":1,\"boot\":\"another\",\"saved\":[5]}").unwrap();
        let loaded = StateFile::open(&path).unwrap().load().unwrap();
        assert_eq!((loaded.saved, loaded.is_of_another_boot), (vec![5], true));
    }

    #[test]
    fn what_did_not_change_is_not_written_again() {
        let dir = TempDir::new();
        let mut state = StateFile::open(&dir.path().join("state.json")).unwrap();
        let (hash, _) = state.bytes(&7).unwrap();
        state.last = Some(hash);
        assert!(state.bytes(&7).is_none());
        assert!(state.bytes(&8).is_some());
    }

    #[test]
    fn what_cannot_be_used_is_kept_aside() {
        let dir = TempDir::new();
        let path = dir.path().join("state.json");
        let aside = dir.path().join("state.json.bad");
        for (text, says) in [
            ("", "damaged"),
            ("{\"format\":1,\"saved\":", "damaged"),
            ("{\"format\":1,\"boot\":\"\",\"saved\":\"text\"}", "damaged"),
            ("{\"format\":2,\"saved\":{\"any\":\"thing\"}}", "a newer obsflow"),
            ("[]", "damaged"),
        ] {
            fs::write(&path, text).unwrap();
            let useless = parse::<Vec<u32>>(text.as_bytes()).unwrap_err().to_string();
            assert!(useless.contains(says), "{text}: {useless}");
            assert_eq!(StateFile::open(&path).unwrap().load::<Vec<u32>>(), None);
            assert!(!path.exists());
            assert_eq!(fs::read_to_string(&aside).unwrap(), text);
        }
    }

    #[test]
    fn without_a_folder_nothing_is_remembered() {
        let dir = TempDir::new();
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(StateFile::open(&dir.path().join("file/state.json")).is_none());
    }
}
