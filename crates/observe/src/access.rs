//! One line per request: JSON with Istio's field names, or Istio's text.
//!
//! Every byte of a request is hostile here: nothing in it can end the line or leave its field.

use std::io::Write;
use std::net::SocketAddr;

/// One finished request, as the log shows it.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    pub start_time_unix_ms: u64,
    pub method: &'a [u8],
    pub path: &'a [u8],
    pub protocol: &'a str,
    pub response_code: u16,
    /// `-` when there is none.
    pub response_flags: &'a str,
    pub response_code_details: &'a str,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub duration_ms: u64,
    pub upstream_service_time_ms: Option<u64>,
    pub request_id: &'a [u8],
    pub authority: &'a [u8],
    pub upstream_host: Option<SocketAddr>,
    pub upstream_cluster: &'a str,
    pub route_name: &'a str,
    pub downstream_remote_address: SocketAddr,
    pub attempts: u32,
    /// Of a gRPC request.
    pub grpc_status: Option<u16>,
    /// The word of a refusal; empty for none.
    pub reason: &'a str,
    /// The name that the client's TLS handshake asked for; empty for none, as the next two.
    pub requested_server_name: &'a str,
    /// The URI of the client's certificate.
    pub downstream_peer_uri_san: &'a str,
    /// Why there was no TLS with the upstream.
    pub upstream_transport_failure_reason: &'a str,
}

impl Line<'_> {
    /// Appends the line as one JSON object.
    pub fn json(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"start_time\":\"");
        time(out, self.start_time_unix_ms);
        text(out, b"\",\"method\":\"", self.method);
        text(out, b"\",\"path\":\"", self.path);
        text(out, b"\",\"protocol\":\"", self.protocol.as_bytes());
        number(out, b"\",\"response_code\":", u64::from(self.response_code));
        text(out, b",\"response_flags\":\"", self.response_flags.as_bytes());
        text(out, b"\",\"response_code_details\":\"", self.response_code_details.as_bytes());
        number(out, b"\",\"bytes_received\":", self.bytes_received);
        number(out, b",\"bytes_sent\":", self.bytes_sent);
        number(out, b",\"duration\":", self.duration_ms);
        match self.upstream_service_time_ms {
            Some(millis) => number(out, b",\"upstream_service_time\":", millis),
            None => out.extend_from_slice(b",\"upstream_service_time\":null"),
        }
        text(out, b",\"request_id\":\"", self.request_id);
        text(out, b"\",\"authority\":\"", self.authority);
        match self.upstream_host {
            Some(host) => {
                out.extend_from_slice(b"\",\"upstream_host\":\"");
                socket_address(out, host);
                out.push(b'"');
            }
            None => out.extend_from_slice(b"\",\"upstream_host\":null"),
        }
        text(out, b",\"upstream_cluster\":\"", self.upstream_cluster.as_bytes());
        text(out, b"\",\"route_name\":\"", self.route_name.as_bytes());
        out.extend_from_slice(b"\",\"downstream_remote_address\":\"");
        socket_address(out, self.downstream_remote_address);
        number(out, b"\",\"attempts\":", u64::from(self.attempts));
        if let Some(status) = self.grpc_status {
            number(out, b",\"grpc_status\":", u64::from(status));
        }
        if !self.reason.is_empty() {
            text(out, b",\"reason\":\"", self.reason.as_bytes());
            out.push(b'"');
        }
        for (before, value) in [
            (&b",\"requested_server_name\":\""[..], self.requested_server_name),
            (b",\"downstream_peer_uri_san\":\"", self.downstream_peer_uri_san),
            (b",\"upstream_transport_failure_reason\":\"", self.upstream_transport_failure_reason),
        ] {
            if !value.is_empty() {
                text(out, before, value.as_bytes());
                out.push(b'"');
            }
        }
        out.extend_from_slice(b"}\n");
    }

    /// Appends the line as Istio's default text.
    pub fn text(&self, out: &mut Vec<u8>) {
        out.push(b'[');
        time(out, self.start_time_unix_ms);
        out.extend_from_slice(b"] \"");
        for part in [self.method, b" ", self.path, b" ", self.protocol.as_bytes()] {
            escape(out, part);
        }
        out.push(b'"');
        // Writing to a vector cannot fail, here and below.
        let _ = write!(out, " {} {} {} ", self.response_code, self.response_flags, dash(self.response_code_details));
        let _ = write!(out, "{} {} {} ", self.bytes_received, self.bytes_sent, self.duration_ms);
        match self.upstream_service_time_ms {
            Some(millis) => drop(write!(out, "{millis}")),
            None => out.push(b'-'),
        }
        for part in [self.request_id, self.authority] {
            out.extend_from_slice(b" \"");
            escape(out, part);
            out.push(b'"');
        }
        match self.upstream_host {
            Some(host) => drop(write!(out, " \"{host}\"")),
            None => out.extend_from_slice(b" -"),
        }
        let (cluster, route) = (dash(self.upstream_cluster), dash(self.route_name));
        let _ = write!(out, " {cluster} {} {route} {}", self.downstream_remote_address, self.attempts);
        let _ = writeln!(out, " {}", dash(self.reason));
    }
}

