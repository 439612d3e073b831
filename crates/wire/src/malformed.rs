//! Why a message was refused: one word and one status each.

use std::fmt;

/// A violation of RFC 9112 (or of a bound); the connection it came on must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Malformed {
    /// The head is larger than its bound.
    TooLarge,
    /// More fields than the bound.
    TooManyFields,
    /// A bare CR or LF, or a line that does not end as lines end.
    LineEnd,
    Method,
    Target,
    Version,
    /// A version that is well-formed and not ours.
    VersionUnknown,
    StatusLine,
    FieldName,
    FieldValue,
    /// White space before the colon, or a folded line.
    FieldSpace,
    Host,
    /// HTTP/1.1 without `Host`.
    NoHost,
    ContentLength,
    TransferEncoding,
    /// A transfer coding other than `chunked`.
    TransferCoding,
    /// Both lengths in one message.
    TwoFramings,
    Connection,
    ChunkSize,
    ChunkExtension,
    ChunkEnd,
    Trailers,
    /// The message ended before its body did.
    Truncated,
}

impl Malformed {
    /// What a server answers.
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLarge | Self::TooManyFields => 431,
            Self::VersionUnknown => 505,
            Self::TransferCoding => 501,
            _ => 400,
        }
    }

    /// The word in metrics and logs.
    pub const fn words(self) -> &'static str {
        match self {
            Self::TooLarge => "head_too_large",
            Self::TooManyFields => "too_many_headers",
            Self::LineEnd => "line_end",
            Self::Method => "method",
            Self::Target => "target",
            Self::Version => "version",
            Self::VersionUnknown => "version_unknown",
            Self::StatusLine => "status_line",
            Self::FieldName => "header_name",
            Self::FieldValue => "header_value",
            Self::FieldSpace => "header_space",
            Self::Host => "host",
            Self::NoHost => "no_host",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::TransferCoding => "transfer_coding",
            Self::TwoFramings => "two_framings",
            Self::Connection => "connection",
            Self::ChunkSize => "chunk_size",
            Self::ChunkExtension => "chunk_extension",
            Self::ChunkEnd => "chunk_end",
            Self::Trailers => "trailers",
            Self::Truncated => "truncated",
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::Malformed::*;
    use std::collections::HashSet;

    #[test]
    fn each_has_a_word_of_its_own_and_a_clients_status() {
        let all = [
            TooLarge,
            TooManyFields,
            LineEnd,
            Method,
            Target,
            Version,
            VersionUnknown,
            StatusLine,
            FieldName,
            FieldValue,
            FieldSpace,
            Host,
            ContentLength,
            TransferEncoding,
            TransferCoding,
            TwoFramings,
            Connection,
            ChunkSize,
            ChunkExtension,
            ChunkEnd,
            Trailers,
            Truncated,
        ];
        let words: HashSet<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), all.len());
        let other = all.iter().filter(|why| why.status() != 400).map(|why| (why.words(), why.status()));
        let expected =
            [("head_too_large", 431), ("too_many_headers", 431), ("version_unknown", 505), ("transfer_coding", 501)];
        assert_eq!(other.collect::<Vec<_>>(), expected);
    }
}
