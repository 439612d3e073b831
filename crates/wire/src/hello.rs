//! The name that a TLS client asks for, out of its first bytes, without speaking TLS (RFC 8446 section 4.1.2, RFC 6066
//! section 3).
//!
//! ```text
//!   record(s) type 22 ─► handshake type 1 ─► version random session suites compression ─► extensions ─► server_name
//! ```
//! Does not: verify anything else; whoever ends TLS does.

/// Bytes that a ClientHello may have, its records' headers included. Beyond, it is nobody's.
pub const LARGEST_HELLO: usize = 16 * 1024;

/// What the first bytes of a connection say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hello {
    /// More bytes are needed.
    Partial,
    /// Not TLS, or a ClientHello that cannot be read.
    NotTls,
    /// A ClientHello; the name stands in the buffer that [`read_hello`] filled.
    Named,
    /// A ClientHello without a name.
    Nameless,
}

/// Reads the name into `name` (lower case), which is cleared first.
pub fn read_hello(bytes: &[u8], name: &mut String) -> Hello {
    name.clear();
    let mut message = Vec::new();
    match gather(bytes, &mut message) {
        Gathered::Whole => {}
        Gathered::Partial if bytes.len() >= LARGEST_HELLO => return Hello::NotTls,
        Gathered::Partial => return Hello::Partial,
        Gathered::NotTls => return Hello::NotTls,
    }
    match extensions(&message).map(server_name) {
        Some(Some(Some(found))) => {
            name.push_str(found);
            name.make_ascii_lowercase();
            Hello::Named
        }
        Some(Some(None)) => Hello::Nameless,
        Some(None) | None => Hello::NotTls,
    }
}

enum Gathered {
    Whole,
    Partial,
    NotTls,
}

/// The body of the handshake message, put together from its records.
fn gather(bytes: &[u8], message: &mut Vec<u8>) -> Gathered {
    let mut rest = bytes;
    loop {
        // A record: type, version, length.
        let known = rest.first().is_none_or(|kind| *kind == 22) && rest.get(1).is_none_or(|major| *major == 3);
        if !known {
            return Gathered::NotTls;
        }
        let [_, _, _, high, low, body @ ..] = rest else { return Gathered::Partial };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if length == 0 || length > 1 << 14 {
            return Gathered::NotTls;
        }
        message.extend_from_slice(&body[..length.min(body.len())]);
        // A handshake message: type, length.
        if message.first().is_some_and(|kind| *kind != 1) {
            return Gathered::NotTls;
        }
        if let [_, a, b, c, ..] = *message.as_slice() {
            let whole = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if whole > LARGEST_HELLO {
                return Gathered::NotTls;
            }
            if message.len() >= 4 + whole {
                message.truncate(4 + whole);
                message.drain(..4);
                return Gathered::Whole;
            }
        }
        if body.len() < length {
            return Gathered::Partial;
        }
        rest = &body[length..];
    }
}

/// Takes a field whose length stands before it in `width` bytes.
fn field<'b>(bytes: &mut &'b [u8], width: usize) -> Option<&'b [u8]> {
    let length = bytes.get(..width)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    let found = bytes.get(width..width + length)?;
    *bytes = &bytes[width + length..];
    Some(found)
}

/// The extensions of a ClientHello; none is an empty list.
fn extensions(message: &[u8]) -> Option<&[u8]> {
    // Version and random.
    let mut rest = message.get(34..)?;
    let (_session, suites, compressions) = (field(&mut rest, 1)?, field(&mut rest, 2)?, field(&mut rest, 1)?);
    if suites.is_empty() || compressions.is_empty() {
        return None;
    }
    if rest.is_empty() {
        return Some(rest);
    }
    let found = field(&mut rest, 2)?;
    rest.is_empty().then_some(found)
}

/// `None`: malformed. A name that is no host name is malformed too.
fn server_name(mut extensions: &[u8]) -> Option<Option<&str>> {
    let mut found = None;
    while !extensions.is_empty() {
        let kind = extensions.get(..2)?;
        let is_name = kind == [0, 0];
        extensions = &extensions[2..];
        let body = field(&mut extensions, 2)?;
        if !is_name {
            continue;
        }
        if found.is_some() {
            return None;
        }
        let mut body = body;
        let mut names = field(&mut body, 2)?;
        if !body.is_empty() {
            return None;
        }
        while !names.is_empty() {
            let kind = names[0];
            names = &names[1..];
            let name = field(&mut names, 2)?;
            if kind == 0 && found.replace(host(name)?).is_some() {
                return None;
            }
        }
    }
    Some(found)
}

