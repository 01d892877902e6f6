//! Patterns as in OpenSSH (ssh_config(5), PATTERNS).

/// Whether `text` matches `glob`. `*` matches any text and `?` any byte. The time is at most in
/// proportion to the product of both lengths.
pub(crate) fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while read < text.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[read] => {
                at += 1;
                read += 1;
            }
            _ => match &mut star {
                Some((place, from)) => {
                    *from += 1;
                    (at, read) = (*place + 1, *from);
                }
                None => return false,
            },
        }
    }
    glob[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_take_no_exponential_time() {
        let glob = "*a".repeat(50) + "b";
        assert!(!matches(glob.as_bytes(), "a".repeat(5000).as_bytes()));
        assert!(matches(b"*", b""));
        assert!(matches(b"a*b*c", b"axxbxxbc"));
    }
}
