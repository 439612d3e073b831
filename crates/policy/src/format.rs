//! Values of header operations in Envoy's format: `from %REQ(x-user)% by %PROTOCOL%`.
//!
//! ```text
//!   text ─ parse, once ─► Value: a literal │ parts ─ write, per message ─► bytes; none = the operation does nothing
//! ```
//! A literal costs nothing here: only values with variables are written anew. Does not: know a request; whoever has one
//! says what its variables stand for ([`View`]).

mod moment;
mod variable;

pub use moment::Moment;
pub use variable::{Address, Form, Length, Names, Variable};

use crate::route::Edits;
use std::borrow::Cow;
use std::fmt;

/// The value of one header operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Value {
    /// What is written; of one with variables, as the user wrote it.
    text: Box<str>,
    /// Empty for a literal.
    parts: Box<[Part]>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Text(Box<str>),
    /// What it stands for, and how many bytes of it at most.
    Variable(Variable, Option<usize>),
}

/// Why a text is no value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// A `%` that is neither doubled nor around a variable.
    Percent,
    /// A variable that neither Envoy nor weir has, or that weir has no value for.
    Unknown(Box<str>),
    /// What stands in a variable's parentheses.
    Argument(Box<str>),
}

/// One message, as far as variables ask for it.
pub trait View {
    /// Appends what the variable stands for; nothing when it has no value here.
    fn write(&self, variable: &Variable, out: &mut Vec<u8>);
}

impl Value {
    /// A value without variables, whatever is in it.
    pub fn literal(text: &str) -> Self {
        Self { text: text.into(), parts: Box::default() }
    }

    /// Reads a text: `%%` is a percent sign, `%NAME%`, `%NAME(argument)%` and `%NAME(argument):LENGTH%` are variables.
    /// `route` is what `%ROUTE_NAME%` stands for.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(text: &str, route: &str) -> Result<Self, Wrong> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find('%') {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix('%') {
                plain.push('%');
                rest = behind;
                continue;
            }
            let found = variable::read(rest).ok_or(Wrong::Percent)?;
            rest = found.behind;
            if found.name == "ROUTE_NAME" {
                plain.push_str(&route[..found.most.map_or(route.len(), |most| route.floor_char_boundary(most))]);
                continue;
            }
            let variable = Variable::of(found.name, found.argument)?;
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain).into()));
            }
            parts.push(Part::Variable(variable, found.most));
        }
        plain.push_str(rest);
        if parts.is_empty() {
            return Ok(Self { text: plain.into(), parts: Box::default() });
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// Has it no variables?
    pub const fn is_literal(&self) -> bool {
        self.parts.is_empty()
    }

    /// A literal's text; of a value with variables what the user wrote.
    pub const fn text(&self) -> &str {
        &self.text
    }

    /// A variable in it that never has a value, by its name.
    pub fn idle(&self) -> Option<&str> {
        self.parts.iter().find_map(|part| match part {
            Part::Variable(Variable::Never(name), _) => Some(&**name),
            _ => None,
        })
    }

    fn write(&self, view: &dyn View) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len());
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable, most) => {
                    let from = out.len();
                    view.write(variable, &mut out);
                    if let Some(most) = most {
                        out.truncate(from + most);
                    }
                }
            }
        }
        // What a peer said may hold what no field may: a line's end would begin another field.
        out.retain(|byte| !matches!(byte, b'\r' | b'\n' | 0));
        out
    }
}

impl Edits {
    /// The same with every variable's value: operations whose value is empty then are left out, as Envoy does it.
    /// Edits without variables are themselves.
    pub fn resolve<'e>(&'e self, view: &dyn View) -> Cow<'e, Self> {
        if self.is_literal() {
            return Cow::Borrowed(self);
        }
        let all = |pairs: &[(Box<str>, Value)]| {
            let written = pairs.iter().filter_map(|(name, value)| {
                if value.is_literal() {
                    return Some((name.clone(), value.clone()));
                }
                let bytes = value.write(view);
                let text = String::from_utf8(bytes).unwrap_or_else(|error| latin(error.as_bytes()));
                (!text.is_empty()).then(|| (name.clone(), Value::literal(&text)))
            });
            written.collect()
        };
        Cow::Owned(Self { set: all(&self.set), add: all(&self.add), remove: self.remove.clone() })
    }
}

