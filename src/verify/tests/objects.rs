//! Commits and tags that Git does not write, and tags that are presented as other tags.

use super::*;

#[test]
fn a_tag_counts_under_its_own_name_and_on_its_own_commit_only() {
    let desk = Desk::new();
    let key = desk.ssh_key("key", "ed25519", "");
    let signers = signers(&[("allowed_signers", &format!("ann {}", key.public))]);
    let config = key.config();
    let sign = [&set(&config)[..], &["-c", "tag.gpgSign=true"]].concat();
    let commit = desk.commit(&[]);
    let good = desk.tag("v1", &sign);
    let check =
        |tag: Option<&TagObject>, commit: &str| super::super::tag(tag, commit, &signers, now());
    check(Some(&good), &commit.id).unwrap();

    assert_eq!(
        refused(check(None, &commit.id)),
        "the tag of R is a lightweight tag, which cannot be signed"
    );
    let renamed = TagObject {
        name: "v2".to_owned(),
        ..good.clone()
    };
    assert_eq!(
        refused(check(Some(&renamed), &commit.id)),
        "the tag of R was signed as tag v1"
    );
    let other = desk.commit(&[]);
    assert_eq!(
        refused(check(Some(&good), &other.id)),
        format!("the tag of R was signed on commit {}", commit.id)
    );
    let unsigned = desk.tag("plain", &["-c", "tag.gpgSign=false"]);
    assert_eq!(
        refused(check(Some(&unsigned), &other.id)),
        "the tag of R is unsigned"
    );
    let of_tree = desk.git(&["rev-parse", "HEAD^{tree}"]);
    let tagging = ["tag", "-a", "-m", "a tag", "tree", &of_tree];
    desk.git(&[&sign[..], &tagging].concat());
    let tree = TagObject {
        name: "tree".to_owned(),
        raw: desk.run("git", &["cat-file", "tag", "tree"], b""),
    };
    assert_eq!(
        refused(check(Some(&tree), &other.id)),
        format!("the tag of R was signed on tree {of_tree}")
    );
    let mut tampered = good.clone();
    tampered.raw = String::from_utf8(tampered.raw)
        .unwrap()
        .replace("tag v1\n", "tag v2\n")
        .into_bytes();
    tampered.name = "v2".to_owned();
    assert!(refused(check(Some(&tampered), &commit.id)).contains("does not match"));
    let mut longer = good;
    longer.raw.extend_from_slice(b"more\n");
    assert_eq!(
        refused(check(Some(&longer), &commit.id)),
        "the tag of R has a signature that cannot be read: it is not exactly one complete block of armour"
    );
}

#[test]
fn headers_of_signatures_are_read_once_and_wholly() {
    let desk = Desk::new();
    let key = desk.ssh_key("key", "ed25519", "");
    let signers = signers(&[("allowed_signers", &format!("ann {}", key.public))]);
    let signed = desk.commit(&set(&key.config()));
    let check = |commit: &CommitObject| super::super::commit(commit, &signers, now());
    check(&signed).unwrap();
    // As in Git, the signature of the SHA-256 form is not part of the signed bytes.
    check(&with_signature(
        &signed,
        "gpgsig-sha256",
        "another\nof two lines",
    ))
    .unwrap();
    for (header, armour, refusal) in [
        ("gpgsig", "another", "R is malformed: it has two signatures"),
        (
            "gpgsig-other",
            "another",
            "R is malformed: it has an unknown signature header",
        ),
        ("more", "of this", "does not match the content"),
    ] {
        let commit = with_signature(&signed, header, armour);
        let text = refused(check(&commit));
        assert!(text.ends_with(refusal), "{text}");
    }
    // Inside the message, the line is plain text.
    let mut quoting = desk.commit(&[]);
    quoting
        .raw
        .extend_from_slice(b"\ngpgsig -----BEGIN SSH SIGNATURE-----\n");
    assert_eq!(refused(check(&quoting)), "R is unsigned");
}

