//! OpenPGP signatures, by gpg and git.

use super::*;

/// The configuration that makes git sign with an OpenPGP key.
fn config(key: &str) -> [String; 2] {
    [
        "commit.gpgSign=true".to_owned(),
        format!("user.signingKey={key}!"),
    ]
}

fn check(commit: &CommitObject, keys: &[&str]) -> Result<Signer, Refusal> {
    let names: Vec<String> = (0..keys.len())
        .map(|index| format!("{index}.asc"))
        .collect();
    let values: Vec<_> = names
        .iter()
        .map(String::as_str)
        .zip(keys.iter().copied())
        .collect();
    super::super::commit(commit, &signers(&values), now())
}

fn by(key: &str, why: &str) -> String {
    format!("R is signed by OpenPGP key {key}, which {why}")
}

#[test]
fn keys_of_every_kind_sign_commits_and_tags() {
    let desk = Desk::new();
    for algorithm in [
        "ed25519", "nistp256", "nistp384", "nistp521", "rsa2048", "rsa3072",
    ] {
        let user = format!("Ann {algorithm} <ann@example.com>");
        let key = desk.gpg_key(&user, algorithm);
        let config = config(&key);
        let commit = desk.commit(&set(&config));
        let name = format!("v-{algorithm}");
        let tag = desk.tag(
            &name,
            &[&set(&config)[..], &["-c", "tag.gpgSign=true"]].concat(),
        );
        let public = desk.export(&key);
        let signer = check(&commit, &[&public]).unwrap();
        assert_eq!(signer.to_string(), format!("{user} (OpenPGP key {key})"));
        let signers = signers(&[("ann.asc", &public)]);
        assert_eq!(
            super::super::tag(Some(&tag), &commit.id, &signers, now()).unwrap(),
            signer
        );
        assert!(desk.git_takes("verify-commit", &commit.id, ""));
    }
}

#[test]
fn unknown_signers_and_wrong_signatures_are_refused() {
    let desk = Desk::new();
    let [ann, bob] = ["Ann", "Bob"].map(|user| desk.gpg_key(user, "ed25519"));
    let [of_ann, of_bob] = [&ann, &bob].map(|key| desk.export(key));
    let commit = desk.commit(&set(&config(&ann)));
    check(&commit, &[&of_bob, &of_ann]).unwrap();
    check(&commit, &[&format!("{of_bob}{of_ann}")]).unwrap();
    assert_eq!(
        refused(check(&commit, &[&of_bob])),
        by(&ann, "is not in Secret team-a/signers")
    );
    let mut tampered = commit;
    let body = tampered.raw.len() - 2;
    tampered.raw[body] ^= 1;
    assert_eq!(
        refused(check(&tampered, &[&of_ann])),
        format!("R has a signature by OpenPGP key {ann} that does not match the content")
    );
    let unsigned = desk.commit(&[]);
    let sign = |args: &[&str], content: &[u8]| {
        let args = [args, &["--batch", "--armor", "--detach-sign"]].concat();
        let armour = String::from_utf8(desk.run("gpg", &args, content)).unwrap();
        check(
            &with_signature(&unsigned, "gpgsig", &armour),
            &[&of_ann, &of_bob],
        )
    };
    sign(&["-u", &ann], &unsigned.raw).unwrap();
    let unreadable = |why: &str| format!("R has a signature that cannot be read: {why}");
    assert_eq!(
        refused(sign(&["-u", &ann, "-u", &bob], &unsigned.raw)),
        unreadable("it holds several signatures")
    );
    assert_eq!(
        refused(sign(&["-u", &ann, "--textmode"], &unsigned.raw)),
        unreadable("Git does not make signatures of its kind")
    );
    assert_eq!(
        refused(sign(
            &["-u", &ann, "--set-notation", "!a@example.com=b"],
            &unsigned.raw
        )),
        unreadable("it has a critical part that towline does not know")
    );
    assert_eq!(
        refused(sign(&["-u", &ann, "--digest-algo", "SHA1"], &unsigned.raw)),
        format!("R is signed by OpenPGP key {ann} with SHA1, which is too weak")
    );
}