/// Bytes that are no UTF-8, each as a character.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent => f.write_str("a `%` is neither doubled nor around a variable"),
            Self::Unknown(name) => write!(f, "weir has no variable `%{name}%`"),
            Self::Argument(words) => f.write_str(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Fixed;

    impl View for Fixed {
        fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
            match variable {
                Variable::Request(names) if &*names.first == "x-in" => out.extend_from_slice(b"hello"),
                Variable::Request(names) if names.second.as_deref() == Some("x-in") => out.extend_from_slice(b"second"),
                Variable::Protocol => out.extend_from_slice(b"HTTP/1.1"),
                Variable::Started(moment) => moment.write(1_795_573_400_761, out),
                Variable::Details => out.extend_from_slice(b"a\r\nb: c"),
                _ => {}
            }
        }
    }

    fn written(text: &str) -> String {
        let value = Value::parse(text, "my-route").expect("a value");
        if value.is_literal() {
            return value.text().to_owned();
        }
        String::from_utf8(value.write(&Fixed)).expect("text")
    }

    /// As a real Envoy wrote them.
    #[test]
    fn as_envoy_writes_them() {
        let rows = [
            ("plain", "plain"),
            ("100%%", "100%"),
            ("%%REQ(x-in)%%", "%REQ(x-in)%"),
            ("a %REQ(x-in)% b", "a hello b"),
            ("a%REQ(x-none)%b", "ab"),
            ("%REQ(x-none)%", ""),
            ("%REQ(x-none?x-in)%", "second"),
            ("%REQ(X-In):3%", "hel"),
            ("%PROTOCOL%", "HTTP/1.1"),
            ("%ROUTE_NAME%", "my-route"),
            ("%ROUTE_NAME:2%", "my"),
            ("%START_TIME%", "2026-11-25T02:23:20.761Z"),
            ("%START_TIME(%s)%", "1795573400"),
            ("%START_TIME(%Y/%m/%dT%H:%M:%S%z %s)%", "2026/11/25T02:23:20+0000 1795573400"),
            ("%START_TIME(%s.%3f)%", "1795573400.761"),
            ("%START_TIME(%a %b %e %j %p %I)%", "Wed Nov 25 329 AM 02"),
            ("%RESPONSE_CODE_DETAILS%", "ab: c"),
            ("%DYNAMIC_METADATA(a:b)%", ""),
        ];
        for (text, expected) in rows {
            assert_eq!(written(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong() {
        for text in ["%", "a%b", "%req%", "%REQ(x", "%REQ(x)y%", "100%", "%A B%"] {
            assert_eq!(Value::parse(text, ""), Err(Wrong::Percent), "{text}");
        }
        for text in ["%NO_SUCH%", "%ENVIRONMENT(HOME)%"] {
            assert!(matches!(Value::parse(text, ""), Err(Wrong::Unknown(_))), "{text}");
        }
        for text in ["%REQ%", "%REQ()%", "%PROTOCOL(x)%", "%START_TIME(%Q)%", "%REQ(a b)%", "%START_TIME(%)%"] {
            assert!(matches!(Value::parse(text, ""), Err(Wrong::Argument(_))), "{text}");
        }
        assert_eq!(Value::parse("%UPSTREAM_METADATA(a:b)%", "").expect("a value").idle(), Some("UPSTREAM_METADATA"));
    }

    #[test]
    fn an_operation_without_a_value_is_none() {
        let value = |text| Value::parse(text, "").expect("a value");
        let edits = Edits {
            set: vec![("a".into(), value("%REQ(x-none)%")), ("b".into(), value("%REQ(x-in)%"))],
            add: vec![("c".into(), value("c"))],
            remove: vec!["d".into()],
        };
        let resolved = edits.resolve(&Fixed);
        assert_eq!(resolved.set, [("b".into(), Value::literal("hello"))]);
        assert_eq!((&resolved.add, &resolved.remove), (&edits.add, &edits.remove));
        let literal = Edits { add: vec![("c".into(), value("c"))], ..Edits::default() };
        assert!(matches!(literal.resolve(&Fixed), Cow::Borrowed(_)), "no copy without variables");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[%A-Z_()a-z:0-9?é -]{0,40}") {
            if let Ok(value) = Value::parse(&text, "réute") {
                let bytes = value.write(&Fixed);
                prop_assert!(!bytes.contains(&b'\n'));
            }
        }
    }
}
