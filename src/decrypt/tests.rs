//! Against files that the real sops made and opened: `tests/golden/sops/make`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::*;
use crate::manifest::ordered;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/sops")
        .join(name)
}

fn keys(names: &[&str]) -> Keys {
    let data: BTreeMap<String, Vec<u8>> = names
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                fs::read(folder("keys").join(name)).unwrap(),
            )
        })
        .collect();
    Keys::from_secret("ns/keys", &data).unwrap()
}

fn encrypted(name: &str) -> Vec<u8> {
    fs::read(folder("encrypted").join(name)).unwrap()
}

fn values(text: &[u8]) -> Vec<Value> {
    let documents = ordered(text).unwrap().into_iter();
    documents.map(Value::from).collect()
}

#[test]
fn files_are_decrypted_as_sops_does() {
    let all = keys(&["one.agekey", "rsa.asc", "curve.asc"]);
    let mut seen = 0;
    for entry in fs::read_dir(folder("encrypted")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "groups.yaml" {
            continue;
        }
        seen += 1;
        let ours = decrypt(&name, &encrypted(&name), Some(&all));
        let ours = ours
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .unwrap();
        let theirs = fs::read(folder("decrypted").join(&name)).unwrap();
        match Format::of(&name) {
            Format::Yaml | Format::Json => assert_eq!(values(&ours), values(&theirs), "{name}"),
            Format::Dotenv => {
                let text = String::from_utf8(theirs).unwrap();
                let lines = text.lines().filter(|line| !line.starts_with('#'));
                let ours = String::from_utf8(ours).unwrap();
                assert_eq!(ours.lines().collect::<Vec<_>>(), lines.collect::<Vec<_>>());
            }
            Format::Ini => assert_eq!(
                String::from_utf8(ours).unwrap(),
                "[db]\nuser = shop\npassword = hunter2\n[web]\nport = 80\n"
            ),
            Format::Binary => assert_eq!(ours, theirs),
        }
    }
    assert!(seen >= 13);
}

#[test]
fn a_file_without_sops_metadata_is_none() {
    for (name, text) in [
        ("a.yaml", "kind: ConfigMap\n"),
        ("a.yaml", "sops: {mac: x}\n"),
        ("a.env", "A=b\n"),
        ("a.ini", "[a]\nb = c\n"),
        ("a.bin", "\0\u{1}"),
    ] {
        assert_eq!(
            decrypt(name, text.as_bytes(), None),
            Ok(None),
            "{name} {text}"
        );
        assert!(!is_encrypted(text.as_bytes()));
    }
    assert!(is_encrypted(&encrypted("secret.yaml")) && is_encrypted(&encrypted("app.env")));
}

/// sops-secrets-operator and its like open them, with a key that towline has not.
#[test]
fn objects_that_are_opened_in_the_cluster_are_left_as_they_are() {
    let sealed = "ENC[AES256_GCM,data:a,iv:b,tag:c,type:str]";
    let object = |api: &str, kind: &str| {
        format!(
            "apiVersion: {api}\nkind: {kind}\nspec: {{a: '{sealed}'}}\nsops: {{mac: '{sealed}'}}\n"
        )
    };
    let theirs = object("isindir.github.com/v1alpha3", "SopsSecret");
    let other = object("addons.projectcapsule.dev/v1alpha1", "GlobalSopsSecret");
    let ours = object("v1", "Secret");
    for (text, is_left) in [
        (theirs.clone(), true),
        (format!("{theirs}---\n{other}---\n"), true),
        (format!("{theirs}---\n{ours}"), false),
        (object("v1", "SopsSecret"), false),
        (object("example.org/v1", "Database"), false),
    ] {
        assert!(is_encrypted(text.as_bytes()));
        let opened = decrypt("a.yaml", text.as_bytes(), None);
        assert_eq!(opened == Ok(None), is_left, "{text}: {opened:?}");
        let replaced = replace_sealed("a.yaml", text.as_bytes(), &|_, _| Value::Null);
        assert_eq!(replaced == Ok(None), is_left, "{text}");
    }
}

#[test]
fn without_the_right_key_the_recipients_are_named() {
    let file = encrypted("secret.yaml");
    assert_eq!(
        decrypt("secret.yaml", &file, None),
        Err(DecryptError::NoKeys)
    );
    let error = decrypt(
        "secret.yaml",
        &file,
        Some(&keys(&["other.agekey", "rsa.asc"])),
    );
    assert!(matches!(&error, Err(DecryptError::NoKeyFits(names)) if names.starts_with("age1")));
    let groups = encrypted("groups.yaml");
    let answer = decrypt(
        "groups.yaml",
        &groups,
        Some(&keys(&["one.agekey", "curve.asc"])),
    );
    assert_eq!(answer, Err(DecryptError::KeyGroups));
    let text = String::from_utf8(file).unwrap();
    let (before, rest) = text.split_once("    age:").unwrap();
    let (_, after) = rest.split_once("    lastmodified").unwrap();
    let kms = "    kms:\n        - arn: arn:aws:kms:x\n          enc: AQ\n    hc_vault:\n        - enc: x\n";
    let cloud = format!("{before}{kms}    lastmodified{after}");
    assert_eq!(
        decrypt(
            "secret.yaml",
            cloud.as_bytes(),
            Some(&keys(&["one.agekey"]))
        ),
        Err(DecryptError::Unsupported(
            "AWS KMS, HashiCorp Vault".to_owned()
        ))
    );
}

