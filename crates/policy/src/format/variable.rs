//! The variables of Envoy's format, and which of them weir has.
//!
//! Does not: hold values.

use super::{Moment, Wrong};

/// What a part of a value stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Variable {
    /// `REQ(NAME?OTHER)`: a field of the request, or `:path`, `:method`, `:authority`, `:scheme`.
    Request(Names),
    /// `RESP(NAME?OTHER)`, with `:status`.
    Response(Names),
    /// `PROTOCOL`: the client's.
    Protocol,
    UpstreamProtocol,
    /// `RESPONSE_CODE`; 0 before there is one.
    Status,
    /// `RESPONSE_CODE_DETAILS`.
    Details,
    /// `RESPONSE_FLAGS`, `RESPONSE_FLAGS_LONG`.
    Flags(Length),
    /// `UPSTREAM_CLUSTER`, as Istio names it.
    Cluster,
    /// `DOWNSTREAM_REMOTE_ADDRESS` and `DOWNSTREAM_DIRECT_REMOTE_ADDRESS`, with their other forms.
    Peer(Address),
    /// `DOWNSTREAM_LOCAL_ADDRESS`, with its other forms.
    Own(Address),
    /// `UPSTREAM_HOST`, `UPSTREAM_REMOTE_ADDRESS` with its other forms.
    Upstream(Address),
    /// `START_TIME(FORMAT)`.
    Started(Moment),
    /// `DURATION`, `REQUEST_DURATION`, `RESPONSE_DURATION`…: milliseconds between two points of the request.
    Lasted(Form),
    /// `BYTES_RECEIVED`, `BYTES_SENT`: of bodies.
    Received,
    Sent,
    /// `UPSTREAM_REQUEST_ATTEMPT_COUNT`.
    Attempts,
    /// `HOSTNAME`.
    Hostname,
    /// `STREAM_ID`: the request's id.
    RequestId,
    /// What weir knows nothing of: by its name, without a value.
    Never(Box<str>),
}

/// `NAME?OTHER` in parentheses: lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    pub first: Box<str>,
    /// Stands in where the first is missing.
    pub second: Option<Box<str>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    Short,
    Long,
}

/// Which part of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    Whole,
    /// `…_WITHOUT_PORT`
    Bare,
    /// `…_PORT`
    Port,
}

/// Which stretch of a request's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// `DURATION`: since its begin.
    Whole,
    /// `REQUEST_DURATION`, `REQUEST_TX_DURATION`: until its last byte was received, or sent on.
    Request,
    /// `RESPONSE_DURATION`: until the response's first byte.
    Response,
}

/// A variable in a text.
pub(super) struct Found<'t> {
    pub(super) name: &'t str,
    pub(super) argument: Option<&'t str>,
    /// `:LENGTH`
    pub(super) most: Option<usize>,
    /// What follows its closing `%`.
    pub(super) behind: &'t str,
}

/// Reads behind a `%`: `NAME%`, `NAME(argument)%`, either with `:LENGTH` before the `%`.
pub(super) fn read(text: &str) -> Option<Found<'_>> {
    let end = text.find(|byte: char| !matches!(byte, 'A'..='Z' | '0'..='9' | '_')).filter(|end| *end > 0)?;
    let (name, rest) = text.split_at(end);
    let Some(inside) = rest.strip_prefix('(') else {
        let Tail { most, behind } = tail(rest)?;
        return Some(Found { name, argument: None, most, behind });
    };
    // The first parenthesis that a variable can end behind: an argument may hold others, and percent signs.
    inside.match_indices(')').find_map(|(at, _)| {
        let Tail { most, behind } = tail(&inside[at + 1..])?;
        Some(Found { name, argument: Some(&inside[..at]), most, behind })
    })
}

/// What stands before the closing `%`: nothing, or a length.
struct Tail<'t> {
    most: Option<usize>,
    behind: &'t str,
}

fn tail(text: &str) -> Option<Tail<'_>> {
    let (most, rest) = match text.strip_prefix(':') {
        Some(digits) => {
            let end = digits.find('%')?;
            (Some(digits[..end].parse().ok()?), &digits[end..])
        }
        None => (None, text),
    };
    Some(Tail { most, behind: rest.strip_prefix('%')? })
}

