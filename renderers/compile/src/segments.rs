//! Merges data segments. Go writes one data segment for each run of bytes without eight zeros in it: a
//! hundred thousand for a large program, and validators accept no more. This module rewrites them as a
//! few large segments.

use std::fmt;

use wasm_encoder::{ConstExpr, DataSection, RawSection};
use wasmparser::{Data, DataKind, Operator, Parser, Payload};

/// Two segments are merged if there are at most this many zero bytes between them.
const GAP: usize = 4096;

#[derive(Debug)]
pub struct Unsupported(String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}

/// The module with its data in large segments. Nothing else changes.
pub fn merged(wasm: &[u8]) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut module = wasm_encoder::Module::new();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload? {
            Payload::DataSection(reader) => {
                let mut segments = Vec::new();
                for data in reader {
                    segments.push(segment(&data?)?);
                }
                segments.sort_by_key(|(offset, _)| *offset);
                let mut section = DataSection::new();
                for (offset, bytes) in runs(&segments)? {
                    let offset = ConstExpr::i32_const(i32::from_ne_bytes(offset.to_ne_bytes()));
                    section.active(0, &offset, bytes);
                }
                module.section(&section);
            }
            // Custom sections, such as function names. Nothing reads them later.
            Payload::CustomSection(_) => {}
            // Go writes no data count, and with other segments it would be wrong.
            Payload::DataCountSection { .. } => {}
            payload => {
                if let Some((id, range)) = payload.as_section() {
                    module.section(&RawSection {
                        id,
                        data: &wasm[range],
                    });
                }
            }
        }
    }
    Ok(module.finish())
}

fn segment<'a>(data: &Data<'a>) -> Result<(u32, &'a [u8]), Box<dyn std::error::Error>> {
    let DataKind::Active {
        memory_index: 0,
        offset_expr,
    } = &data.kind
    else {
        return Err(Unsupported("a data segment that is not active in memory 0".to_owned()).into());
    };
    let Operator::I32Const { value } = offset_expr.get_operators_reader().read()? else {
        return Err(Unsupported("a data segment whose offset is not a constant".to_owned()).into());
    };
    Ok((u32::from_ne_bytes(value.to_ne_bytes()), data.data))
}

fn runs(segments: &[(u32, &[u8])]) -> Result<Vec<(u32, Vec<u8>)>, Unsupported> {
    let mut runs: Vec<(u32, Vec<u8>)> = Vec::new();
    for (offset, bytes) in segments {
        if let Some((start, run)) = runs.last_mut() {
            let end = *start as usize + run.len();
            let next = *offset as usize;
            if next < end {
                return Err(Unsupported("data segments that overlap".to_owned()));
            }
            if next - end <= GAP {
                run.resize(next - *start as usize, 0);
                run.extend_from_slice(bytes);
                continue;
            }
        }
        runs.push((*offset, bytes.to_vec()));
    }
    Ok(runs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_segments_become_one_and_far_ones_stay_apart() {
        let far = [9];
        let segments: Vec<(u32, &[u8])> = vec![(8, &[1, 2]), (16, &[3]), (100_000, &far)];
        let runs = runs(&segments).unwrap();
        assert_eq!(
            runs,
            [(8, vec![1, 2, 0, 0, 0, 0, 0, 0, 3]), (100_000, vec![9])]
        );
    }

    #[test]
    fn overlapping_segments_are_refused() {
        let segments: Vec<(u32, &[u8])> = vec![(8, &[1, 2]), (9, &[3])];
        assert!(runs(&segments).is_err());
    }
}
