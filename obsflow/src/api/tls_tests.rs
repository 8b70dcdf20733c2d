use std::fs;
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
