//! Annotations of a GitHub workflow: `::warning file=…,line=…::words`.

use weir_config::{Problem, Severity};

/// One command per problem.
pub(crate) fn annotations(problems: &[Problem]) -> String {
    problems.iter().map(annotation).collect()
}

fn annotation(problem: &Problem) -> String {
    let level = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "notice",
    };
    let place = &problem.place;
    let mut where_ = format!("file={}", property(&place.file));
    if place.line > 0 {
        let end = place.column + problem.length;
        where_ += &format!(",line={},col={},endColumn={end}", place.line, place.column);
    }
    let hint = problem.hint.as_ref().map(|hint| format!("\n{hint}")).unwrap_or_default();
    let words = data(&format!("{}{hint}", problem.words));
    format!("::{level} {where_},title={}::{words}\n", problem.code.text())
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_config::Code;
    use weir_policy::place::Place;

    #[test]
    fn lines_and_signs_are_escaped() {
        let place = Place { file: "a,b:c.yaml".into(), line: 3, column: 5 };
        let problem = Problem::new(Code::NoTimeout, place, "100%\nsure").hint("so");
        assert_eq!(
            annotation(&problem),
            "::notice file=a%2Cb%3Ac.yaml,line=3,col=5,endColumn=6,title=WEIR0303::100%25%0Asure%0Aso\n"
        );
    }
}
