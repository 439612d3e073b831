//! What a host, label, address, header or gateway name can be: the rules of Istio's validation, as questions.
//!
//! Does not: report; callers say where and why.

use std::net::IpAddr;

/// A DNS label as Istio has it: letters of both cases, digits, `-`, at most 63.
pub fn is_label(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

/// A label, `*`, `*label` or `*-label`.
fn is_wildcard_label(text: &str) -> bool {
    let rest = text.strip_prefix("*-").filter(|rest| is_label(rest)).or_else(|| text.strip_prefix('*'));
    rest.map_or_else(|| is_label(text), |rest| rest.is_empty() || is_label(rest))
}

/// Labels separated by dots; the last may be empty, and is not a number.
fn are_labels(domain: &str) -> bool {
    let labels = domain.strip_suffix('.').unwrap_or(domain);
    let last = domain.rsplit('.').next().unwrap_or_default();
    let number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    domain.is_empty() || (!number && labels.split('.').all(is_label))
}

fn has_length(domain: &str) -> bool {
    (1..=255).contains(&domain.len())
}

/// A full domain name, without wildcards. Short names are fine.
pub fn is_domain(domain: &str) -> bool {
    has_length(domain) && are_labels(domain)
}

/// A domain name whose first label may be a wildcard.
pub fn is_wildcard_domain(domain: &str) -> bool {
    let (first, rest) = domain.split_once('.').map_or((domain, None), |(first, rest)| (first, Some(rest)));
    has_length(domain) && is_wildcard_label(first) && rest.is_none_or(are_labels)
}

/// The same for SNI names at a gateway, where `outbound_.80_._.host` stands for a cluster.
pub fn is_sni_domain(domain: &str) -> bool {
    match domain.strip_prefix("outbound_.") {
        Some(rest) => has_length(domain) && rest.contains(|c: char| ('0'..='8').contains(&c)),
        None => is_wildcard_domain(domain),
    }
}

/// `*` in another place than as the whole name or the whole first label.
pub fn is_partial_wildcard(host: &str) -> bool {
    host.contains('*') && host.len() != 1 && !host.starts_with("*.")
}

/// A host of a Gateway or a Sidecar: `*`, or a name with a dot, whose first label may be `*`.
pub fn is_full_host(host: &str) -> bool {
    host == "*" || (host.contains('.') && is_wildcard_domain(host) && !is_partial_wildcard(host))
}

/// An address, IPv6 with or without a zone.
pub fn is_address(text: &str) -> bool {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    match (address.parse::<IpAddr>(), zone) {
        (Ok(_), None) => true,
        (Ok(IpAddr::V6(_)), Some(zone)) => !zone.is_empty(),
        _ => false,
    }
}

/// An address or a range `address/bits`.
pub fn is_subnet(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return is_address(text) };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let plain = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (bits == "0" || !bits.starts_with('0')) && bits.parse::<u32>().is_ok_and(|bits| bits <= most)
}

/// The path of a Unix socket, or an abstract name `@…`.
pub fn is_socket_path(path: &str) -> bool {
    path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/'))
}

/// The part of `unix://…` behind the scheme.
pub fn socket_path(address: &str) -> Option<&str> {
    address.strip_prefix("unix://")
}

/// Letters, digits, `-`, `_`, `.`, with a letter or digit at both ends.
fn is_qualified(text: &str) -> bool {
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// The key of a label: `name` or `domain/name`.
pub fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let prefix = prefix.is_none_or(|prefix| prefix.len() <= 253 && prefix.split('.').all(is_label));
    prefix && name.len() <= 63 && is_qualified(name)
}

/// The value of a label; it may be empty.
pub fn is_label_value(value: &str) -> bool {
    value.is_empty() || (value.len() <= 63 && is_qualified(value))
}

/// A header's name as HTTP has it (RFC 9110 section 5.6.2): what Istio asks of matches and of CORS.
pub fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// A pseudo header of HTTP/2 (RFC 9113 section 8.3), which Istio lets be matched as a header.
pub fn is_pseudo_header(name: &str) -> bool {
    [":method", ":scheme", ":authority", ":path", ":status"].contains(&name)
}

