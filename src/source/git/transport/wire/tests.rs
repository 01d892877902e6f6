use towline_testing::impostor::packet;

use super::*;
use crate::source::git::limits::PackLimits;

const LIMITS: WireLimits = WireLimits {
    references: 3,
    list_bytes: 1000,
    small_list: 200,
    words: 500,
    pack: PackLimits {
        objects: 10,
        small_objects: 5,
        structure: 1000,
        delta: 1000,
        small_delta: 500,
        inflated: 1000,
        search: std::time::Duration::ZERO,
    },
};

/// An empty pack.
const PACK: &[u8] =
    b"PACK\0\0\0\x02\0\0\0\0\x02\x9d\x08\x82;\xd8\xa8\xea\xb5\x10\xadj\xc7\\\x82<\xfd>\xd3\x1e";

fn read(mut wire: Wire, bytes: &[u8]) -> Result<WireProgress, WireProblem> {
    let mut all = WireProgress::default();
    for part in bytes.chunks(3) {
        let progress = wire.read(part, &mut |_| None)?;
        all.pack += progress.pack;
        all.alive |= progress.alive;
        all.large |= progress.large;
    }
    Ok(all)
}

fn data(bytes: &[u8]) -> Vec<u8> {
    packet([&[DATA], bytes].concat())
}

fn answer(parts: &[Vec<u8>]) -> Result<WireProgress, WireProblem> {
    read(Wire::answer(LIMITS), &parts.concat())
}

#[test]
fn a_list_of_references_has_an_end() {
    let line = |name: &str| packet(format!("{} refs/heads/{name}\n", "1".repeat(40)));
    let list = |count| [line("a").repeat(count), b"0000".to_vec()].concat();
    let references = |bytes: &[u8]| read(Wire::references(LIMITS, 1), bytes);
    assert!(references(&list(3)).is_ok());
    let too_many = WireProblem::TooManyReferences { limit: 3 };
    assert_eq!(references(&list(4)), Err(too_many));
    let too_long = WireProblem::ListTooLong { limit: 1000 };
    assert_eq!(references(&line(&"a".repeat(1000))), Err(too_long));
    // Over SSH, an answer follows.
    let whole = [list(3), packet("NAK\n"), data(PACK), b"0000".to_vec()].concat();
    assert_eq!(references(&whole).unwrap().pack, PACK.len() as u64);
}

#[test]
fn a_pack_is_found_in_packets_and_without_them() {
    let nak = packet("NAK\n");
    let shallow = packet(format!("shallow {}", "1".repeat(40)));
    let progress = packet(b"\x02Counting objects\n");
    let (one, two) = PACK.split_at(7);
    let end = b"0000".to_vec();
    for parts in [
        vec![
            shallow,
            end.clone(),
            nak.clone(),
            progress,
            data(one),
            data(two),
            end.clone(),
        ],
        vec![nak.clone(), data(b""), data(PACK), data(b""), end],
        vec![nak, PACK.to_vec()],
    ] {
        assert_eq!(answer(&parts).unwrap().pack, PACK.len() as u64, "{parts:?}");
    }
    assert!(answer(&[packet(b"\x02wait")]).unwrap().alive);
    assert!(answer(&[data(b"")]).unwrap().alive);
    assert!(!answer(&[packet("NAK\n")]).unwrap().alive);
}

#[test]
fn a_pack_cannot_hide_behind_another_one() {
    // libgit2 skips data before the end of the negotiation.
    let hidden = [data(PACK), packet("NAK\n"), data(PACK)];
    assert_eq!(answer(&hidden), Err(WireProblem::Invalid));
    let twice = [packet("NAK\n"), data(PACK), data(PACK)];
    assert_eq!(answer(&twice), Err(WireProblem::Pack(PackProblem::Invalid)));
}

#[test]
fn messages_have_an_end_and_packets_a_length() {
    let words = WireProblem::TooManyWords { limit: 500 };
    for chatter in [
        packet(b"\x02chatter"),
        packet(b"\x03chatter"),
        packet("NAK\n"),
        packet(format!("shallow {}", "1".repeat(40))),
        b"0000".to_vec(),
        data(b""),
    ] {
        assert_eq!(answer(&[chatter.repeat(500)]), Err(words), "{chatter:?}");
    }
    for bad in ["0001", "0004", "zzzz", "-001", "+005"] {
        let read = answer(&[bad.as_bytes().to_vec()]);
        assert_eq!(read, Err(WireProblem::Invalid), "{bad}");
    }
}
