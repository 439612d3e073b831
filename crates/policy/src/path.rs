//! One normal form of a path, for matching, authorization and forwarding alike.
//!
//! As Envoy's `normalize_path`: dot segments are resolved (one with parameters, `..;x`, is one too), escaped unreserved
//! characters decoded, characters that no URI may hold escaped, `\` becomes `/`.
//! Repeated slashes and `%2F` stay as they are. Does not: touch the query.

/// A path that has no normal form.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unnormal;

/// The normal form: the path itself when it is normal already (one cheap pass), else written into `out`.
///
/// # Errors
/// A NUL, escaped or not, or an escape that is not two hex digits.
pub fn normalise<'a>(path: &'a [u8], out: &'a mut Vec<u8>) -> Result<&'a [u8], Unnormal> {
    if path.first() != Some(&b'/') || is_normal(path) {
        return Ok(path);
    }
    out.clear();
    decode(path, out)?;
    resolve(out);
    Ok(out)
}

/// Nothing that decoding or resolving could change. Says no too often rather than too seldom.
fn is_normal(path: &[u8]) -> bool {
    const ODD: u8 = 1;
    const DOT: u8 = 2;
    // No early exit, so that the compiler makes it a vector loop; a dot behind a slash is looked for when there is one.
    let seen = path.iter().fold(0, |seen, byte| {
        let odd = if (*byte == b'%') | (*byte == b'\\') | is_no_path(*byte) { ODD } else { 0 };
        seen | odd | if *byte == b'.' { DOT } else { 0 }
    });
    seen & ODD == 0 && !(seen & DOT != 0 && path.windows(2).any(|pair| pair == b"/."))
}

/// Decodes escapes of unreserved characters (RFC 3986 section 6.2.2.2) and turns backslashes.
fn decode(path: &[u8], out: &mut Vec<u8>) -> Result<(), Unnormal> {
    let mut at = 0;
    while at < path.len() {
        match path[at] {
            b'%' => {
                let (high, low) = (path.get(at + 1).and_then(hex), path.get(at + 2).and_then(hex));
                let (Some(high), Some(low)) = (high, low) else { return Err(Unnormal) };
                let byte = high << 4 | low;
                match byte {
                    0 => return Err(Unnormal),
                    _ if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => out.push(byte),
                    _ => out.extend_from_slice(&path[at..at + 3]),
                }
                at += 3;
            }
            b'\\' => {
                out.push(b'/');
                at += 1;
            }
            0 => return Err(Unnormal),
            byte if is_no_path(byte) => {
                let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
                out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
                at += 1;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Ok(())
}

/// Has it no place in a path (RFC 3986 section 3.3)? Brackets are left, as browsers and Envoy leave them.
const fn is_no_path(byte: u8) -> bool {
    ((byte >= b'{') & (byte != b'~'))
        | (byte <= b' ')
        | (byte == b'"')
        | (byte == b'<')
        | (byte == b'>')
        | (byte == b'^')
        | (byte == b'`')
}

fn hex(byte: &u8) -> Option<u8> {
    (*byte as char).to_digit(16).map(|digit| digit as u8)
}

/// Removes dot segments in place (RFC 3986 section 5.2.4).
fn resolve(path: &mut Vec<u8>) {
    let mut write = 0;
    let mut read = 0;
    while read < path.len() {
        // `read` stands on a slash.
        let end = path[read + 1..].iter().position(|byte| *byte == b'/').map_or(path.len(), |at| read + 1 + at);
        let segment = &path[read + 1..end];
        let bare = segment.iter().position(|byte| *byte == b';').unwrap_or(segment.len());
        match &segment[..bare] {
            b"." | b".." => {
                if bare == 2 {
                    write = path[..write].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                }
                if end == path.len() {
                    path[write] = b'/';
                    write += 1;
                }
            }
            _ => {
                path.copy_within(read..end, write);
                write += end - read;
            }
        }
        read = end;
    }
    path.truncate(write.max(1));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal(path: &str) -> Option<String> {
        let mut out = Vec::new();
        normalise(path.as_bytes(), &mut out).ok().map(|path| String::from_utf8_lossy(path).into_owned())
    }

    #[test]
    fn as_envoy_does_it() {
        let rows = [
            ("/open/../secret", "/secret"),
            ("/./x", "/x"),
            ("//x//y", "//x//y"),
            ("/x%2Fy", "/x%2Fy"),
            ("/a|b^c{d}\"<`é>", "/a%7Cb%5Ec%7Bd%7D%22%3C%60%C3%A9%3E"),
            ("/a[b]~'%7c", "/a[b]~'%7c"),
            ("/%73ecret", "/secret"),
            ("/a/%2e%2e/secret", "/secret"),
            ("/a\\b", "/a/b"),
            ("/../../x", "/x"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/.hidden/..x", "/.hidden/..x"),
            ("/", "/"),
            ("*", "*"),
            ("/a/..;x=1/b", "/b"),
            ("/a/.;/b", "/a/b"),
            ("/a/b/..;", "/a/"),
            ("/a;p/...;/b", "/a;p/...;/b"),
            ("/b\"<>`{}|^", "/b%22%3C%3E%60%7B%7D%7C%5E"),
        ];
        for (path, expected) in rows {
            assert_eq!(normal(path).as_deref(), Some(expected), "{path}");
        }
        assert_eq!(normal("/a%00b"), None);
        assert_eq!(normal("/a%2"), None);
    }

    /// Found by fuzzing: it was escaped, and the normal form was refused as a path.
    #[test]
    fn a_bare_nul_has_no_normal_form_as_an_escaped_one_has_none() {
        assert_eq!(normal("/\0"), None);
        assert_eq!(normal("//..\0"), None);
    }

    proptest! {
        #[test]
        fn the_normal_form_is_its_own_normal_form_and_has_no_dots(path in "/(\\.|\\.\\.|/|a|;|\\{|%2e|%2E|%2f|\\\\|%61|b){0,12}") {
            let once = normal(&path).expect("well-formed escapes");
            prop_assert!(once.len() <= 3 * path.len().max(1));
            prop_assert!(once.starts_with('/'));
            prop_assert!(!once.split('/').any(|segment| segment == "." || segment == ".."), "{once}");
            prop_assert_eq!(normal(&once).expect("normal"), once);
        }

        #[test]
        fn no_bytes_make_it_panic(path in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut out = Vec::new();
            let _ = normalise(&path, &mut out);
        }
    }
}
