//! Messages of a server for people. Git shows them after `remote:`.

/// The most that is kept, in bytes.
const MAX: usize = 2048;

/// The beginnings of lines that only report progress.
const PROGRESS: [&str; 5] = [
    "Enumerating objects",
    "Counting objects",
    "Compressing objects",
    "Writing objects",
    "Total ",
];

/// The last messages of a server.
#[derive(Debug, Default)]
pub(super) struct Remarks(Vec<u8>);

impl Remarks {
    /// Adds text. It may begin and end inside a line.
    pub(super) fn add(&mut self, words: &[u8]) {
        self.0.extend_from_slice(words);
        let surplus = self.0.len().saturating_sub(MAX);
        self.0.drain(..surplus);
    }

    /// The messages on one line, without reports of progress.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let lines = text.split(['\n', '\r']).map(str::trim);
        let is_remark =
            |line: &&str| !line.is_empty() && !PROGRESS.iter().any(|sign| line.starts_with(sign));
        lines.filter(is_remark).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_no_remark() {
        let mut remarks = Remarks::default();
        assert_eq!(remarks.text(), "");
        for words in [
            "Enumerating objects: 3, done.\nCounting objects:  33% (1/3)\rCounting",
            " objects: 100% (3/3), done.\nfatal: unable to read ",
            "0123\nremote side aborts\nTotal 3 (delta 0)",
        ] {
            remarks.add(words.as_bytes());
        }
        assert_eq!(
            remarks.text(),
            "fatal: unable to read 0123; remote side aborts"
        );
    }

    #[test]
    fn a_talkative_server_is_remembered_by_its_last_words() {
        let mut remarks = Remarks::default();
        for _ in 0..100 {
            remarks.add("é\n".repeat(100).as_bytes());
        }
        remarks.add(b"the end");
        assert!(remarks.text().len() <= 2 * MAX);
        assert!(remarks.text().ends_with("; the end"));
    }
}
