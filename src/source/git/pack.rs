//! Reads a pack while it is received, before libgit2 sees it, and refuses what would take too much
//! memory or time to index.
//!
//! libgit2 inflates the base and the result of every delta in memory, whatever their size is. The
//! sizes are declared in the pack: an entry begins with its own size, and a delta begins with those
//! of its base and its result. The latter are compressed, and nothing but the compressed data says
//! where an entry ends, so this module inflates every entry once.
//!
//! What a delta declares about its base need not be true. So the sizes of all entries that are large
//! are remembered, by offset and by id, and a base that an earlier fetch stored is looked up.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use flate2::{Decompress, FlushDecompress, Status};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use super::limits::PackLimits;

/// The length of the header of a pack, of an id, and of the pack's checksum, in bytes.
const HEADER: usize = 12;
const ID: usize = 20;
/// The longest number in an entry that is not an error: 64 bits, 7 in each byte.
const MAX_NUMBER: u32 = 63;
/// The two numbers at the beginning of a delta have at most this many bytes.
const DELTA_HEAD: usize = 20;

/// Why a pack is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PackProblem {
    /// It is not a pack.
    Invalid,
    TooManyObjects {
        count: u64,
        limit: u64,
    },
    /// A commit, a tree or a tag.
    ObjectTooLarge {
        kind: &'static str,
        size: u64,
        limit: u64,
    },
    /// An object that is stored as a difference to another one, or that other one.
    DeltaTooLarge {
        size: u64,
        limit: u64,
    },
    /// All objects together.
    TooLargeInflated {
        limit: u64,
    },
    /// The objects that are stored as differences are in an order in which it takes too long to find their bases.
    TooMuchSearch {
        limit: Duration,
    },
}

/// What a pack needs before its next bytes may be indexed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// Much memory.
    Large,
}

/// Finds the size of an object that an earlier fetch stored.
pub(super) type BaseSize<'a> = &'a mut dyn FnMut(&[u8; ID]) -> Option<u64>;

/// The state of reading one pack.
pub(super) struct PackScan {
    limits: PackLimits,
    at: At,
    /// The bytes of a header, id or checksum so far.
    part: Vec<u8>,
    /// Entries that have not begun.
    left: u64,
    /// Bytes of the pack so far.
    offset: u64,
    entry: PackEntry,
    zip: Decompress,
    inflated: Vec<u8>,
    /// The inflated bytes of all entries.
    total: u64,
    /// The sizes of the large entries, by offset and by id.
    by_offset: HashMap<u64, u64>,
    by_id: HashMap<[u8; ID], u64>,
    /// The ids of bases that were not seen yet.
    expected: HashSet<[u8; ID]>,
    is_large: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Header,
    /// The kind and the size of an entry.
    Start,
    BaseOffset,
    BaseId,
    Data,
    Checksum,
    End,
}

/// The entry that is being read.
#[derive(Default)]
struct PackEntry {
    start: u64,
    kind: u8,
    size: u64,
    /// The bits of the size so far, or none before the first byte.
    shift: u32,
    base_offset: u64,
    base_bytes: u32,
    got: u64,
    /// The beginning of a delta.
    head: Vec<u8>,
    /// Computes the id of a large entry.
    hash: Option<Context>,
}

const COMMIT: u8 = 1;
const TREE: u8 = 2;
const BLOB: u8 = 3;
const TAG: u8 = 4;
const DELTA_BY_OFFSET: u8 = 6;
const DELTA_BY_ID: u8 = 7;

fn kind_name(kind: u8) -> Option<&'static str> {
    match kind {
        COMMIT => Some("commit"),
        TREE => Some("tree"),
        BLOB => Some("blob"),
        TAG => Some("tag"),
        _ => None,
    }
}

impl PackScan {
    pub(super) fn new(limits: PackLimits) -> Self {
        Self {
            limits,
            at: At::Header,
            part: Vec::new(),
            left: 0,
            offset: 0,
            entry: PackEntry::default(),
            zip: Decompress::new(true),
            inflated: vec![0; 32 << 10],
            total: 0,
            by_offset: HashMap::new(),
            by_id: HashMap::new(),
            expected: HashSet::new(),
            is_large: false,
        }
    }

    /// The bytes of all objects so far.
    pub(super) fn inflated(&self) -> u64 {
        self.total
    }

