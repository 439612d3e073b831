//! Is a text a URL, as Go's `net/url` sees it? Its scheme is all that anybody asks of it.

/// How a URL is written down: anywhere, or in a request line, where a path or a whole URL must stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Any,
    Request,
}

/// The scheme in lower case, empty when there is none; `None` when the text is no URL.
pub fn scheme(text: &str, form: Form) -> Option<String> {
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) || (text.is_empty() && form == Form::Request) {
        return None;
    }
    let (text, fragment) = match form {
        Form::Any => text.split_once('#').unwrap_or((text, "")),
        Form::Request => (text, ""),
    };
    if !escapes(fragment) {
        return None;
    }
    let (scheme, rest) = split(text)?;
    let rest = rest.split('?').next().unwrap_or_default();
    let found = scheme.to_ascii_lowercase();
    if !rest.starts_with('/') {
        let relative = form == Form::Any && !rest.split('/').next().unwrap_or_default().contains(':');
        return (!scheme.is_empty() || (relative && escapes(rest))).then_some(found);
    }
    let path = match rest.strip_prefix("//") {
        Some(rest) if !scheme.is_empty() || form == Form::Any => {
            let end = rest.find('/').unwrap_or(rest.len());
            is_authority(&rest[..end]).then_some(&rest[end..])?
        }
        _ => rest,
    };
    escapes(path).then_some(found)
}

/// The scheme and what follows its colon.
fn split(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c));
    match end {
        Some(0) if text.starts_with(':') => None,
        Some(at) if text[at..].starts_with(':') && text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            Some((&text[..at], &text[at + 1..]))
        }
        _ => Some(("", text)),
    }
}

/// `[user@]host[:port]`
fn is_authority(text: &str) -> bool {
    let (user, host) = text.rsplit_once('@').unwrap_or(("", text));
    let (name, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((name, port))) => (name, port),
        Some(None) => return false,
        None => host.rfind(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let digits = port.strip_prefix(':').unwrap_or(port);
    let clean = !name.bytes().any(|byte| b" \"<>\\^`{|}".contains(&byte)) && escapes(name);
    let named = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte));
    let clean = clean && named && escapes(user);
    clean && digits.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.starts_with(':'))
}

/// Is every `%` followed by two hexadecimal digits?
fn escapes(text: &str) -> bool {
    let is_hex = |part: &str| part.get(..2).is_some_and(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()));
    text.split('%').skip(1).all(is_hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes() {
        let rows = [
            ("https://a.test/x?y#z", Some("https")),
            ("HTTP://a.test:80", Some("http")),
            ("oci://a.test/x:v1", Some("oci")),
            ("a.test/x", Some("")),
            ("a.test:80/x", Some("a.test")),
            ("http://a b", None),
            ("http://a.test/%zz", None),
            ("http://a.test:port/", None),
            ("http://[::1]:80/", Some("http")),
            (":x", None),
            ("1a:b", None),
            ("#a%20b", Some("")),
            ("http://a.test#%no", None),
        ];
        for (text, expected) in rows {
            assert_eq!(scheme(text, Form::Any).as_deref(), expected, "{text}");
        }
        assert_eq!(scheme("a.test/x", Form::Request), None);
        assert_eq!(scheme("http://user:word@a.test/x", Form::Request).as_deref(), Some("http"));
        assert_eq!(scheme("http://us#er@a.test/x", Form::Request), None);
    }
}