/// A header's name of letters, digits, `-` and `_`.
pub fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// A claim of a token in the place of a header: `@request.auth.claims.group` or `…claims[group]`.
pub fn is_claim(name: &str) -> bool {
    let Some(rest) = name.to_ascii_lowercase().strip_prefix("@request.auth.claims").map(str::to_owned) else {
        return false;
    };
    let nested = rest.starts_with('[') && rest.ends_with(']') && rest.len() > 2;
    nested || (rest.starts_with('.') && rest.len() > 1)
}

/// A header that Envoy owns: pseudo headers and `host`.
pub fn is_internal_header(name: &str) -> bool {
    name.starts_with(':') || name.eq_ignore_ascii_case("host")
}

/// `:authority`, or its other name.
pub fn is_authority(name: &str) -> bool {
    name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host")
}

/// What a protocol's name in a port stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Http,
    /// HTTPS, TLS.
    Tls,
    /// Layer 4 and what is carried over it as it is.
    Tcp,
    Udp,
}

/// Reads a protocol, in any case. `None` when Istio has no such word.
pub fn protocol(name: &str) -> Option<Protocol> {
    match name.to_ascii_lowercase().as_str() {
        "http" | "http2" | "http_proxy" | "grpc" | "grpc-web" => Some(Protocol::Http),
        "https" | "tls" => Some(Protocol::Tls),
        "tcp" | "mongo" | "redis" | "mysql" | "hbone" | "double-hbone" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    }
}

/// Does the pattern of a host cover the other, or the other way round?
pub fn hosts_overlap(one: &str, other: &str) -> bool {
    match (one.strip_prefix('*'), other.strip_prefix('*')) {
        (Some(one), Some(other)) => one.ends_with(other) || other.ends_with(one),
        (Some(suffix), None) => other.ends_with(suffix),
        (None, Some(suffix)) => one.ends_with(suffix),
        (None, None) => one == other,
    }
}

/// Is every name that `host` covers covered by `pattern` too?
pub fn is_subset(host: &str, pattern: &str) -> bool {
    match (host.strip_prefix('*'), pattern.strip_prefix('*')) {
        (Some(own), Some(suffix)) => own.ends_with(suffix),
        (None, Some(suffix)) => host.ends_with(suffix),
        (Some(_), None) => false,
        (None, None) => host == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for good in ["a", "a.b", "A-1.b", "a.b.", "1.a", "x9"] {
            assert!(is_domain(good), "{good}");
        }
        for bad in ["", "a..b", "-a.b", "a_b.c", "a.9", "*.a", ".", "1.2.3.4", "a/b"] {
            assert!(!is_domain(bad), "{bad}");
        }
        for good in ["*", "*.a.b", "*-a.b", "*a.b", "a", "80"] {
            assert!(is_wildcard_domain(good), "{good}");
        }
        for bad in ["", "**", "a.*.b", "*.*", "*-.a", "*.80", "a*.b"] {
            assert!(!is_wildcard_domain(bad), "{bad}");
        }
        assert!(is_sni_domain("outbound_.80_._.a.b"));
    }

    #[test]
    fn addresses() {
        for good in ["10.0.0.1", "::1", "10.0.0.0/8", "2001:db8::/32", "fe80::1%eth0", "0.0.0.0/0"] {
            assert!(is_subnet(good), "{good}");
        }
        for bad in ["10.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "a", "", "::1/129", "1.2.3.4/5/6"] {
            assert!(!is_subnet(bad), "{bad}");
        }
    }

    #[test]
    fn labels_and_headers() {
        for good in ["a", "A_b.c", "example.com/name", "a.b.c/d"] {
            assert!(is_label_key(good), "{good}");
        }
        for bad in ["", "-a", "a/b/c", "/a", "a_b/c", "ä"] {
            assert!(!is_label_key(bad), "{bad}");
        }
        assert!(is_label_value("") && is_label_value("v1.2_x") && !is_label_value("a b") && !is_label_value("-"));
        assert!(is_claim("@request.auth.claims[a][b]") && is_claim("@request.auth.claims.a"));
        assert!(!is_claim("@request.auth.claims") && !is_claim("@request.auth.claimsx"));
    }
}
