//! Hop-by-hop fields: the fixed ones, and those that `Connection` names (RFC 9110 section 7.6.1).

use crate::field::{Field, Name, Names};
use crate::head::{RequestHead, ResponseHead};

/// Which fields of one message end here.
#[derive(Clone, Debug, Default)]
pub struct Hops {
    /// The names that `Connection` lists, as found; at most [`LISTED`].
    listed: Vec<Box<[u8]>>,
    /// It lists more: then every field that may be dropped is.
    all: bool,
}

/// Names in `Connection` that are looked at. More than that is nobody's honest list.
const LISTED: usize = 64;

/// Those that end here whatever they say.
pub const FIXED: Names = Names::of(&[
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::TransferEncoding,
    Name::Upgrade,
    Name::Http2Settings,
]);

impl Hops {
    /// The fixed ones only.
    pub const fn none() -> Self {
        Self { listed: Vec::new(), all: false }
    }

    /// Are [`FIXED`] all that ends here, of a message without `te`?
    pub const fn are_fixed(&self) -> bool {
        self.listed.is_empty() && !self.all
    }

    pub fn of(head: &RequestHead, buf: &[u8]) -> Self {
        if head.connection.names { Self::listed(&head.fields, buf) } else { Self::none() }
    }

    pub fn of_response(head: &ResponseHead, buf: &[u8]) -> Self {
        if head.connection.names { Self::listed(&head.fields, buf) } else { Self::none() }
    }

    fn listed(fields: &[Field], buf: &[u8]) -> Self {
        let lines = fields.iter().filter(|field| field.id == Name::Connection);
        let names = lines.flat_map(|field| field.value.of(buf).split(|byte| *byte == b','));
        let mut names = names.map(<[u8]>::trim_ascii).filter(|name| !name.is_empty() && may_be_dropped(Name::of(name)));
        let listed = names.by_ref().take(LISTED).map(Box::from).collect();
        Self { listed, all: names.next().is_some() }
    }

    /// Does this field end here?
    #[inline]
    pub fn is_hop(&self, field: &Field, buf: &[u8]) -> bool {
        match field.id {
            id if FIXED.has(id) => true,
            Name::Te => field.value.of(buf) != b"trailers",
            id if self.all => may_be_dropped(id),
            _ => !self.listed.is_empty() && self.lists(field.name.of(buf)),
        }
    }

    /// Is this a `te` that ends here but for the `trailers` among others?
    pub fn leaves_trailers(field: &Field, buf: &[u8]) -> bool {
        let value = field.value.of(buf);
        field.id == Name::Te
            && value != b"trailers"
            && value.split(|byte| *byte == b',').any(|coding| coding.trim_ascii() == b"trailers")
    }

    fn lists(&self, name: &[u8]) -> bool {
        self.listed.iter().any(|listed| listed.eq_ignore_ascii_case(name))
    }
}

/// A client cannot make us drop what others rely on: who it is, where it goes, how long the message is.
fn may_be_dropped(name: Name) -> bool {
    use Name::*;
    !matches!(
        name,
        Host | ContentLength
            | Expect
            | Te
            | Authorization
            | Cookie
            | Forwarded
            | XForwardedFor
            | XForwardedProto
            | XForwardedHost
            | XForwardedPort
            | XForwardedClientCert
            | XRequestId
            | Traceparent
            | Tracestate
            | IdempotencyKey
            | ContentType
            | XEnvoyOther
            | XEnvoyAttemptCount
            | XEnvoyExpectedRqTimeoutMs
            | XEnvoyOriginalPath
            | XEnvoyOriginalHost
            | XEnvoyExternalAddress
            | XEnvoyInternal
            | XWeir
            | GrpcTimeout
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::{Limits, RequestKind, parse_request, parse_response};

    /// Every name that `Connection` lists is dropped, however many there are.
    #[test]
    fn regression_a_long_list_of_connection_leaks_nothing() {
        for count in [1, 16, 17, 64, 65, 90] {
            let names: Vec<String> = (0..count).map(|number| format!("x-h{number}")).collect();
            let fields: String = names.iter().map(|name| format!("{name}: 1\r\n")).collect();
            let text =
                format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: c\r\nConnection: {}\r\n{fields}\r\n", names.join(", "));
            let mut head = RequestHead::default();
            assert!(parse_request(text.as_bytes(), &Limits::default(), &mut head).is_ok());
            let hops = Hops::of(&head, text.as_bytes());
            let left = head.fields.iter().filter(|field| !hops.is_hop(field, text.as_bytes())).count();
            assert_eq!(left, 2, "host and cookie stay of {count}");
        }
    }

    #[test]
    fn a_te_ends_here_unless_it_is_trailers_and_nothing_else() {
        let rows =
            [("trailers", false, false), ("gzip", true, false), ("gzip, trailers", true, true), ("", true, false)];
        for (value, ends, leaves) in rows {
            let text = format!(
                "HTTP/1.1 200 OK\r\nTE: {value}\r\nConnection: x-a, te\r\nX-A: 1\r\nX-B: 1\r\nUpgrade: h2c\r\n\r\n"
            );
            let (buf, mut head) = (text.as_bytes(), ResponseHead::default());
            parse_response(buf, &Limits::default(), RequestKind::Other, &mut head).expect("a head");
            let hops = Hops::of_response(&head, buf);
            let ended: Vec<bool> = head.fields.iter().map(|field| hops.is_hop(field, buf)).collect();
            assert_eq!(ended, [ends, true, true, false, true], "{value}");
            assert_eq!(Hops::leaves_trailers(&head.fields[0], buf), leaves, "{value}");
        }
    }
}
