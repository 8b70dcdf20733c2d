use std::fs;
use std::os::unix::fs::symlink;
use std::time::UNIX_EPOCH;

use super::*;
use crate::testing::TempDir;

fn files(folder: &TempDir) -> TlsFiles {
    TlsFiles {
        certificate: folder.path().join("tls.crt"),
        key: folder.path().join("tls.key"),
        client_ca: None,
        purpose: &METRICS,
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

/// `cp -p`, `rsync -t`, and stores where every file is of one moment.
#[test]
fn files_of_the_same_time_and_length_are_others() {
    let folder = TempDir::new();
    let files = files(&folder);
    write(&files, 1_000);
    let mut tls = Tls::new(files.clone());
    let first = soon(&mut tls);
    let before = states(&files);
    // The kernel's clock for files goes in steps of milliseconds.
    while states(&files) == before {
        write(&files, 1_000);
    }
    assert!(!Arc::ptr_eq(&first, &soon(&mut tls)));
}

/// A volume of Kubernetes: each file is a link through `..data`, which is replaced by a link to another folder.
#[test]
fn a_volume_that_is_replaced_by_a_link_is_read_again() {
    let folder = TempDir::new();
    let path = folder.path();
    let volume = |name: &str| {
        let made = TlsFiles {
            certificate: path.join(name).join("tls.crt"),
            key: path.join(name).join("tls.key"),
            ..files(&folder)
        };
        fs::create_dir(path.join(name)).unwrap();
        write(&made, 1_000);
        symlink(name, path.join("..new")).unwrap();
        fs::rename(path.join("..new"), path.join("..data")).unwrap();
    };
    volume("..1");
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), path.join(name)).unwrap();
    }
    let mut tls = Tls::new(files(&folder));
    let first = soon(&mut tls);
    assert!(tls.is_served && Arc::ptr_eq(&first, &soon(&mut tls)));
    volume("..2");
    assert!(!Arc::ptr_eq(&first, &soon(&mut tls)));
}

/// Whoever may not read a file may be let, without a change of the file: capabilities, an access list of its folder.
#[test]
fn what_could_not_be_read_is_tried_again() {
    let folder = TempDir::new();
    let files = files(&folder);
    write(&files, 1_000);
    let hidden = folder.path().join("hidden");
    fs::rename(&files.key, &hidden).unwrap();
    let mut tls = Tls::new(files.clone());
    assert!(tls.wrong.is_some() && !tls.is_served);
    fs::rename(&hidden, &files.key).unwrap();
    // As if it had looked like this before.
    tls.states = states(&files);
    let _ = soon(&mut tls);
    assert!(tls.wrong.is_none() && tls.is_served);
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

#[test]
fn clients_are_asked_for_certificates_of_whoever_the_file_names() {
    let folder = TempDir::new();
    let mut files = files(&folder);
    write(&files, 1_000);
    let ca = folder.path().join("ca.crt");
    (files.client_ca, files.purpose) = (Some(ca.clone()), &GRPC);
    let said = |files: &TlsFiles| format!("{:#}", load(files).unwrap_err());
    assert!(
        said(&files).contains("ca.crt (--tls-client-ca)"),
        "{}",
        said(&files)
    );
    fs::write(
        &ca,
        "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    assert!(said(&files).contains("can sign none"), "{}", said(&files));
    fs::copy(&files.certificate, &ca).unwrap();
    let config = load(&files).unwrap();
    assert_eq!(config.alpn_protocols, [b"h2".to_vec()]);
    // What verifies clients changes like everything else.
    let mut tls = Tls::new(files.clone());
    let first = soon(&mut tls);
    let file = fs::File::options().write(true).open(&ca).unwrap();
    file.set_modified(UNIX_EPOCH + Duration::from_secs(5)).unwrap();
    assert!(!Arc::ptr_eq(&first, &soon(&mut tls)));
}

#[test]
fn peers_are_called_by_the_name_of_the_certificate() {
    let folder = TempDir::new();
    let files = files(&folder);
    assert_eq!(certificate_name(&files), None);
    for (name, expected) in [
        ("agent.obsflow.svc", "agent.obsflow.svc"),
        ("*.agents.example", "node-1-example-com.agents.example"),
    ] {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        fs::write(&files.certificate, made.cert.pem()).unwrap();
        let certificate = certificate_name(&files).unwrap();
        assert_eq!(certificate, name);
        assert_eq!(server_name(&certificate, "node-1.example.com"), expected);
    }
}