fn dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Appends what stands before a number, and the number.
fn number(out: &mut Vec<u8>, before: &[u8], value: u64) {
    out.extend_from_slice(before);
    decimal(out, value);
}

/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = pairs();

const fn pairs() -> [[u8; 2]; 100] {
    let (mut pairs, mut value) = ([[0; 2]; 100], 0);
    while value < 100 {
        pairs[value] = [b'0' + value as u8 / 10, b'0' + value as u8 % 10];
        value += 1;
    }
    pairs
}

/// In decimal, without the machinery of `fmt`: a line has a dozen numbers.
fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while value >= 10 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
        value /= 100;
    }
    if value > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + value as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

fn socket_address(out: &mut Vec<u8>, value: SocketAddr) {
    let SocketAddr::V4(four) = value else {
        // Writing to a vector cannot fail.
        let _ = write!(out, "{value}");
        return;
    };
    for (index, part) in four.ip().octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        decimal(out, u64::from(part));
    }
    out.push(b':');
    decimal(out, u64::from(four.port()));
}

/// Appends what stands before a text, and the text.
fn text(out: &mut Vec<u8>, before: &[u8], value: &[u8]) {
    out.extend_from_slice(before);
    escape(out, value);
}

/// Printable ASCII as it is; the rest as `\u00XX`, each byte taken as Latin-1, as header bytes are.
fn escape(out: &mut Vec<u8>, value: &[u8]) {
    // No early exit, so that the compiler makes it a vector loop; nearly every value is plain.
    let plain = value
        .iter()
        .fold(true, |plain, byte| plain & (*byte >= 0x20) & (*byte <= 0x7e) & (*byte != b'"') & (*byte != b'\\'));
    if plain {
        return out.extend_from_slice(value);
    }
    for byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0x20..=0x7e => out.push(*byte),
            _ => drop(write!(out, "\\u{:04x}", byte)),
        }
    }
}

/// RFC 3339 in UTC with milliseconds.
fn time(out: &mut Vec<u8>, unix_ms: u64) {
    let (days, rest) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    let (year, month, day) = date(days);
    let (hour, minute, second, millis) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let pairs =
        [(0, year / 100), (2, year), (5, month), (8, day), (11, hour), (14, minute), (17, second), (21, millis)];
    for (at, value) in pairs {
        text[at..at + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
    }
    // The last three digits end in pairs too.
    text[20] = b'0' + (millis / 100) as u8;
    out.extend_from_slice(&text);
}

/// The civil date of a day since 1970-01-01: years counted from March, so that the leap day is the last.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line<'a>(path: &'a [u8], millis: u64) -> Line<'a> {
        Line {
            start_time_unix_ms: millis,
            method: b"GET",
            path,
            protocol: "HTTP/1.1",
            response_code: 200,
            response_flags: "-",
            response_code_details: "via_upstream",
            bytes_received: 0,
            bytes_sent: 2,
            duration_ms: 1,
            upstream_service_time_ms: Some(1),
            request_id: b"id",
            authority: b"app.test",
            upstream_host: Some(SocketAddr::from(([127, 0, 0, 1], 80))),
            upstream_cluster: "outbound|80||app.test",
            route_name: "r",
            downstream_remote_address: SocketAddr::from(([127, 0, 0, 1], 81)),
            attempts: 1,
            grpc_status: None,
            reason: "",
            requested_server_name: "",
            downstream_peer_uri_san: "",
            upstream_transport_failure_reason: "",
        }
    }

    #[test]
    fn times_are_rfc_3339() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_795_534_199_999, "2026-11-24T15:29:59.999Z"),
        ] {
            let mut out = Vec::new();
            time(&mut out, millis);
            assert_eq!(String::from_utf8_lossy(&out), expected);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_make_one_line_of_valid_json(path in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut out = Vec::new();
            line(&path, 0).json(&mut out);
            prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
            let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
            let back: Vec<u8> = value["path"].as_str().expect("text").chars().map(|c| c as u8).collect();
            prop_assert_eq!(back, path.clone());
            let mut out = Vec::new();
            line(&path, 0).text(&mut out);
            prop_assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 1);
        }
    }
}