/// Variables of Envoy that have no value in weir: certificates, metadata, filters that weir does not have.
const NEVER: [&str; 22] = [
    "DYNAMIC_METADATA",
    "CLUSTER_METADATA",
    "UPSTREAM_METADATA",
    "FILTER_STATE",
    "UPSTREAM_FILTER_STATE",
    "REQUESTED_SERVER_NAME",
    "VIRTUAL_CLUSTER_NAME",
    "GRPC_STATUS",
    "TRAILER",
    "RESPONSE_TX_DURATION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_SERIAL",
];

impl Variable {
    pub(super) fn of(name: &str, argument: Option<&str>) -> Result<Self, Wrong> {
        let found = match name {
            "REQ" => return names(name, argument).map(Self::Request),
            "RESP" => return names(name, argument).map(Self::Response),
            "START_TIME" => return Moment::parse(argument.unwrap_or_default()).map(Self::Started),
            _ if NEVER.contains(&name) || name.starts_with("DOWNSTREAM_PEER_") => return Ok(Self::Never(name.into())),
            _ => Self::plain(name).ok_or_else(|| Wrong::Unknown(name.into()))?,
        };
        match argument {
            None => Ok(found),
            Some(_) => Err(Wrong::Argument(format!("`%{name}%` takes nothing in parentheses").into())),
        }
    }

    fn plain(name: &str) -> Option<Self> {
        Some(match name {
            "PROTOCOL" => Self::Protocol,
            "UPSTREAM_PROTOCOL" => Self::UpstreamProtocol,
            "RESPONSE_CODE" => Self::Status,
            "RESPONSE_CODE_DETAILS" => Self::Details,
            "RESPONSE_FLAGS" => Self::Flags(Length::Short),
            "RESPONSE_FLAGS_LONG" => Self::Flags(Length::Long),
            "UPSTREAM_CLUSTER" | "UPSTREAM_CLUSTER_RAW" => Self::Cluster,
            "DOWNSTREAM_REMOTE_ADDRESS" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS" => Self::Peer(Address::Whole),
            "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" | "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT" => {
                Self::Peer(Address::Bare)
            }
            "DOWNSTREAM_REMOTE_PORT" | "DOWNSTREAM_DIRECT_REMOTE_PORT" => Self::Peer(Address::Port),
            "DOWNSTREAM_LOCAL_ADDRESS" => Self::Own(Address::Whole),
            "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT" => Self::Own(Address::Bare),
            "DOWNSTREAM_LOCAL_PORT" => Self::Own(Address::Port),
            "UPSTREAM_HOST" | "UPSTREAM_REMOTE_ADDRESS" => Self::Upstream(Address::Whole),
            "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT" => Self::Upstream(Address::Bare),
            "UPSTREAM_REMOTE_PORT" => Self::Upstream(Address::Port),
            "DURATION" => Self::Lasted(Form::Whole),
            "REQUEST_DURATION" | "REQUEST_TX_DURATION" => Self::Lasted(Form::Request),
            "RESPONSE_DURATION" => Self::Lasted(Form::Response),
            "BYTES_RECEIVED" => Self::Received,
            "BYTES_SENT" => Self::Sent,
            "UPSTREAM_REQUEST_ATTEMPT_COUNT" => Self::Attempts,
            "HOSTNAME" => Self::Hostname,
            "STREAM_ID" => Self::RequestId,
            _ => return None,
        })
    }
}

fn names(variable: &str, argument: Option<&str>) -> Result<Names, Wrong> {
    let argument = argument.unwrap_or_default();
    let (first, second) = match argument.split_once('?') {
        Some((first, second)) => (first, Some(second)),
        None => (argument, None),
    };
    let is_name = |name: &str| {
        let token = name.strip_prefix(':').unwrap_or(name);
        !token.is_empty() && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
    };
    if !is_name(first) || second.is_some_and(|second| !is_name(second)) {
        return Err(Wrong::Argument(format!("`%{variable}({argument})%` names no header").into()));
    }
    let lower = |name: &str| name.to_ascii_lowercase().into();
    Ok(Names { first: lower(first), second: second.map(lower) })
}
