//! Request targets (RFC 9112 section 3.2) and hosts (RFC 3986 section 3.2.2).

/// The four forms, as pieces of the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target<'a> {
    /// `/path?query`
    Origin { path: &'a [u8], query: Option<&'a [u8]> },
    /// `http://authority/path?query`; the path may be empty.
    Absolute { scheme: &'a [u8], authority: &'a [u8], path: &'a [u8], query: Option<&'a [u8]> },
    /// `host:port`, of CONNECT.
    Authority(&'a [u8]),
    /// `*`, of OPTIONS.
    Asterisk,
}

/// Splits a target that [`crate::parse_request`] accepted.
pub fn split_target(target: &[u8]) -> Target<'_> {
    if target.first() == Some(&b'/') {
        let (path, query) = split_query(target);
        return Target::Origin { path, query };
    }
    if target == b"*" {
        return Target::Asterisk;
    }
    match memchr::memmem::find(target, b"://") {
        Some(colon) => {
            let behind = &target[colon + 3..];
            let end = behind.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(behind.len());
            let (path, query) = split_query(&behind[end..]);
            Target::Absolute { scheme: &target[..colon], authority: &behind[..end], path, query }
        }
        None => Target::Authority(target),
    }
}

fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// Is it `host`, `host:` or `host:port` with a port of 1 to 65535?
pub fn valid_host(host: &[u8]) -> bool {
    let (name, port) = match host.first() {
        Some(b'[') => {
            let Some(close) = memchr::memchr(b']', host) else { return false };
            let literal = &host[1..close];
            let valid = !literal.is_empty()
                && literal.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
            if !valid {
                return false;
            }
            match &host[close + 1..] {
                [] => return true,
                [b':', port @ ..] => (literal, port),
                _ => return false,
            }
        }
        _ => match memchr::memchr(b':', host) {
            Some(colon) => (&host[..colon], &host[colon + 1..]),
            None => (host, &[][..]),
        },
    };
    !name.is_empty() && (host[0] == b'[' || name.iter().all(|byte| is_name_byte(*byte))) && valid_port(port)
}

/// Letters, digits, and the marks of a reg-name that cannot be mistaken for a delimiter.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b';' | b'='
        )
}

fn valid_port(port: &[u8]) -> bool {
    if port.is_empty() {
        return true;
    }
    let number = port.iter().try_fold(0u32, |sum, byte| {
        byte.is_ascii_digit().then(|| sum.saturating_mul(10).saturating_add(u32::from(byte - b'0')))
    });
    number.is_some_and(|number| (1..=65_535).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in
            ["a", "app.test", "app.test:", "app.test:80", "app.test.", "APP", "[::1]", "[::1]:8080", "10.0.0.1:65535"]
        {
            assert!(valid_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":80",
            "a:0",
            "a:65536",
            "a:x",
            "a.test/x@b",
            "a@b",
            "a b",
            "a,b",
            "[::1",
            "[]",
            "[::1]x",
            "a:1:2",
            "a?b",
            "a#b",
        ] {
            assert!(!valid_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn forms() {
        assert_eq!(split_target(b"/a?b?c"), Target::Origin { path: b"/a", query: Some(b"b?c") });
        assert_eq!(
            split_target(b"http://h:1?x"),
            Target::Absolute { scheme: b"http", authority: b"h:1", path: b"", query: Some(b"x") }
        );
        assert_eq!(split_target(b"*"), Target::Asterisk);
        assert_eq!(split_target(b"h:443"), Target::Authority(b"h:443"));
    }
}
