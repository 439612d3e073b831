//! By what of a request it is hashed: a header, a cookie, a query parameter, the client's address.
//!
//! Does not: make a cookie for a client that has none (the wet side does, and hashes it by [`of_text`]).

use super::xx;
use crate::route::{Facts, Headers};
use std::net::IpAddr;
use std::time::Duration;

/// `consistentHash`'s key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// `httpHeaderName`: several fields of it count together.
    Header(Box<str>),
    /// `httpCookie`.
    Cookie(Cookie),
    /// `httpQueryParameterName`: the first one.
    Query(Box<str>),
    /// `useSourceIp`.
    Source,
    /// Nothing was named: every request goes anywhere.
    Nothing,
}

/// `httpCookie`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cookie {
    pub name: Box<str>,
    /// With it a client that has no such cookie is given one; 0 = for its session. `None`: it is not.
    pub ttl: Option<Duration>,
    /// `Path`; empty = none.
    pub path: Box<str>,
    /// Further attributes, as `name` or `name=value`.
    pub attributes: Vec<Box<str>>,
}

/// A request's hash by its key; `None` when the request has not what the key names.
pub fn of_request(key: &Key, facts: &Facts<'_>, source: IpAddr) -> Option<u64> {
    match key {
        Key::Header(name) => of_header(facts.headers, name),
        Key::Cookie(cookie) => of_cookie(facts.headers, &cookie.name),
        Key::Query(name) => {
            let mut pairs = facts.query?.split(|byte| *byte == b'&');
            pairs.find_map(|pair| value_of(pair, name.as_bytes())).map(of_text)
        }
        Key::Source => Some(of_source(source)),
        Key::Nothing => None,
    }
}

/// The hash of a text, such as a cookie's value.
pub fn of_text(text: &[u8]) -> u64 {
    xx::hash(text, 0)
}

fn value_of<'p>(pair: &'p [u8], name: &[u8]) -> Option<&'p [u8]> {
    let rest = pair.strip_prefix(name)?;
    match rest.split_first() {
        None => Some(b""),
        Some((b'=', value)) => Some(value),
        Some(_) => None,
    }
}

/// Several values are hashed in their alphabetical order, each with the hash before as its seed.
fn of_header(headers: &dyn Headers, name: &str) -> Option<u64> {
    let (mut count, mut only) = (0, 0);
    headers.each(name, &mut |value| {
        count += 1;
        only = of_text(value);
    });
    if count < 2 {
        return (count == 1).then_some(only);
    }
    let mut values: Vec<Vec<u8>> = Vec::with_capacity(count);
    headers.each(name, &mut |value| values.push(value.to_vec()));
    values.sort_unstable();
    Some(values.iter().fold(0, |seed, value| xx::hash(value, seed)))
}

/// The first cookie of that name that has a value, without the quotes around it.
fn of_cookie(headers: &dyn Headers, name: &str) -> Option<u64> {
    let mut found = None;
    headers.each("cookie", &mut |line| {
        for pair in line.split(|byte| *byte == b';') {
            let value = pair.trim_ascii().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            if let (None, Some(value)) = (found, value) {
                let plain = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
                found = (!plain.is_empty()).then(|| of_text(plain));
            }
        }
    });
    found
}

/// As `useSourceIp` hashes.
pub fn of_source(source: IpAddr) -> u64 {
    use std::io::Write;
    // The longest address has 45 characters.
    let mut text = [0u8; 64];
    let mut left = &mut text[..];
    let written = write!(left, "{}", source.to_canonical()).map_or(0, |()| 64 - left.len());
    of_text(&text[..written])
}

impl Cookie {
    /// The value of `set-cookie` that gives a client this cookie.
    pub fn set(&self, value: &str, ttl: Duration) -> String {
        let mut out = format!("{}=\"{value}\"", self.name);
        if !ttl.is_zero() {
            out.push_str(&format!("; Max-Age={}", ttl.as_secs()));
        }
        if !self.path.is_empty() {
            out.push_str("; Path=");
            out.push_str(&self.path);
        }
        for attribute in &self.attributes {
            out.push_str("; ");
            out.push_str(attribute);
        }
        out.push_str("; HttpOnly");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fields(&'static [(&'static str, &'static str)]);

    impl Headers for Fields {
        fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
            self.0.iter().filter(|(known, _)| *known == name).for_each(|(_, value)| see(value.as_bytes()));
        }
    }

    fn hash(key: &Key, headers: &'static [(&'static str, &'static str)], query: Option<&str>) -> Option<u64> {
        let fields = Fields(headers);
        let facts = Facts {
            authority: b"app",
            method: b"GET",
            scheme: b"http",
            path: b"/",
            query: query.map(str::as_bytes),
            port: 80,
            headers: &fields,
        };
        of_request(key, &facts, "10.1.2.3".parse().expect("ip"))
    }

    #[test]
    fn each_key_is_the_hash_of_its_text() {
        let jane = Some(of_text(b"jane"));
        assert_eq!(hash(&Key::Header("x-user".into()), &[("x-user", "jane")], None), jane);
        assert_eq!(hash(&Key::Header("x-user".into()), &[], None), None);
        assert_eq!(hash(&Key::Query("user".into()), &[], Some("a=1&user=jane&user=b")), jane);
        assert_eq!(hash(&Key::Query("user".into()), &[], Some("users=jane")), None);
        assert_eq!(hash(&Key::Source, &[], None), Some(of_text(b"10.1.2.3")));
        assert_eq!(hash(&Key::Nothing, &[], None), None);
    }

    #[test]
    fn several_fields_count_together_in_any_order() {
        let key = Key::Header("x-user".into());
        let one = hash(&key, &[("x-user", "a"), ("x-user", "b")], None);
        assert_eq!(one, hash(&key, &[("x-user", "b"), ("x-user", "a")], None));
        assert!(one.is_some() && one != hash(&key, &[("x-user", "a")], None));
    }

    #[test]
    fn cookies_are_found_quoted_or_not_and_empty_ones_are_none() {
        let cookie = Cookie { name: "user".into(), ttl: None, path: "/shop".into(), attributes: vec!["Secure".into()] };
        let key = Key::Cookie(cookie.clone());
        let jane = Some(of_text(b"jane"));
        assert_eq!(hash(&key, &[("cookie", "a=b; user=jane")], None), jane);
        assert_eq!(hash(&key, &[("cookie", "a=b"), ("cookie", "user=\"jane\"")], None), jane);
        assert_eq!(hash(&key, &[("cookie", "user=; superuser=x")], None), None);
        let (minute, session) = (Duration::from_secs(60), Duration::ZERO);
        assert_eq!(cookie.set("1f", minute), "user=\"1f\"; Max-Age=60; Path=/shop; Secure; HttpOnly");
        assert_eq!(cookie.set("1f", session), "user=\"1f\"; Path=/shop; Secure; HttpOnly");
    }
}
