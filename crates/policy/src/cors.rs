//! CORS: which origins may read answers, and the answer to a preflight, as Envoy's filter gives it.
//!
//! ```text
//!   origin? ─no─► on
//!     │ yes
//!   preflight (OPTIONS with access-control-request-method)? ─no──► on; an allowed origin's answer gets the fields
//!     │ yes
//!   allowed? ─yes──► our answer: 200 with the fields
//!       └─no──► forwarded (the default), or our answer: 200 that does not name the origin
//! ```
//! Does not: refuse a request; the browser does.

use crate::route::{Facts, Pattern};

/// `corsPolicy` of a rule.
#[derive(Clone, Debug)]
pub struct Rules {
    /// `allowOrigins`; the exact `*` allows any.
    pub origins: Vec<Pattern>,
    /// `allowMethods`, joined by `,`; empty = the field is not sent. So are the next two.
    pub methods: Box<str>,
    /// `allowHeaders`.
    pub headers: Box<str>,
    /// `exposeHeaders`.
    pub expose: Box<str>,
    /// `maxAge`, in whole seconds.
    pub max_age: Option<Box<str>>,
    pub credentials: Credentials,
    pub unmatched: Unmatched,
}

/// `allowCredentials`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Credentials {
    #[default]
    No,
    Yes,
}

/// `unmatchedPreflights`: a preflight of an origin that is not allowed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Unmatched {
    /// It goes to the upstream.
    #[default]
    Forward,
    /// It is answered with 200, and its origin is not named.
    Ignore,
}

/// What becomes of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Not CORS, or of an origin that is not allowed.
    Plain,
    /// Its answer gets the fields of [`Rules::answer_fields`].
    Allowed,
    /// Answer it: 200 with [`Rules::preflight_fields`].
    Preflight,
    /// Answer it: the same, and the origin is not named, so that the browser refuses.
    Unmatched,
}

impl Rules {
    /// Decides about a request.
    pub fn judge(&self, facts: &Facts<'_>) -> Verdict {
        let (mut allowed, mut seen) = (None, false);
        facts.headers.each("origin", &mut |origin| {
            if !seen && !origin.is_empty() {
                allowed = Some(self.allows(origin));
            }
            seen = true;
        });
        let Some(allowed) = allowed else { return Verdict::Plain };
        match (allowed, is_preflight(facts)) {
            (true, true) => Verdict::Preflight,
            (true, false) => Verdict::Allowed,
            (false, true) if self.unmatched == Unmatched::Ignore => Verdict::Unmatched,
            (false, _) => Verdict::Plain,
        }
    }

    fn allows(&self, origin: &[u8]) -> bool {
        self.origins.iter().any(|pattern| pattern.matches(b"*") || pattern.matches(origin))
    }

    /// The fields of an answer to an allowed origin; they replace the upstream's.
    pub fn answer_fields<'a>(&'a self, origin: &'a [u8]) -> impl Iterator<Item = Field<'a>> {
        let fields = [Some(allow(origin)), self.credentials(), text("access-control-expose-headers", &self.expose)];
        fields.into_iter().flatten()
    }

    /// The fields of the answer to a preflight; `origin` when it is allowed.
    pub fn preflight_fields<'a>(&'a self, origin: Option<&'a [u8]>) -> impl Iterator<Item = Field<'a>> {
        let fields = [
            origin.map(allow),
            self.credentials(),
            text("access-control-allow-methods", &self.methods),
            text("access-control-allow-headers", &self.headers),
            text("access-control-max-age", self.max_age.as_deref().unwrap_or_default()),
            origin.and_then(|_| text("access-control-expose-headers", &self.expose)),
        ];
        fields.into_iter().flatten()
    }

    fn credentials(&self) -> Option<Field<'_>> {
        (self.credentials == Credentials::Yes)
            .then_some(Field { name: "access-control-allow-credentials", value: b"true" })
    }
}

/// A field of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'a> {
    pub name: &'static str,
    pub value: &'a [u8],
}

fn allow(origin: &[u8]) -> Field<'_> {
    Field { name: "access-control-allow-origin", value: origin }
}

/// A field, unless it would be empty.
fn text<'a>(name: &'static str, value: &'a str) -> Option<Field<'a>> {
    (!value.is_empty()).then_some(Field { name, value: value.as_bytes() })
}

fn is_preflight(facts: &Facts<'_>) -> bool {
    let mut asked = false;
    facts.headers.each("access-control-request-method", &mut |value| asked |= !value.is_empty());
    facts.method == b"OPTIONS" && asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Headers;

    struct Pairs<'a>(&'a [(&'a str, &'a str)]);

    impl Headers for Pairs<'_> {
        fn each(&self, name: &str, see: &mut dyn FnMut(&[u8])) {
            self.0.iter().filter(|(known, _)| *known == name).for_each(|(_, value)| see(value.as_bytes()));
        }
    }

    fn rules(origin: &str) -> Rules {
        Rules {
            origins: vec![Pattern::Exact(origin.as_bytes().into())],
            methods: "GET,POST".into(),
            headers: "".into(),
            expose: "x-one".into(),
            max_age: Some("60".into()),
            credentials: Credentials::Yes,
            unmatched: Unmatched::Forward,
        }
    }

    fn judge(rules: &Rules, method: &str, headers: &[(&str, &str)]) -> Verdict {
        rules.judge(&Facts {
            authority: b"app",
            method: method.as_bytes(),
            scheme: b"http",
            path: b"/",
            query: None,
            port: 80,
            headers: &Pairs(headers),
        })
    }

    #[test]
    fn simple_and_preflight_requests() {
        let ours = rules("https://a.example");
        let (a, b) = (("origin", "https://a.example"), ("origin", "https://b.example"));
        let asks = ("access-control-request-method", "POST");
        assert_eq!(judge(&ours, "GET", &[]), Verdict::Plain);
        assert_eq!(judge(&ours, "GET", &[a]), Verdict::Allowed);
        assert_eq!(judge(&ours, "GET", &[b]), Verdict::Plain);
        assert_eq!(judge(&ours, "OPTIONS", &[a]), Verdict::Allowed);
        assert_eq!(judge(&ours, "OPTIONS", &[a, asks]), Verdict::Preflight);
        assert_eq!(judge(&ours, "OPTIONS", &[b, asks]), Verdict::Plain);
        assert_eq!(judge(&ours, "OPTIONS", &[asks]), Verdict::Plain);
        let strict = Rules { unmatched: Unmatched::Ignore, ..ours };
        assert_eq!(judge(&strict, "OPTIONS", &[b, asks]), Verdict::Unmatched);
        assert_eq!(judge(&rules("*"), "GET", &[b]), Verdict::Allowed);
    }

    #[test]
    fn the_origin_is_named_and_empty_fields_are_left_out() {
        let ours = rules("*");
        let names = |fields: Vec<Field<'_>>| fields.into_iter().map(|field| field.name).collect::<Vec<_>>();
        assert_eq!(
            names(ours.answer_fields(b"https://a").collect()),
            ["access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers"]
        );
        assert_eq!(ours.answer_fields(b"https://a").next().map(|field| field.value), Some(&b"https://a"[..]));
        assert_eq!(
            names(ours.preflight_fields(Some(b"https://a")).collect()),
            [
                "access-control-allow-origin",
                "access-control-allow-credentials",
                "access-control-allow-methods",
                "access-control-max-age",
                "access-control-expose-headers"
            ]
        );
        assert_eq!(
            names(ours.preflight_fields(None).collect()),
            ["access-control-allow-credentials", "access-control-allow-methods", "access-control-max-age"]
        );
    }
}
