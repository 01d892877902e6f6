use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;

/// Small limits, so that small packs meet them.
const LIMITS: PackLimits = PackLimits {
    objects: 10,
    small_objects: 5,
    structure: 1000,
    delta: 4000,
    small_delta: 2000,
    inflated: 20_000,
    search: Duration::ZERO,
};

/// A pack in the making.
pub(in crate::source::git) struct Pack {
    bytes: Vec<u8>,
    count: u32,
}

impl Pack {
    pub(in crate::source::git) fn new() -> Self {
        Self {
            bytes: b"PACK\0\0\0\x02\0\0\0\0".to_vec(),
            count: 0,
        }
    }

    /// Adds an entry, and returns its offset. `base` is what stands between the size and the data.
    fn entry(&mut self, kind: u8, size: u64, base: &[u8], content: &[u8]) -> usize {
        let start = self.bytes.len();
        let mut rest = size >> 4;
        let mut byte = kind << 4 | u8::try_from(size & 15).unwrap();
        while rest > 0 {
            self.bytes.push(byte | 128);
            byte = u8::try_from(rest & 127).unwrap();
            rest >>= 7;
        }
        self.bytes.push(byte);
        self.bytes.extend_from_slice(base);
        let mut zip = ZlibEncoder::new(&mut self.bytes, Compression::fast());
        zip.write_all(content).unwrap();
        zip.finish().unwrap();
        self.count += 1;
        start
    }

    pub(in crate::source::git) fn object(&mut self, kind: u8, content: &[u8]) -> usize {
        self.entry(kind, content.len() as u64, &[], content)
    }

    /// Adds a delta to the entry at `base`.
    pub(in crate::source::git) fn delta(&mut self, base: usize, sizes: (u64, u64)) -> usize {
        let mut distance = self.bytes.len() - base;
        let mut bytes = vec![u8::try_from(distance & 127).unwrap()];
        while distance > 127 {
            distance = (distance >> 7) - 1;
            bytes.insert(0, 128 | u8::try_from(distance & 127).unwrap());
        }
        let delta = delta(sizes);
        self.entry(DELTA_BY_OFFSET, delta.len() as u64, &bytes, &delta)
    }

    pub(in crate::source::git) fn delta_to(&mut self, id: [u8; ID], sizes: (u64, u64)) -> usize {
        let delta = delta(sizes);
        self.entry(DELTA_BY_ID, delta.len() as u64, &id, &delta)
    }

    pub(in crate::source::git) fn end(mut self) -> Vec<u8> {
        self.bytes[8..12].copy_from_slice(&self.count.to_be_bytes());
        let checksum = ring::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.bytes);
        self.bytes.extend_from_slice(checksum.as_ref());
        self.bytes
    }
}

/// A delta that declares the sizes of its base and its result, and copies the beginning of the base.
fn delta((base, result): (u64, u64)) -> Vec<u8> {
    let mut delta = Vec::new();
    for mut size in [base, result] {
        while size > 127 {
            delta.push(128 | u8::try_from(size & 127).unwrap());
            size >>= 7;
        }
        delta.push(u8::try_from(size).unwrap());
    }
    let mut left = result;
    while left > 0 {
        let part = left.min(0xff_ffff);
        delta.push(0b1111_0000);
        delta.extend_from_slice(&u32::try_from(part).unwrap().to_le_bytes()[..3]);
        left -= part;
    }
    delta
}

pub(in crate::source::git) fn id(kind: &str, content: &[u8]) -> [u8; ID] {
    let text = [format!("{kind} {}\0", content.len()).as_bytes(), content].concat();
    let digest = ring::digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, &text);
    digest.as_ref().try_into().unwrap()
}

/// Reads a pack in parts of each of some lengths. All give the same outcome.
fn scan(pack: &[u8], stored: &[([u8; ID], u64)]) -> Result<Need, PackProblem> {
    let outcomes = [1, 7, 60_000].map(|length| {
        let mut scan = PackScan::new(LIMITS);
        let mut need = Need::Nothing;
        for part in pack.chunks(length) {
            let mut size = |id: &[u8; ID]| {
                let found = stored.iter().find(|(known, _)| known == id);
                found.map(|(_, size)| *size)
            };
            if scan.read(part, &mut size)? == Need::Large {
                need = Need::Large;
            }
        }
        assert_eq!(scan.at, At::End);
        Ok(need)
    });
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
    outcomes[0]
}

fn pack<T>(fill: impl FnOnce(&mut Pack) -> T) -> Vec<u8> {
    let mut pack = Pack::new();
    fill(&mut pack);
    pack.end()
}

#[test]
fn an_ordinary_pack_is_read_to_its_end() {
    let bytes = pack(|pack| {
        let base = pack.object(BLOB, &[b'a'; 1500]);
        pack.object(COMMIT, b"tree x");
        pack.object(TREE, b"");
        let first = pack.delta(base, (1500, 1500));
        pack.delta(first, (1500, 1999));
    });
    assert_eq!(scan(&bytes, &[]), Ok(Need::Nothing));
    // A large file that nothing refers to is never in memory as a whole.
    let bytes = pack(|pack| pack.object(BLOB, &[0; 10_000]));
    assert_eq!(scan(&bytes, &[]), Ok(Need::Nothing));
    assert_eq!(scan(&pack(|_| ()), &[]), Ok(Need::Nothing));
}