#[test]
fn a_text_that_is_not_a_signature_is_refused() {
    let desk = Desk::new();
    let key = desk.ssh_key("key", "ed25519", "");
    let signers = signers(&[("allowed_signers", &format!("ann {}", key.public))]);
    let unsigned = desk.commit(&[]);
    let block =
        |kind: &str, body: &str| format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----");
    let cannot = |why: &str| format!("R has a signature that cannot be read: {why}");
    let armour_ends = "it is not exactly one complete block of armour";
    for (armour, refusal) in [
        ("garbage".to_owned(), cannot("it has no armour")),
        (
            block("NOISE", "AAAA"),
            cannot("its kind of armour is unknown"),
        ),
        (
            block("PGP MESSAGE", "AAAA"),
            cannot("its kind of armour is unknown"),
        ),
        (
            block("SIGNED MESSAGE", "AAAA"),
            "R is signed by an X.509 certificate, which is not supported".to_owned(),
        ),
        (
            block("SSH SIGNATURE", "AAAA"),
            cannot("it is not an SSHSIG"),
        ),
        (
            block("PGP SIGNATURE", "\nAAAA"),
            cannot("it is not an OpenPGP signature"),
        ),
        (block("PGP SIGNATURE", "\n"), cannot("it is empty")),
        (
            "-----BEGIN SSH SIGNATURE-----\nAAAA".to_owned(),
            cannot(armour_ends),
        ),
        (
            format!(
                "{}\n{}",
                block("SSH SIGNATURE", "A"),
                block("SSH SIGNATURE", "A")
            ),
            cannot(armour_ends),
        ),
        (
            block("SSH SIGNATURE", &"A".repeat(MAX_SIGNATURE)),
            cannot("it is too long"),
        ),
    ] {
        let commit = with_signature(&unsigned, "gpgsig", &armour);
        let text = refused(super::super::commit(&commit, &signers, now()));
        let start = armour.get(..40).unwrap_or(&armour);
        assert_eq!(text, refusal, "{start}");
    }
    for (raw, refusal) in [
        (&b""[..], "R is unsigned"),
        (b"tree", "R is malformed: its headers do not end"),
        (b" tree\n", "R is malformed: its first header has no name"),
        (
            b"gpgsig\n\n",
            "R has a signature that cannot be read: it has no armour",
        ),
        (
            b"gpgsig \xff\n\n",
            "R has a signature that cannot be read: it is not text",
        ),
    ] {
        let commit = CommitObject {
            id: unsigned.id.clone(),
            raw: raw.to_vec(),
        };
        assert_eq!(
            refused(super::super::commit(&commit, &signers, now())),
            refusal
        );
    }
}

/// Changes random bytes. Nothing panics, and changed bytes are never accepted.
#[test]
fn damaged_objects_are_refused_without_a_panic() {
    let desk = Desk::new();
    let ssh = desk.ssh_key("key", "ed25519", "");
    let key = desk.gpg_key("Ann", "ed25519");
    let openpgp = [
        "commit.gpgSign=true".to_owned(),
        format!("user.signingKey={key}"),
    ];
    let allowed = format!("ann {}", ssh.public);
    let public = desk.export(&key);
    let signers = signers(&[("allowed_signers", &allowed), ("ann.asc", &public)]);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % below
    };
    for config in [&ssh.config()[..], &openpgp] {
        let good = desk.commit(&set(config));
        super::super::commit(&good, &signers, now()).unwrap();
        let payload = object::commit(&good.raw).unwrap().payload;
        for _ in 0..400 {
            let mut bad = good.clone();
            for _ in 0..=next(2) {
                let at = next(bad.raw.len());
                match next(3) {
                    0 => drop(bad.raw.remove(at)),
                    1 => bad.raw.insert(at, next(256) as u8),
                    _ => bad.raw[at] = next(256) as u8,
                }
            }
            if super::super::commit(&bad, &signers, now()).is_ok() {
                assert_eq!(object::commit(&bad.raw).unwrap().payload, payload);
            }
            let tag = TagObject {
                name: "v1".to_owned(),
                raw: bad.raw,
            };
            super::super::tag(Some(&tag), &good.id, &signers, now()).unwrap_err();
        }
    }
}