/// What somebody without the key could do to a file.
#[test]
fn whatever_is_changed_without_the_key_is_refused() {
    let key = keys(&["one.agekey"]);
    let text = String::from_utf8(encrypted("secret.yaml")).unwrap();
    let line = |name: &str| {
        text.lines()
            .find(|line| line.trim().starts_with(name))
            .unwrap()
    };
    let value = |name: &str| line(name).split_once(": ").unwrap().1;
    let (user, password) = (value("user:"), value("password:"));
    let swapped = text
        .replace(user, "@")
        .replace(password, user)
        .replace('@', password);
    let whole_line = format!("{}\n", line("password:"));
    for (what, changed) in [
        ("a readable value", text.replace("name: db", "name: other")),
        ("two values swapped", swapped),
        ("a value taken out", text.replace(&whole_line, "")),
        (
            "a value added",
            text.replace("stringData:", "stringData:\n    new: x"),
        ),
        (
            "a readable value added",
            text.replace("type: Opaque", "type: Opaque\nimmutable: true"),
        ),
        ("a value in the clear", text.replace(password, "hunter3")),
        (
            "a cut value",
            text.replace(&password[..60], "ENC[AES256_GCM,data:AAAA"),
        ),
        ("a rule changed", text.replace("(data|stringData)", "data")),
        (
            "the date",
            text.replace("lastmodified: \"2", "lastmodified: \"1"),
        ),
        (
            "no checksum",
            text.lines()
                .filter(|line| !line.trim().starts_with("mac:"))
                .collect::<Vec<_>>()
                .join("\n"),
        ),
    ] {
        assert_ne!(changed, text, "{what}");
        let answer = decrypt("secret.yaml", changed.as_bytes(), Some(&key));
        let error = answer.expect_err(what).to_string();
        assert!(
            !error.contains("hunter") && !error.contains("ENC["),
            "{what}: {error}"
        );
    }
}

#[test]
fn keys_are_read_as_flux_reads_them_and_never_shown() {
    let read = |entries: &[(&str, &str)]| {
        let entries = entries
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        Keys::from_secret("ns/keys", &entries.collect())
    };
    assert_eq!(
        read(&[("identity", "x")]).unwrap_err(),
        KeysError::None("ns/keys".to_owned())
    );
    let error = read(&[("a.agekey", "# comment\n\nAGE-SECRET-KEY-1HUNTER2\n")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Secret ns/keys: a.agekey line 3 is no age key (AGE-SECRET-KEY-1…)"
    );
    assert!(matches!(
        read(&[("a.asc", "hunter2")]),
        Err(KeysError::OpenPgp { .. })
    ));
    let key = fs::read_to_string(folder("keys/one.agekey")).unwrap();
    let many: String = key.repeat(100);
    assert_eq!(
        read(&[("a.agekey", &many)]).unwrap_err(),
        KeysError::TooMany("ns/keys".to_owned())
    );
    assert_eq!(
        format!("{:?}", keys(&["one.agekey", "rsa.asc"])),
        "Keys(1 age, 1 OpenPGP)"
    );
}

#[test]
fn hostile_files_end_in_an_error() {
    let marks = "ENC[AES256_GCM, sops mac";
    let key = keys(&["one.agekey"]);
    let deep = format!("a: {}\n# {marks}", "[".repeat(100_000));
    let bomb = format!("a: &a [x]\nb: [*a, *a]\nsops: {{mac: x}}\n# {marks}");
    let typed = format!("sops: [1]\n# {marks}");
    let wide = format!(
        "a: 1\nsops: {{mac: x, lastmodified: y, age: [{}]}}\n# {marks}",
        "{recipient: a, enc: b},".repeat(1_000)
    );
    for text in [deep, bomb, typed, wide] {
        assert!(
            decrypt("a.yaml", text.as_bytes(), Some(&key)).is_err(),
            "{text:.60}"
        );
    }
    assert!(
        decrypt(
            "a.env",
            b"sops_age__list_99999999999__map_enc=x\nsops_mac=y\n",
            Some(&key)
        )
        .is_err()
    );
    assert!(
        decrypt(
            "a.ini",
            b"[sops]\nage = x\nage__list_0__map_enc = y\n",
            Some(&key)
        )
        .is_err()
    );
}

#[test]
fn sealed_values_can_be_replaced_without_a_key() {
    let mut seen = 0;
    for entry in fs::read_dir(folder("encrypted")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let stand_in = |sealed: &str, kind: &str| {
            assert!(sealed.starts_with("ENC[") && !kind.is_empty(), "{name}");
            Value::from("stand-in")
        };
        let replaced = replace_sealed(&name, &encrypted(&name), &stand_in)
            .unwrap()
            .unwrap();
        let text = String::from_utf8(replaced).unwrap();
        assert!(
            text.contains("stand-in") && !text.contains("ENC["),
            "{name}: {text}"
        );
        assert!(
            !text.contains("\"sops\"") && !text.contains("sops_mac"),
            "{name}: {text}"
        );
        seen += 1;
    }
    assert!(seen > 5, "{seen}");
    assert_eq!(
        replace_sealed("a.yaml", b"a: b", &|_, _| Value::Null),
        Ok(None)
    );
}
