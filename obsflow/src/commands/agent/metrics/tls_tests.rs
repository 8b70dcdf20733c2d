use std::fs;
use std::time::UNIX_EPOCH;

use super::*;
use crate::testing::TempDir;

fn files(folder: &TempDir) -> TlsFiles {
    TlsFiles {
        certificate: folder.path().join("tls.crt"),
        key: folder.path().join("tls.key"),
    }
}

fn write(files: &TlsFiles, at: u64) {
    let made = rcgen::generate_simple_self_signed(["agent".to_owned()]).unwrap();
    for (path, text) in [
        (&files.certificate, made.cert.pem()),
        (&files.key, made.signing_key.serialize_pem()),
    ] {
        fs::write(path, text).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(UNIX_EPOCH + Duration::from_secs(at)).unwrap();
    }
}

fn soon(tls: &mut Tls) -> Arc<ServerConfig> {
    tls.looked -= LOOK;
    let _ = tls.acceptor();
    Arc::clone(&tls.config)
}

#[test]
fn files_that_change_are_read_again() {
    let folder = TempDir::new();
    let files = files(&folder);
    write(&files, 1_000);
    let mut tls = Tls::new(files.clone());
    let first = soon(&mut tls);
    assert!(Arc::ptr_eq(&first, &soon(&mut tls)));
    write(&files, 2_000);
    let second = soon(&mut tls);
    assert!(!Arc::ptr_eq(&first, &second));
    // Half of a change, or a bad one, changes nothing.
    fs::write(&files.key, "no key").unwrap();
    assert!(Arc::ptr_eq(&second, &soon(&mut tls)));
    fs::remove_file(&files.key).unwrap();
    assert!(Arc::ptr_eq(&second, &soon(&mut tls)));
    write(&files, 3_000);
    assert!(!Arc::ptr_eq(&second, &soon(&mut tls)));
}

#[test]
fn what_is_wrong_with_files_is_said() {
    let folder = TempDir::new();
    let files = files(&folder);
    let said = |files: &TlsFiles| format!("{:#}", load(files).unwrap_err());
    assert!(said(&files).contains("cannot read"), "{}", said(&files));
    write(&files, 1_000);
    assert!(load(&files).is_ok());
    fs::write(&files.certificate, "").unwrap();
    assert!(said(&files).contains("has no certificate"), "{}", said(&files));
    write(&files, 1_000);
    let other = TempDir::new();
    let others = tests::files(&other);
    write(&others, 1_000);
    let mixed = TlsFiles {
        key: others.key.clone(),
        ..files.clone()
    };
    assert!(said(&mixed).contains("does not fit"), "{}", said(&mixed));
}