    /// Reads the next bytes of the pack.
    pub(super) fn read(
        &mut self,
        mut bytes: &[u8],
        base_size: BaseSize<'_>,
    ) -> Result<Need, PackProblem> {
        let mut need = Need::Nothing;
        while !bytes.is_empty() {
            let used = match self.at {
                At::Header => self.header(bytes, &mut need)?,
                At::Start => self.start(bytes[0])?,
                At::BaseOffset => self.base_offset(bytes[0])?,
                At::BaseId => self.base_id(bytes, base_size)?,
                At::Data => self.data(bytes)?,
                At::Checksum => self.checksum(bytes, &mut need),
                At::End => return Err(PackProblem::Invalid),
            };
            self.offset += used as u64;
            bytes = &bytes[used..];
        }
        Ok(need)
    }

    /// Collects `wanted` bytes, and returns how many it took.
    fn collect(&mut self, bytes: &[u8], wanted: usize) -> usize {
        let used = bytes.len().min(wanted - self.part.len());
        self.part.extend_from_slice(&bytes[..used]);
        used
    }

    fn header(&mut self, bytes: &[u8], need: &mut Need) -> Result<usize, PackProblem> {
        let used = self.collect(bytes, HEADER);
        if !b"PACK".starts_with(&self.part[..self.part.len().min(4)]) {
            return Err(PackProblem::Invalid);
        }
        if let Some(count) = self.part.get(8..HEADER) {
            let count = count
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            let limit = self.limits.objects;
            if count > limit {
                return Err(PackProblem::TooManyObjects { count, limit });
            }
            if count > self.limits.small_objects {
                *need = Need::Large;
            }
            self.left = count;
            self.part.clear();
            self.next_entry(self.offset + used as u64);
        }
        Ok(used)
    }

    fn next_entry(&mut self, start: u64) {
        self.entry = PackEntry {
            start,
            ..PackEntry::default()
        };
        self.at = match self.left {
            0 => At::Checksum,
            _ => At::Start,
        };
    }

    /// Reads a byte of the kind and the size.
    fn start(&mut self, byte: u8) -> Result<usize, PackProblem> {
        let entry = &mut self.entry;
        match entry.shift {
            0 => {
                entry.kind = byte >> 4 & 7;
                entry.size = u64::from(byte & 15);
                entry.shift = 4;
            }
            shift if shift > MAX_NUMBER => return Err(PackProblem::Invalid),
            shift => {
                entry.size |= u64::from(byte & 127) << shift;
                entry.shift += 7;
            }
        }
        if byte & 128 == 0 {
            self.begin()?;
        }
        Ok(1)
    }

    /// Judges the entry by its kind and size.
    fn begin(&mut self) -> Result<(), PackProblem> {
        let (kind, size) = (self.entry.kind, self.entry.size);
        self.total = self.total.saturating_add(size);
        self.within_total()?;
        self.left -= 1;
        self.zip.reset(true);
        let limits = self.limits;
        let name = match kind {
            DELTA_BY_OFFSET | DELTA_BY_ID => {
                // The delta is inflated in memory as well.
                self.delta_part(size)?;
                self.at = match kind {
                    DELTA_BY_OFFSET => At::BaseOffset,
                    _ => At::BaseId,
                };
                return Ok(());
            }
            kind => kind_name(kind).ok_or(PackProblem::Invalid)?,
        };
        if kind != BLOB && size > limits.structure {
            let (kind, limit) = (name, limits.structure);
            return Err(PackProblem::ObjectTooLarge { kind, size, limit });
        }
        if size > limits.small_delta {
            let mut hash = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
            hash.update(format!("{name} {size}\0").as_bytes());
            self.entry.hash = Some(hash);
            self.by_offset.insert(self.entry.start, size);
        }
        self.at = At::Data;
        Ok(())
    }

    fn within_total(&self) -> Result<(), PackProblem> {
        let limit = self.limits.inflated;
        match self.total > limit {
            true => Err(PackProblem::TooLargeInflated { limit }),
            false => Ok(()),
        }
    }

    /// Judges what is in memory while a delta is applied: the delta, its base or its result.
    fn delta_part(&mut self, size: u64) -> Result<(), PackProblem> {
        let limit = self.limits.delta;
        if size > limit {
            return Err(PackProblem::DeltaTooLarge { size, limit });
        }
        self.is_large |= size > self.limits.small_delta;
        Ok(())
    }

