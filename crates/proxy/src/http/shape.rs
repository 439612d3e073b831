//! How a request looks upstream: its path and authority, as its rule rewrites them.
//!
//! Does not: write heads.

use super::inquiry::Inquiry;
use weir_policy::route::{self, Destination};

/// How the request looks upstream.
pub(crate) struct Shape<'a> {
    pub(crate) path: &'a [u8],
    pub(crate) original_path: Option<&'a [u8]>,
    pub(crate) authority: &'a [u8],
    pub(crate) original_host: Option<&'a [u8]>,
    pub(crate) mirrors: &'a [route::Mirror],
}

impl<'a> Shape<'a> {
    pub(crate) fn of(
        forward: &'a route::Forward,
        destination: &'a Destination,
        entry: &'a route::Entry,
        inquiry: &Inquiry<'a>,
        rewritten: &'a mut Vec<u8>,
    ) -> Self {
        let written = forward.authority.as_deref().or(destination.authority.as_deref());
        let authority = written.map_or(inquiry.facts.authority, str::as_bytes);
        let original_host = written.map(|_| inquiry.facts.authority);
        let mirrors = &forward.mirrors;
        let Some(rewrite) = &forward.rewrite else {
            return Shape { path: inquiry.facts.path, original_path: None, authority, original_host, mirrors };
        };
        rewritten.clear();
        route::rewritten(rewrite, &entry.when, inquiry.facts.path, rewritten);
        let original_path = Some(inquiry.request.target.of(inquiry.buf));
        Shape { path: rewritten, original_path, authority, original_host, mirrors }
    }
}
