//! `exportTo`: which namespaces see a resource.

use crate::decode::Object;
use crate::names;
use crate::problem::Code;

/// Who sees a resource.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Export {
    /// `*`, or nothing written.
    #[default]
    Everyone,
    /// `~`
    Nobody,
    /// `.` is the resource's own.
    Namespaces(Vec<String>),
}

impl Export {
    /// Is the resource visible from this namespace?
    pub fn reaches(&self, namespace: &str) -> bool {
        match self {
            Self::Everyone => true,
            Self::Nobody => false,
            Self::Namespaces(names) => names.iter().any(|name| name == namespace),
        }
    }
}

/// Whether `~` may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hidden {
    Allowed,
    Refused,
}

/// Reads `exportTo` of a resource in `namespace`.
pub fn export_to(spec: &Object<'_>, namespace: &str, hidden: Hidden) -> Export {
    let written = spec.texts("exportTo");
    let mut seen: Vec<String> = Vec::new();
    for entry in &written {
        let known = match entry.value.as_str() {
            "." | "*" => true,
            "~" => hidden == Hidden::Allowed,
            name => names::is_label(name),
        };
        if !known {
            let words = format!("`exportTo: {}` is neither a namespace, `.` nor `*`", entry.value);
            spec.sink.refuse(&entry.place, words);
        }
        let name = if entry.value == "." { namespace } else { &entry.value };
        if seen.iter().any(|known| known == name) {
            spec.sink.refuse(&entry.place, format!("`exportTo` names `{name}` twice"));
        }
        seen.push(name.to_owned());
    }
    for (word, means) in [("*", "everyone"), ("~", "nobody")] {
        if seen.len() > 1 && seen.iter().any(|name| name == word) {
            let words = format!("`{word}` is {means}: nothing can stand beside it");
            spec.sink.add(spec.problem(Code::Conflict, "exportTo", words));
        }
    }
    match seen.first().map(String::as_str) {
        None | Some("*") => Export::Everyone,
        Some("~") => Export::Nobody,
        Some(_) => Export::Namespaces(seen),
    }
}
