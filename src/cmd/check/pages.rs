//! The pages about problems (docs/src/problems), as `--explain` shows them.

use weir_config::Code;

const PAGES: [&str; 10] = [
    include_str!("../../../docs/src/problems/documents.md"),
    include_str!("../../../docs/src/problems/values.md"),
    include_str!("../../../docs/src/problems/effect.md"),
    include_str!("../../../docs/src/problems/retries.md"),
    include_str!("../../../docs/src/problems/outliers.md"),
    include_str!("../../../docs/src/problems/pools.md"),
    include_str!("../../../docs/src/problems/paths.md"),
    include_str!("../../../docs/src/problems/quotas.md"),
    include_str!("../../../docs/src/problems/names.md"),
    include_str!("../../../docs/src/problems/monitoring.md"),
];

/// The section of a code, without its heading.
pub(crate) fn section(code: Code) -> &'static str {
    let heading = format!("\n## {}\n", code.text());
    let found = PAGES.iter().find_map(|page| page.split_once(&heading).map(|(_, rest)| rest));
    let section = found.unwrap_or_default();
    section.find("\n## ").map_or(section, |end| &section[..end]).trim_start()
}

/// Its first line, without marks.
pub(crate) fn headline(code: Code) -> &'static str {
    section(code).lines().next().unwrap_or_default().trim_matches('*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained() {
        for code in Code::ALL {
            assert!(headline(*code).ends_with(").") && section(*code).lines().count() >= 3, "{}", code.text());
        }
    }
}