    /// Reads a byte of the distance to the base.
    fn base_offset(&mut self, byte: u8) -> Result<usize, PackProblem> {
        let entry = &mut self.entry;
        entry.base_bytes += 7;
        if entry.base_bytes > MAX_NUMBER {
            return Err(PackProblem::Invalid);
        }
        let before = match entry.base_bytes {
            7 => 0,
            _ => (entry.base_offset + 1) << 7,
        };
        entry.base_offset = before | u64::from(byte & 127);
        if byte & 128 == 0 {
            let base = entry.start.checked_sub(entry.base_offset);
            let base = base.ok_or(PackProblem::Invalid)?;
            if let Some(size) = self.by_offset.get(&base).copied() {
                self.delta_part(size)?;
            }
            self.at = At::Data;
        }
        Ok(1)
    }

    fn base_id(&mut self, bytes: &[u8], base_size: BaseSize<'_>) -> Result<usize, PackProblem> {
        let used = self.collect(bytes, ID);
        if let Ok(id) = <[u8; ID]>::try_from(self.part.as_slice()) {
            self.part.clear();
            self.at = At::Data;
            let known = self.by_id.get(&id).copied();
            match known.or_else(|| base_size(&id)) {
                Some(size) => self.delta_part(size)?,
                // It may come later in the pack.
                None => drop(self.expected.insert(id)),
            }
        }
        Ok(used)
    }

    /// Inflates the data of the entry.
    fn data(&mut self, bytes: &[u8]) -> Result<usize, PackProblem> {
        let (read, wrote) = (self.zip.total_in(), self.zip.total_out());
        let inflated = self
            .zip
            .decompress(bytes, &mut self.inflated, FlushDecompress::None);
        let status = inflated.map_err(|_| PackProblem::Invalid)?;
        let used = usize::try_from(self.zip.total_in() - read).unwrap_or(bytes.len());
        let got = usize::try_from(self.zip.total_out() - wrote).unwrap_or(0);
        let new = self.inflated.get(..got).unwrap_or_default();
        let entry = &mut self.entry;
        entry.got += got as u64;
        if entry.got > entry.size {
            return Err(PackProblem::Invalid);
        }
        if let Some(hash) = &mut entry.hash {
            hash.update(new);
        }
        if matches!(entry.kind, DELTA_BY_OFFSET | DELTA_BY_ID) && entry.head.len() < DELTA_HEAD {
            let room = new.len().min(DELTA_HEAD - entry.head.len());
            entry.head.extend_from_slice(&new[..room]);
        }
        match status {
            Status::StreamEnd => {
                self.finish()?;
                self.next_entry(self.offset + used as u64);
            }
            Status::Ok | Status::BufError if used == 0 && got == 0 => {
                return Err(PackProblem::Invalid);
            }
            Status::Ok | Status::BufError => (),
        }
        Ok(used)
    }

    /// Judges the entry by its content.
    fn finish(&mut self) -> Result<(), PackProblem> {
        if self.entry.got != self.entry.size {
            return Err(PackProblem::Invalid);
        }
        if let Some(hash) = self.entry.hash.take() {
            let mut id = [0; ID];
            id.copy_from_slice(hash.finish().as_ref());
            self.by_id.insert(id, self.entry.size);
            if self.expected.remove(&id) {
                self.delta_part(self.entry.size)?;
            }
        }
        if matches!(self.entry.kind, DELTA_BY_OFFSET | DELTA_BY_ID) {
            let head = std::mem::take(&mut self.entry.head);
            let (base, rest) = number(&head).ok_or(PackProblem::Invalid)?;
            let (result, _) = number(rest).ok_or(PackProblem::Invalid)?;
            self.delta_part(base)?;
            self.delta_part(result)?;
            self.total = self.total.saturating_add(result);
            self.within_total()?;
        }
        Ok(())
    }

    /// Reads the end of the pack. libgit2 applies the deltas after it has got the end.
    fn checksum(&mut self, bytes: &[u8], need: &mut Need) -> usize {
        let used = self.collect(bytes, ID);
        if self.is_large {
            *need = Need::Large;
        }
        if self.part.len() == ID {
            self.at = At::End;
        }
        used
    }
}

/// A number at the beginning of a delta, and the rest.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate() {
        let shift = 7 * u32::try_from(index).ok()?;
        if shift > MAX_NUMBER {
            return None;
        }
        value |= u64::from(byte & 127) << shift;
        if byte & 128 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(super) mod tests;