/// Letters, digits, `-`, `_` and dots: what can stand in a log and in a table.
fn host(name: &[u8]) -> Option<&str> {
    let good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let fits = !name.is_empty() && name.len() <= 255 && name.iter().all(good);
    if fits { std::str::from_utf8(name).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefixed(width: usize, body: &[u8]) -> Vec<u8> {
        let mut out = body.len().to_be_bytes()[8 - width..].to_vec();
        out.extend_from_slice(body);
        out
    }

    fn hello(extensions: &[(u16, Vec<u8>)], record: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend_from_slice(&[7; 32]);
        body.extend(prefixed(1, b"session"));
        body.extend(prefixed(2, &[0x13, 1]));
        body.extend(prefixed(1, &[0]));
        let all = extensions.iter().flat_map(|(kind, body)| [kind.to_be_bytes().to_vec(), prefixed(2, body)].concat());
        body.extend(prefixed(2, &all.collect::<Vec<u8>>()));
        let message = [vec![1], prefixed(3, &body)].concat();
        message.chunks(record).flat_map(|part| [vec![22, 3, 1], prefixed(2, part)].concat()).collect()
    }

    fn name(host: &[u8]) -> (u16, Vec<u8>) {
        (0, prefixed(2, &[vec![0], prefixed(2, host)].concat()))
    }

    fn read(bytes: &[u8]) -> (Hello, String) {
        let mut name = "old".to_owned();
        (read_hello(bytes, &mut name), name)
    }

    #[test]
    fn the_name_is_found_wherever_the_records_are_cut() {
        let other = (0x10, vec![0, 3, 2, b'h', b'2']);
        for record in [1, 2, 5, 40, 16_000] {
            let bytes = hello(&[other.clone(), name(b"App.Test")], record);
            assert_eq!(read(&bytes), (Hello::Named, "app.test".to_owned()), "{record}");
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]).0, Hello::Partial, "{record} {end}");
            }
            let more = [bytes.as_slice(), b"\x17\x03\x03anything"].concat();
            assert_eq!(read(&more).0, Hello::Named, "what follows does not matter");
        }
        assert_eq!(read(&hello(&[other], 16_000)), (Hello::Nameless, String::new()));
    }

    #[test]
    fn what_is_no_hello_is_told_at_its_first_wrong_byte() {
        let long = hello(&[(9, vec![0; LARGEST_HELLO])], 16_000);
        let two = hello(&[name(b"a.test"), name(b"b.test")], 16_000);
        for (bytes, what) in [
            (&b"GET / HTTP/1.1\r\n"[..], "HTTP"),
            (b"\x16\x02", "a version before SSL 3"),
            (b"\x16\x03\x01\x00\x00", "an empty record"),
            (b"\x16\x03\x01\xff\xff", "a record that is too large"),
            (b"\x16\x03\x01\x00\x05\x02", "a ServerHello"),
            (&long, "a hello beyond the bound"),
            (&two, "two names"),
            (&hello(&[name(b"a test")], 16_000), "a space"),
            (&hello(&[name(b"a\r\nb")], 16_000), "a line end"),
            (&hello(&[name(b"")], 16_000), "no name in a name"),
            (&hello(&[name(&[b'a'; 256])], 16_000), "a name longer than any"),
        ] {
            assert_eq!(read(bytes).0, Hello::NotTls, "{what}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let (_, name) = read(&bytes);
            prop_assert!(name.len() <= 255);
        }

        #[test]
        fn a_damaged_hello_never_has_another_kind_of_name(at in 0usize..120, with: u8, record in 1usize..200) {
            let mut bytes = hello(&[name(b"app.test")], record);
            let at = at % bytes.len();
            bytes[at] = with;
            let (found, name) = read(&bytes);
            prop_assert_eq!(found == Hello::Named, !name.is_empty());
            prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase()));
        }
    }
}