#[test]
fn subkeys_sign_while_they_may() {
    let desk = Desk::new();
    let key = desk.gpg_key_at(
        "Ann",
        &["--quick-generate-key", "Ann", "ed25519", "cert", "never"],
    );
    desk.gpg(&["--quick-add-key", &key, "ed25519", "sign", "never"]);
    let sign = ["-c".to_owned(), "commit.gpgSign=true".to_owned()];
    let sign: Vec<&str> = sign.iter().map(String::as_str).collect();
    let setting = format!("user.signingKey={key}");
    let commit = desk.commit(&[&sign[..], &["-c", &setting]].concat());
    let public = desk.export(&key);
    let signer = check(&commit, &[&public]).unwrap();
    assert_eq!(signer.to_string(), format!("Ann (OpenPGP key {key})"));

    desk.edit_key(&key, "key 1\nrevkey\ny\n0\n\ny\nsave\n");
    let revoked = desk.export(&key);
    let text = refused(check(&commit, &[&revoked]));
    assert!(
        text.starts_with(&by(&key, "signed with its subkey ")),
        "{text}"
    );
    assert!(text.ends_with(", which is revoked"), "{text}");
    assert!(!desk.git_takes("verify-commit", &commit.id, ""));
    // The revocation counts in whichever key of the Secret it is.
    assert!(check(&commit, &[&public, &revoked]).is_err());
    assert!(check(&commit, &[&revoked, &public]).is_err());
}

#[test]
fn a_key_that_expired_is_refused_until_it_is_renewed() {
    let desk = Desk::new();
    let then = ["--faked-system-time", "20230101T000000!"];
    let make = [
        "--quick-generate-key",
        "Ann",
        "ed25519",
        "cert,sign",
        "20231231T000000",
    ];
    let key = desk.gpg_key_at("Ann", &[&then[..], &make].concat());
    let program = desk.gpg_with("--faked-system-time 20230601T000000!");
    let mut settings = config(&key).to_vec();
    settings.push(program);
    let commit = desk.commit(&set(&settings));
    let public = desk.export(&key);
    assert_eq!(
        refused(check(&commit, &[&public])),
        by(&key, "expired at 2023-12-31T00:00:00Z")
    );
    assert!(!desk.git_takes("verify-commit", &commit.id, ""));
    let signers = signers(&[("ann.asc", &public)]);
    let at = |time: &str| super::super::commit(&commit, &signers, time.parse().unwrap());
    at("2023-07-01T00:00:00Z").unwrap();
    at("2023-12-30T23:59:59Z").unwrap();
    at("2023-12-31T00:00:00Z").unwrap_err();

    desk.gpg(&["--quick-set-expire", &key, "never"]);
    let renewed = desk.export(&key);
    check(&commit, &[&renewed]).unwrap();
    check(&commit, &[&renewed, &public]).unwrap();
    assert!(desk.git_takes("verify-commit", &commit.id, ""));
}

#[test]
fn a_key_that_may_not_sign_is_refused() {
    let desk = Desk::new();
    let key = desk.gpg_key("Ann", "ed25519");
    let commit = desk.commit(&set(&config(&key)));
    check(&commit, &[&desk.export(&key)]).unwrap();
    desk.edit_key(&key, "change-usage\nS\nQ\nsave\n");
    assert_eq!(
        refused(check(&commit, &[&desk.export(&key)])),
        by(&key, "is not meant for signing")
    );
    let weak = desk.gpg_key("Bob", "rsa1024");
    let commit = desk.commit(&set(&config(&weak)));
    assert_eq!(
        refused(check(&commit, &[&desk.export(&weak)])),
        by(&weak, "has 1024 bits, fewer than 2048")
    );
    let dsa = desk.gpg_key("Dan", "dsa2048");
    let commit = desk.commit(&set(&config(&dsa)));
    assert_eq!(
        refused(check(&commit, &[&desk.export(&dsa)])),
        by(&dsa, "has an algorithm that is too weak")
    );
}

