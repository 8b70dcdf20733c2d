//! Files that were written, and files that somebody made.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use obsflow_ebpf::abi::record::flag;
use proptest::prelude::*;

use super::*;
use crate::decode::decode;
use crate::decode::sample::{self, Who};
use crate::model::event::EventBody;

/// A folder of its own, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("obsflow-capture-{}-{n}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("capture")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn header() -> FileHeader {
    FileHeader {
        clock: Clock {
            offset_ns: 1_700_000_000_000_000_000,
        },
        hostname: "node-1".into(),
        kernel: "6.18.0".into(),
    }
}

fn ends() -> (std::net::SocketAddr, std::net::SocketAddr) {
    ("10.0.0.1:40000".parse().unwrap(), "10.0.0.2:53".parse().unwrap())
}

fn write(path: &Path, options: Options, records: &[Bytes]) {
    let mut writer = Writer::create(path, &header(), options).unwrap();
    for record in records {
        writer.write(record).unwrap();
    }
    assert_eq!(writer.finish().unwrap(), records.len() as u64);
}

fn read(path: &Path) -> (Vec<Bytes>, Option<CaptureError>) {
    let mut records = Vec::new();
    for record in Reader::open(path).unwrap() {
        match record {
            Ok(record) => records.push(record),
            Err(error) => return (records, Some(error)),
        }
    }
    (records, None)
}

