//! SSH signatures, by ssh-keygen and git.

use super::*;

#[test]
fn keys_of_every_kind_sign_commits_and_tags() {
    let desk = Desk::new();
    for (kind, bits) in [
        ("ed25519", ""),
        ("ecdsa", "256"),
        ("ecdsa", "384"),
        ("ecdsa", "521"),
        ("rsa", "2048"),
        ("rsa", "4096"),
    ] {
        let key = desk.ssh_key(&format!("{kind}{bits}"), kind, bits);
        let config = key.config();
        let commit = desk.commit(&set(&config));
        let tag = desk.tag(
            &format!("v-{kind}{bits}"),
            &[&set(&config)[..], &["-c", "tag.gpgSign=true"]].concat(),
        );
        let allowed = format!("ann@example.com {}\n", key.public);
        let signers = signers(&[("allowed_signers", &allowed)]);
        let signer = super::super::commit(&commit, &signers, now()).unwrap();
        assert_eq!(
            signer.to_string(),
            format!("ann@example.com (SSH key {})", key.fingerprint)
        );
        let of_tag = super::super::tag(Some(&tag), &commit.id, &signers, now());
        assert_eq!(of_tag.unwrap(), signer);
        assert!(desk.git_takes("verify-commit", &commit.id, &allowed));
        assert!(desk.git_takes("verify-tag", &tag.name, &allowed));
    }
}

#[test]
fn lines_of_allowed_signers_have_the_same_meaning_as_for_git() {
    let desk = Desk::new();
    let (key, other) = (
        desk.ssh_key("key", "ed25519", ""),
        desk.ssh_key("other", "ed25519", ""),
    );
    // The commit's time is 2024-06-15T12:00:00Z.
    let commit = desk.commit(&set(&key.config()));
    let unknown = format!(
        "R is signed by SSH key {}, which is not in Secret team-a/signers (key allowed_signers)",
        key.fingerprint
    );
    let unusable = |why: &str| format!("R is signed by SSH key {}, which {why}", key.fingerprint);
    let (key, other) = (&key.public, &other.public);
    for (allowed, refusal) in [
        (format!("a {key}"), None),
        (format!("a {other}\n# comment\n\nb {key} comment"), None),
        (format!("\"a b\"\t{key}"), None),
        (format!("a NAMESPACES=\"git,file\" {key}"), None),
        (format!("a namespaces=\"g?t*\" {key}"), None),
        (format!("a valid-after=\"20240615\" {key}"), None),
        (format!("a valid-after=\"20240615120000Z\" {key}"), None),
        (format!("a valid-before=\"202406151200Z\" {key}"), None),
        (
            format!(
                "a namespaces=\"git\",valid-after=\"20240101Z\",valid-before=\"20250101Z\" {key}"
            ),
            None,
        ),
        (format!("a {other}"), Some(unknown)),
        (
            format!("a namespaces=\"file\" {key}"),
            Some(unusable("may not sign for the namespace git")),
        ),
        (
            format!("a namespaces=\"*,!git\" {key}"),
            Some(unusable("may not sign for the namespace git")),
        ),
        (
            format!("a valid-after=\"20240615120001Z\" {key}"),
            Some(unusable(
                "is not valid before 2024-06-15T12:00:01Z, at 2024-06-15T12:00:00Z",
            )),
        ),
        (
            format!("a valid-before=\"20240615115959\" {key}"),
            Some(unusable(
                "is not valid after 2024-06-15T11:59:59Z, at 2024-06-15T12:00:00Z",
            )),
        ),
    ] {
        let signers = signers(&[("allowed_signers", &allowed)]);
        let result = super::super::commit(&commit, &signers, now());
        let taken = desk.git_takes("verify-commit", &commit.id, &allowed);
        assert_eq!(taken, refusal.is_none(), "git: {allowed}");
        match refusal {
            None => drop(result.unwrap()),
            Some(text) => assert_eq!(refused(result), text, "{allowed}"),
        }
    }
    // Any line of a key may allow it. Git reads only the first one.
    let second = format!("a namespaces=\"file\" {key}\nb {key}");
    let signers = signers(&[("allowed_signers", &second)]);
    let signer = super::super::commit(&commit, &signers, now()).unwrap();
    assert_eq!(signer.name.as_deref(), Some("b"));
}

#[test]
fn signatures_by_unknown_keys_or_for_other_uses_are_refused() {
    let desk = Desk::new();
    let key = desk.ssh_key("key", "ed25519", "");
    let signers = signers(&[("allowed_signers", &format!("ann {}", key.public))]);
    let unsigned = desk.commit(&[]);
    let sign = |namespace: &str, content: &[u8]| {
        let file = key.file.to_str().unwrap();
        let armour = desk.run(
            "ssh-keygen",
            &["-Y", "sign", "-n", namespace, "-f", file],
            content,
        );
        String::from_utf8(armour).unwrap()
    };
    let good = sign("git", &unsigned.raw);
    let check = |armour: &str| {
        let commit = with_signature(&unsigned, "gpgsig", armour);
        super::super::commit(&commit, &signers, now())
    };
    check(&good).unwrap();
    assert_eq!(
        refused(super::super::commit(&unsigned, &signers, now())),
        "R is unsigned"
    );
    let by = format!("SSH key {}", key.fingerprint);
    assert_eq!(
        refused(check(&sign("file", &unsigned.raw))),
        format!("R is signed by {by} for the namespace file, not for git")
    );
    let mismatch = format!("R has a signature by {by} that does not match the content");
    assert_eq!(refused(check(&sign("git", b"something else"))), mismatch);
    let mut tampered = with_signature(&unsigned, "gpgsig", &good);
    let body = tampered.raw.len() - 2;
    tampered.raw[body] ^= 1;
    assert_eq!(
        refused(super::super::commit(&tampered, &signers, now())),
        mismatch
    );
    let readable = "R has a signature that cannot be read: it is not an SSHSIG";
    assert_eq!(
        refused(check(&good.replacen("U1NIU0lH", "U1NIU0lI", 1))),
        readable
    );
    assert_eq!(
        refused(check(
            "-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----"
        )),
        readable
    );
}

/// Certificates are not supported, so a signature by one is refused.
#[test]
fn a_certificate_is_refused() {
    let desk = Desk::new();
    let (key, authority) = (
        desk.ssh_key("key", "ed25519", ""),
        desk.ssh_key("ca", "ed25519", ""),
    );
    let (file, authority_file) = (key.file.to_str().unwrap(), authority.file.to_str().unwrap());
    let public = format!("{file}.pub");
    desk.run(
        "ssh-keygen",
        &["-q", "-s", authority_file, "-I", "id", "-n", "ann", &public],
        b"",
    );
    let config = key.config();
    let certificate = format!("user.signingKey={file}-cert.pub");
    let commit = desk.commit(&set(&[&config[0], &config[1], &certificate]));
    let signers = signers(&[("allowed_signers", &format!("ann {}", key.public))]);
    assert_eq!(
        refused(super::super::commit(&commit, &signers, now())),
        "R is signed by an SSH certificate, which is not supported"
    );
}
