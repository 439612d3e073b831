//! The request that is asked about: from a URL and options, or from the query of the admin address.
//!
//! Does not: route.

use std::net::{IpAddr, Ipv4Addr};
use weir_policy::route::Headers;

/// Header fields of one question.
const MOST_HEADERS: usize = 100;

/// A request that may never have been sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    pub method: String,
    /// `Host`, with a port when the URL has one.
    pub authority: String,
    /// As sent, without query.
    pub path: String,
    pub query: Option<String>,
    /// Names in lower case; `host` is among them.
    pub headers: Vec<(String, String)>,
    /// Through the listener of this Gateway port; `None` = through the one that knows the host.
    pub gateway: Option<u16>,
    /// The client's address: some are trusted.
    pub from: IpAddr,
}

impl Ask {
    /// Of a URL such as `http://app.test/v1?x=1`; the scheme may be left out. Header fields are `name: value`.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn new(url: &str, method: &str, fields: &[String]) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some(("http" | "https", rest)) => rest,
            Some((scheme, _)) => return Err(format!("`{scheme}` is no scheme of a request: write http://HOST/PATH")),
            None => url,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.is_empty() || authority.contains(['@', ' ']) {
            return Err(format!("`{url}` names no host: write http://HOST/PATH"));
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let mut headers = fields.iter().map(|field| header(field)).collect::<Result<Vec<_>, _>>()?;
        if headers.len() > MOST_HEADERS {
            return Err(format!("at most {MOST_HEADERS} headers"));
        }
        let named = headers.iter().find(|(name, _)| name == "host").map(|(_, value)| value.clone());
        let authority = named.unwrap_or_else(|| authority.to_owned());
        headers.retain(|(name, _)| name != "host");
        headers.insert(0, ("host".to_owned(), authority.clone()));
        Ok(Self {
            method: method.to_owned(),
            authority,
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            query,
            headers,
            gateway: None,
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
        })
    }

    /// The port that its URL names.
    pub fn port(&self) -> Option<u16> {
        let digits = self.authority.rsplit(':').next().filter(|digits| digits.len() < self.authority.len())?;
        digits.parse().ok()
    }

    /// Of the query of `/api/v1/explain`: `url`, `method`, `header` (repeatable), `gateway`, `from`.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub fn of_query(pairs: &[(String, String)]) -> Result<Self, String> {
        let all =
            |wanted: &'static str| pairs.iter().filter(move |(name, _)| name == wanted).map(|(_, value)| value.clone());
        let url = all("url").next().ok_or("`url` is missing: /api/v1/explain?url=http://HOST/PATH")?;
        let method = all("method").next().unwrap_or_else(|| "GET".to_owned());
        let mut ask = Self::new(&url, &method, &all("header").collect::<Vec<_>>())?;
        if let Some(port) = all("gateway").next() {
            ask.gateway = Some(port.parse().map_err(|_| format!("`{port}` is no port"))?);
        }
        if let Some(from) = all("from").next() {
            ask.from = from.parse().map_err(|_| format!("`{from}` is no address"))?;
        }
        Ok(ask)
    }
}

impl Headers for Ask {
    fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
        for (_, value) in self.headers.iter().filter(|(known, _)| known == name) {
            see(value.as_bytes());
        }
    }
}

fn header(field: &str) -> Result<(String, String), String> {
    let (name, value) = field.split_once(':').ok_or_else(|| format!("`{field}` is no header: write NAME:VALUE"))?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!("`{name}` is no name of a header"));
    }
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

/// The pairs of a query, decoded.
pub fn query(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let decoded = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    });
    decoded.collect()
}

fn decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let escaped = bytes.get(at + 1..at + 3).and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = escaped.filter(|_| bytes[at] == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart_as_a_client_sends_them() {
        let of = |url: &str| Ask::new(url, "GET", &[]).map(|ask| (ask.authority, ask.path, ask.query));
        let parts = |authority: &str, path: &str, query: Option<&str>| {
            Ok((authority.to_owned(), path.to_owned(), query.map(str::to_owned)))
        };
        assert_eq!(of("http://app.test:8080/a/b?x=1#top"), parts("app.test:8080", "/a/b", Some("x=1")));
        assert_eq!(of("app.test"), parts("app.test", "/", None));
        assert_eq!(of("http://app.test?x"), parts("app.test", "/", Some("x")));
        for wrong in ["ftp://a/", "http:///x", "", "http://user@host/"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_host_header_is_the_authority() {
        let ask = Ask::new("http://a/", "GET", &["Host: b:81".to_owned(), "X-A:1".to_owned()]).expect("an ask");
        assert_eq!((ask.authority.as_str(), ask.port()), ("b:81", Some(81)));
        assert_eq!(ask.headers, [("host".into(), "b:81".into()), ("x-a".into(), "1".into())]);
    }

    #[test]
    fn queries_are_decoded_and_odd_ones_do_no_harm() {
        assert_eq!(
            query("url=http%3A%2F%2Fa%2F&header=x%3A+1"),
            [("url".to_owned(), "http://a/".to_owned()), ("header".to_owned(), "x: 1".to_owned())]
        );
        assert_eq!(
            query("a=%&b=%4&%zz=%e4"),
            [
                ("a".to_owned(), "%".to_owned()),
                ("b".to_owned(), "%4".to_owned()),
                ("%zz".to_owned(), "\u{fffd}".to_owned())
            ]
        );
    }
}