#[test]
fn what_takes_more_memory_is_told_before_its_end() {
    let many = pack(|pack| {
        for number in 0..6 {
            pack.object(BLOB, &[number]);
        }
    });
    assert_eq!(scan(&many, &[]), Ok(Need::Large));
    let result = pack(|pack| {
        let base = pack.object(BLOB, b"a");
        pack.delta(base, (1, 2001));
    });
    assert_eq!(scan(&result, &[]), Ok(Need::Large));
    let base = pack(|pack| {
        let base = pack.object(BLOB, &[0; 2001]);
        pack.delta(base, (1, 1));
    });
    assert_eq!(scan(&base, &[]), Ok(Need::Large));
}

#[test]
fn a_pack_that_would_take_too_much_is_refused() {
    let big = [0; 4001];
    let limit = LIMITS.delta;
    let too_large = |size| PackProblem::DeltaTooLarge { size, limit };
    let by_offset = |sizes| {
        pack(|pack| {
            let base = pack.object(BLOB, &big);
            pack.delta(base, sizes);
        })
    };
    for (what, bytes, problem) in [
        ("the base", by_offset((4001, 1)), too_large(4001)),
        (
            "a base that is said to be small",
            by_offset((1, 1)),
            too_large(4001),
        ),
        (
            "the result",
            pack(|pack| {
                let base = pack.object(BLOB, b"a");
                pack.delta(base, (1, 4001));
            }),
            too_large(4001),
        ),
        (
            "the delta",
            pack(|pack| {
                let base = pack.object(BLOB, b"a");
                pack.entry(
                    DELTA_BY_OFFSET,
                    4001,
                    &[u8::try_from(pack.bytes.len() - base).unwrap()],
                    &big,
                );
            }),
            too_large(4001),
        ),
        (
            "a base by its id",
            pack(|pack| {
                pack.object(BLOB, &big);
                pack.delta_to(id("blob", &big), (1, 1));
            }),
            too_large(4001),
        ),
        (
            "a base by its id that comes later",
            pack(|pack| {
                pack.delta_to(id("blob", &big), (1, 1));
                pack.object(BLOB, &big);
            }),
            too_large(4001),
        ),
        (
            "a base that an earlier fetch stored",
            pack(|pack| pack.delta_to([7; ID], (1, 1))),
            too_large(5000),
        ),
        (
            "objects",
            pack(|pack| {
                for number in 0..11 {
                    pack.object(BLOB, &[number]);
                }
            }),
            PackProblem::TooManyObjects {
                count: 11,
                limit: 10,
            },
        ),
        (
            "a tree",
            pack(|pack| pack.object(TREE, &[0; 1001])),
            PackProblem::ObjectTooLarge {
                kind: "tree",
                size: 1001,
                limit: 1000,
            },
        ),
        (
            "a tag",
            pack(|pack| pack.object(TAG, &[0; 1001])),
            PackProblem::ObjectTooLarge {
                kind: "tag",
                size: 1001,
                limit: 1000,
            },
        ),
        (
            "all files",
            pack(|pack| {
                pack.object(BLOB, &[0; 10_001]);
                pack.object(BLOB, &[1; 10_001]);
            }),
            PackProblem::TooLargeInflated { limit: 20_000 },
        ),
        (
            "all results",
            pack(|pack| {
                let base = pack.object(BLOB, b"a");
                for _ in 0..6 {
                    pack.delta(base, (1, 3900));
                }
            }),
            PackProblem::TooLargeInflated { limit: 20_000 },
        ),
    ] {
        assert_eq!(scan(&bytes, &[([7; ID], 5000)]), Err(problem), "{what}");
    }
}

#[test]
fn what_is_no_pack_is_refused() {
    let good = pack(|pack| pack.object(BLOB, b"abc"));
    let longer = pack(|pack| pack.entry(BLOB, 2, &[], b"abc"));
    let shorter = pack(|pack| pack.entry(BLOB, 4, &[], b"abc"));
    let kind = pack(|pack| pack.entry(5, 1, &[], b"a"));
    let before = pack(|pack| pack.entry(DELTA_BY_OFFSET, 2, &[127], &[0, 0]));
    let no_delta = pack(|pack| {
        let base = pack.object(BLOB, b"abc");
        let distance = u8::try_from(pack.bytes.len() - base).unwrap();
        pack.entry(DELTA_BY_OFFSET, 1, &[distance], &[255]);
    });
    let endless = [b"PACK\0\0\0\x02\0\0\0\x01".to_vec(), vec![255; 20]].concat();
    let garbage = [good.clone(), b"x".to_vec()].concat();
    let not_zipped = [&good[..13], b"not zipped at all"].concat();
    for bad in [
        longer,
        shorter,
        kind,
        before,
        no_delta,
        endless,
        garbage,
        not_zipped,
        b"PACQ".to_vec(),
        b"0000".to_vec(),
    ] {
        assert_eq!(scan(&bad, &[]), Err(PackProblem::Invalid), "{bad:?}");
    }
}
