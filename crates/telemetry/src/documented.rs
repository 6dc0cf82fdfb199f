//! Metrics that a document describes, for tests that hold it to what is shown.

use std::collections::BTreeSet;

/// Names in the first column of the table below this heading of a Markdown text.
#[must_use]
pub fn families(document: &str, heading: &str) -> BTreeSet<String> {
    let title = format!("## {heading}");
    let below = document.lines().skip_while(|line| *line != title).skip(1);
    let section = below.take_while(|line| !line.starts_with("## "));
    let names = section.filter_map(|line| line.strip_prefix("| `")?.split(['`', '{']).next());
    names.map(str::to_owned).collect()
}

/// Names that a text for Prometheus shows: of counters with their suffix, as they are asked for.
#[must_use]
pub fn shown(text: &str) -> BTreeSet<String> {
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(name, kind)| match kind {
            "counter" => format!("{name}_total"),
            _ => name.to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_found_in_their_table() {
        let document = "# M\n\n## One\n\n| name | what |\n| --- | --- |\n| `a_total{kind}` | x |\n| `b` | y |\n\n## Two\n\n| `c` | z |\n";
        assert_eq!(families(document, "One"), set(&["a_total", "b"]));
        assert_eq!(families(document, "Two"), set(&["c"]));
        assert_eq!(families(document, "Three"), set(&[]));
    }

    #[test]
    fn counters_are_shown_with_their_suffix() {
        let text = "# HELP a A.\n# TYPE a counter\na_total 1\n# TYPE b gauge\nb 2\n# EOF\n";
        assert_eq!(shown(text), set(&["a_total", "b"]));
    }
}