#[test]
fn a_revoked_key_is_refused_wherever_it_is_revoked() {
    let desk = Desk::new();
    let key = desk.gpg_key("Ann", "ed25519");
    let commit = desk.commit(&set(&config(&key)));
    let public = desk.export(&key);
    check(&commit, &[&public]).unwrap();
    // gpg made it with the key. It has a colon before it, so that nobody uses it by mistake.
    let revocation = desk.revocation(&key);
    desk.run("gpg", &["--batch", "--import"], revocation.as_bytes());
    let revoked = desk.export(&key);
    for keys in [
        vec![&revoked[..]],
        vec![&public, &revoked],
        vec![&revoked, &public],
    ] {
        assert_eq!(refused(check(&commit, &keys)), by(&key, "is revoked"));
    }
    assert!(!desk.git_takes("verify-commit", &commit.id, ""));
}

#[test]
fn a_signature_lasts_as_long_as_it_says() {
    let desk = Desk::new();
    let then = ["--faked-system-time", "20230101T000000!"];
    let make = [
        "--quick-generate-key",
        "Ann",
        "ed25519",
        "cert,sign",
        "never",
    ];
    let key = desk.gpg_key_at("Ann", &[&then[..], &make].concat());
    let public = desk.export(&key);
    let unsigned = desk.commit(&[]);
    let sign = |at: &str, days: &str| {
        let time = [
            "--batch",
            "--faked-system-time",
            at,
            "--default-sig-expire",
            days,
        ];
        let args = [&time[..], &["--armor", "--detach-sign"]].concat();
        let armour = String::from_utf8(desk.run("gpg", &args, &unsigned.raw)).unwrap();
        check(&with_signature(&unsigned, "gpgsig", &armour), &[&public])
    };
    sign("20230102T000000!", "0").unwrap();
    assert_eq!(
        refused(sign("20230102T000000!", "1")),
        by(
            &key,
            "made a signature that expired at 2023-01-03T00:00:00Z"
        )
    );
    let args = ["--ignore-time-conflict", "--ignore-valid-from"];
    let args = [
        &args[..],
        &["--batch", "--faked-system-time", "20221231T000000!"],
    ]
    .concat();
    let args = [&args[..], &["--armor", "--detach-sign"]].concat();
    let armour = String::from_utf8(desk.run("gpg", &args, &unsigned.raw)).unwrap();
    let early = check(&with_signature(&unsigned, "gpgsig", &armour), &[&public]);
    assert_eq!(refused(early), by(&key, "was created after its signature"));
}

/// A revoked user id has no meaning for the key.
#[test]
fn signatures_over_a_revoked_user_id_do_not_count() {
    let desk = Desk::new();
    let key = desk.gpg_key("Ann", "ed25519");
    let commit = desk.commit(&set(&config(&key)));
    desk.gpg(&["--quick-add-uid", &key, "Ann B."]);
    desk.gpg(&["--quick-revoke-uid", &key, "Ann"]);
    let signer = check(&commit, &[&desk.export(&key)]).unwrap();
    assert_eq!(signer.name.as_deref(), Some("Ann B."));
}

#[test]
fn self_signatures_with_a_weak_hash_do_not_count() {
    let desk = Desk::new();
    let weak = [
        "--cert-digest-algo",
        "SHA1",
        "--quick-generate-key",
        "Ann",
        "ed25519",
        "cert,sign",
    ];
    let key = desk.gpg_key_at("Ann", &weak);
    let commit = desk.commit(&set(&config(&key)));
    assert_eq!(
        refused(check(&commit, &[&desk.export(&key)])),
        by(&key, "has no valid self-signature with a strong hash")
    );
}
