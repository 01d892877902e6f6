//! Reads what a server sends before libgit2 sees it, and refuses what would take too much memory.
//!
//! A server sends packets (gitprotocol-common(5), "pkt-line format"): first the list of its
//! references, and after each request an answer. An answer ends with a pack, in packets of the first
//! band, or as it is if the server has no bands.

use crate::source::git::limits::WireLimits;
use crate::source::git::pack::{BaseSize, Need, PackProblem, PackScan};

/// Why what a server sends is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireProblem {
    /// It does not follow the protocol.
    Invalid,
    TooManyReferences {
        limit: u64,
    },
    ListTooLong {
        limit: u64,
    },
    /// Packets that are neither references nor part of the pack.
    TooManyWords {
        limit: u64,
    },
    Pack(PackProblem),
}

/// What was new in a part of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WireProgress {
    /// Bytes of the pack.
    pub(super) pack: u64,
    /// The bytes of all objects of the pack so far.
    pub(super) inflated: u64,
    /// Whether the server said that it still works: a message, or an empty packet.
    pub(super) alive: bool,
    /// Whether the rest needs much memory.
    pub(super) large: bool,
}

/// The state of reading one server's packets.
pub(super) struct Wire {
    limits: WireLimits,
    part: Part,
    /// Empty packets until the end of the references.
    flushes: u32,
    /// The length of the next packet so far.
    length: Vec<u8>,
    /// The rest of the current packet.
    left: usize,
    band: Option<u8>,
    references: u64,
    list_bytes: u64,
    words: u64,
    pack: Option<Box<PackScan>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    References,
    Answer,
    /// A pack without packets.
    Bare,
}

const DATA: u8 = 1;
const PROGRESS: u8 = 2;
const ERROR: u8 = 3;

impl Wire {
    /// Reads a list of references, which ends with the given number of empty packets. What follows
    /// is an answer.
    pub(super) fn references(limits: WireLimits, flushes: u32) -> Self {
        Self {
            limits,
            part: Part::References,
            flushes,
            length: Vec::new(),
            left: 0,
            band: None,
            references: 0,
            list_bytes: 0,
            words: 0,
            pack: None,
        }
    }

    /// Reads an answer to a request.
    pub(super) fn answer(limits: WireLimits) -> Self {
        Self {
            part: Part::Answer,
            ..Self::references(limits, 0)
        }
    }

    /// Reads the next bytes.
    pub(super) fn read(
        &mut self,
        mut bytes: &[u8],
        base_size: BaseSize<'_>,
    ) -> Result<WireProgress, WireProblem> {
        let mut progress = WireProgress::default();
        while let Some(first) = bytes.first() {
            if self.part == Part::Bare {
                self.read_pack(bytes, base_size, &mut progress)?;
                break;
            }
            let used = match self.left {
                0 => self.read_length(*first, base_size, &mut progress)?,
                _ => self.read_packet(bytes, base_size, &mut progress)?,
            };
            bytes = &bytes[used..];
        }
        Ok(progress)
    }

    /// Reads a byte of the length of a packet.
    fn read_length(
        &mut self,
        byte: u8,
        base_size: BaseSize<'_>,
        progress: &mut WireProgress,
    ) -> Result<usize, WireProblem> {
        self.length.push(byte);
        if self.part == Part::References {
            self.count(1)?;
        }
        if self.length.len() < 4 {
            return Ok(1);
        }
        if self.part == Part::Answer && self.length == b"PACK" {
            self.part = Part::Bare;
            let start = std::mem::take(&mut self.length);
            self.read_pack(&start, base_size, progress)?;
            return Ok(1);
        }
        let is_hex = self.length.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(&self.length).ok().filter(|_| is_hex);
        let length = text.and_then(|text| usize::from_str_radix(text, 16).ok());
        self.length.clear();
        self.band = None;
        match length {
            Some(0) => self.flush()?,
            Some(length @ 5..) => {
                self.left = length - 4;
                if self.part == Part::References {
                    self.references += 1;
                }
            }
            _ => return Err(WireProblem::Invalid),
        }
        let limit = self.limits.references;
        match self.references > limit {
            true => Err(WireProblem::TooManyReferences { limit }),
            false => Ok(1),
        }
    }

    /// An empty packet ends the list of references.
    fn flush(&mut self) -> Result<(), WireProblem> {
        match self.part {
            Part::References => {
                self.flushes = self.flushes.saturating_sub(1);
                if self.flushes == 0 {
                    self.part = Part::Answer;
                }
                Ok(())
            }
            Part::Answer | Part::Bare => self.count(4),
        }
    }

    fn read_packet(
        &mut self,
        bytes: &[u8],
        base_size: BaseSize<'_>,
        progress: &mut WireProgress,
    ) -> Result<usize, WireProblem> {
        let used = bytes.len().min(self.left);
        self.left -= used;
        let mut content = &bytes[..used];
        if self.band.is_none() && self.part == Part::Answer {
            let first = bytes[0];
            if matches!(first, DATA | PROGRESS | ERROR) {
                content = &content[1..];
            } else if self.pack.is_some() {
                // libgit2 skips data that comes before the end of the negotiation. With such a
                // packet after data, it would index another pack than the one that was read here.
                return Err(WireProblem::Invalid);
            }
            self.band = Some(first);
            if first != DATA || (content.is_empty() && self.left == 0) {
                // The length of the packet.
                self.count(4)?;
            }
        }
        match self.band {
            Some(DATA) if content.is_empty() && self.left == 0 => progress.alive = true,
            Some(DATA) => self.read_pack(content, base_size, progress)?,
            band => {
                self.count(used as u64)?;
                progress.alive |= band == Some(PROGRESS) && self.left == 0;
            }
        }
        Ok(used)
    }

    /// Counts bytes that are not part of the pack.
    fn count(&mut self, bytes: u64) -> Result<(), WireProblem> {
        let (so_far, limit) = match self.part {
            Part::References => (&mut self.list_bytes, self.limits.list_bytes),
            Part::Answer | Part::Bare => (&mut self.words, self.limits.words),
        };
        *so_far += bytes;
        match (*so_far > limit, self.part) {
            (false, _) => Ok(()),
            (true, Part::References) => Err(WireProblem::ListTooLong { limit }),
            (true, Part::Answer | Part::Bare) => Err(WireProblem::TooManyWords { limit }),
        }
    }

    fn read_pack(
        &mut self,
        bytes: &[u8],
        base_size: BaseSize<'_>,
        progress: &mut WireProgress,
    ) -> Result<(), WireProblem> {
        let limits = self.limits.pack;
        let pack = self
            .pack
            .get_or_insert_with(|| Box::new(PackScan::new(limits)));
        let need = pack.read(bytes, base_size).map_err(WireProblem::Pack)?;
        progress.pack += bytes.len() as u64;
        progress.inflated = pack.inflated();
        progress.large |= need == Need::Large;
        Ok(())
    }

    /// Whether the server has begun to send something and has not ended it. A server may take its
    /// time before its first reference, and before the pack.
    pub(super) fn is_flowing(&self) -> bool {
        match self.part {
            Part::References => self.list_bytes > 0,
            Part::Answer => self.is_open(),
            Part::Bare => true,
        }
    }

    /// Whether a packet or the pack is not over.
    pub(super) fn is_open(&self) -> bool {
        self.left > 0 || !self.length.is_empty() || self.pack.is_some()
    }

    /// Whether the list of references is so long that it needs much memory.
    pub(super) fn has_long_list(&self) -> bool {
        self.list_bytes > self.limits.small_list
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