#[test]
fn records_come_back_as_they_were() {
    let folder = Folder::new();
    let records = sample::traffic(5000, 20);
    write(
        &folder.file(),
        Options {
            payload: true,
            overwrite: false,
        },
        &records,
    );
    let (back, error) = read(&folder.file());
    assert!(error.is_none(), "{error:?}");
    assert_eq!(back, records);
    assert_eq!(*Reader::open(&folder.file()).unwrap().header(), header());
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_behind_the_record_is_not_written() {
    let folder = Folder::new();
    let record = sample::attempt(Who::default(), ends());
    let mut item = record.clone();
    item.extend_from_slice(&[9; 100]);
    write(&folder.file(), Options::default(), &[item.into()]);
    assert_eq!(read(&folder.file()).0, [Bytes::from(record)]);
}

#[test]
fn stream_bytes_are_left_out_and_dns_is_kept() {
    let folder = Folder::new();
    let who = Who::default();
    let query = sample::dns_query(1, "otel.obs", 1);
    let records: Vec<Bytes> = vec![
        sample::payload(who, flag::H2_FRAME, 7, b"authorization: secret").into(),
        sample::payload(who, flag::DNS_STREAM, 7, b"\0\x05hello").into(),
        sample::dns(who, ends(), false, &query).into(),
        sample::drop(who, ends(), 17, &query).into(),
        sample::drop(who, ends(), 17, b"some other secret of a tunnel").into(),
    ];
    write(&folder.file(), Options::default(), &records);
    let bytes = fs::read(folder.file()).unwrap();
    assert!(!bytes.windows(6).any(|w| w == b"secret"));
    let (back, _) = read(&folder.file());
    assert_eq!(back[1..4], records[1..4]);
    let EventBody::Payload {
        offset,
        wire_len,
        bytes,
        h2_frame,
        ..
    } = decode(back[0].clone()).unwrap().body
    else {
        panic!("no payload");
    };
    assert_eq!((offset, wire_len, bytes.len(), h2_frame), (7, 21, 0, false));
    let EventBody::Drop(drop) = decode(back[4].clone()).unwrap().body else {
        panic!("no drop");
    };
    assert!(drop.payload.is_empty());
}

#[test]
fn a_file_that_is_there_is_not_touched_unless_asked() {
    let folder = Folder::new();
    fs::write(folder.file(), "precious").unwrap();
    let error = Writer::create(&folder.file(), &header(), Options::default()).unwrap_err();
    assert!(matches!(error, CaptureError::Exists { .. }));
    assert!(
        error
            .to_string()
            .ends_with("exists: name another file, or ask to overwrite it")
    );
    assert_eq!(fs::read(folder.file()).unwrap(), b"precious");
    write(
        &folder.file(),
        Options {
            overwrite: true,
            payload: false,
        },
        &[],
    );
    let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Not through a link.
    let link = folder.0.join("link");
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    let options = Options {
        overwrite: true,
        payload: false,
    };
    assert!(matches!(
        Writer::create(&link, &header(), options),
        Err(CaptureError::Create { .. })
    ));
    let nowhere = folder.0.join("none/capture");
    assert!(matches!(
        Writer::create(&nowhere, &header(), options),
        Err(CaptureError::Create { .. })
    ));
}

#[test]
fn a_full_disk_is_told() {
    let options = Options {
        overwrite: true,
        payload: true,
    };
    let error = Writer::create(Path::new("/dev/full"), &header(), options).unwrap_err();
    assert!(error.to_string().contains("No space left on device"), "{error}");
}

#[test]
fn wherever_a_file_is_cut_all_before_it_is_delivered() {
    let folder = Folder::new();
    let records = sample::traffic(4, 3);
    write(
        &folder.file(),
        Options {
            payload: true,
            overwrite: false,
        },
        &records,
    );
    let whole = fs::read(folder.file()).unwrap();
    let cut = folder.0.join("cut");
    let mut ends = vec![u64::from(u32::try_from(header().to_bytes().len()).unwrap())];
    for record in &records {
        ends.push(ends.last().unwrap() + 4 + record.len() as u64);
    }
    assert_eq!(*ends.last().unwrap(), whole.len() as u64);
    for len in 0..whole.len() {
        fs::write(&cut, &whole[..len]).unwrap();
        let len = len as u64;
        if len < ends[0] {
            assert!(Reader::open(&cut).is_err(), "{len}");
            continue;
        }
        let complete = ends.iter().filter(|end| **end <= len).count() - 1;
        let (back, error) = read(&cut);
        assert_eq!(back, records[..complete], "{len}");
        match error {
            None => assert_eq!(ends[complete], len),
            Some(CaptureError::Truncated { offset, .. }) => assert_eq!(offset, ends[complete], "{len}"),
            Some(other) => panic!("{len}: {other}"),
        }
    }
}

#[test]
fn foreign_files_are_named_as_such() {
    let open = |bytes: &[u8]| match Reader::new(bytes, Path::new("FILE")) {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    };
    assert!(open(b"").starts_with("FILE is no obsflow capture"));
    assert!(open(b"\xd4\xc3\xb2\xa1 a pcap file of some length").starts_with("FILE is no obsflow capture"));
    assert!(open(b"obs").starts_with("FILE is cut short"));
    let mut bytes = header().to_bytes();
    bytes[8] = 9;
    assert!(open(&bytes).starts_with("FILE has capture format 9, this obsflow reads 1"));
    let mut bytes = header().to_bytes();
    bytes[12..16].reverse();
    assert!(open(&bytes).contains("other byte order"));
    let mut bytes = header().to_bytes();
    bytes[16..20].copy_from_slice(&[0xff; 4]);
    assert!(open(&bytes).contains("damaged"));
    assert!(
        Reader::open(Path::new("/nonexistent"))
            .unwrap_err()
            .to_string()
            .starts_with("cannot open /nonexistent")
    );
}

#[test]
fn a_damaged_length_is_told_with_its_offset() {
    let mut bytes = header().to_bytes();
    let good = sample::attempt(Who::default(), ends());
    bytes.extend_from_slice(&u32::try_from(good.len()).unwrap().to_le_bytes());
    bytes.extend_from_slice(&good);
    let offset = bytes.len();
    bytes.extend_from_slice(&[7, 0, 0, 0, 1, 2, 3]);
    let mut reader = Reader::new(&bytes[..], Path::new("FILE")).unwrap();
    assert!(reader.next().unwrap().is_ok());
    let error = reader.next().unwrap().unwrap_err().to_string();
    assert!(error.starts_with(&format!(
        "FILE is damaged at offset {offset}: no record is 7 bytes long"
    )));
    assert!(reader.next().is_none());
}

#[test]
fn host_names_of_foreign_files_are_harmless() {
    let evil = FileHeader {
        hostname: "\x1b]0;x\x07".into(),
        ..header()
    };
    let bytes = evil.to_bytes();
    let reader = Reader::new(&bytes[..], Path::new("FILE")).unwrap();
    assert!(!reader.header().hostname.contains('\x1b'));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), good in any::<bool>()) {
        let mut file = if good { header().to_bytes() } else { Vec::new() };
        file.extend_from_slice(&bytes);
        if let Ok(reader) = Reader::new(&file[..], Path::new("FILE")) {
            for record in reader.flatten() {
                let _ = decode(record);
            }
        }
    }
}
