//! A text apart into the texts of its documents, so that one that changed is read and the others are remembered.
//!
//! `---` at the start of a line is a document's end wherever it stands (YAML 1.2.2, section 9.1.2): inside a scalar it
//! would be indented.

/// The text of a document, its `---` included, and the line it starts at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk<'t> {
    pub text: &'t str,
    /// Bytes of the whole text before it.
    pub start: usize,
    /// From 1.
    pub line: u32,
}

/// The documents' texts in order; together they are the text.
pub fn split(text: &str) -> Vec<Chunk<'_>> {
    // A directive belongs to the document behind it: such texts are rare, and read as one.
    if text.starts_with('%') || text.contains("\n%") {
        return vec![Chunk { text, start: 0, line: 1 }];
    }
    let mut out = Vec::new();
    let (mut start, mut line) = (0, 1);
    for at in memchr::memmem::find_iter(text.as_bytes(), b"\n---").map(|at| at + 1) {
        let ends = text.as_bytes().get(at + 3).is_none_or(|byte| byte.is_ascii_whitespace());
        if ends && at > start {
            let chunk = &text[start..at];
            out.push(Chunk { text: chunk, start, line });
            line += memchr::memchr_iter(b'\n', chunk.as_bytes()).count() as u32;
            start = at;
        }
    }
    out.push(Chunk { text: &text[start..], start, line });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn documents_and_their_lines() {
        let text = "a: 1\n---\nb: |\n  ---\n---x: 1\n--- # c\nc: 3\n---";
        let chunks: Vec<(u32, &str)> = split(text).iter().map(|chunk| (chunk.line, chunk.text)).collect();
        let expected = [(1, "a: 1\n"), (2, "---\nb: |\n  ---\n---x: 1\n"), (6, "--- # c\nc: 3\n"), (8, "---")];
        assert_eq!(chunks, expected);
        assert_eq!(split("%YAML 1.2\n---\na: 1\n---\nb: 1\n").len(), 1);
    }

    proptest! {
        #[test]
        fn together_they_are_the_text(text in "[a:\n #-]{0,60}") {
            let chunks = split(&text);
            let whole: String = chunks.iter().map(|chunk| chunk.text).collect();
            prop_assert_eq!(&whole, &text);
            let mut line = 1;
            for chunk in chunks {
                prop_assert_eq!(chunk.line, line);
                line += chunk.text.matches('\n').count() as u32;
            }
        }
    }
}
