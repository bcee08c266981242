use super::super::markdown::{To, anchors, links, section, spans, table};
use crate::tree::Page;

fn page(text: &str) -> Page {
    Page { path: "docs/a.md".into(), text: text.into() }
}

fn found(text: &str) -> Vec<(usize, String, String)> {
    let page = page(text);
    links(&page).iter().map(|link| (link.line, link.text.to_owned(), format!("{:?}", link.to))).collect()
}

#[test]
fn links_are_of_four_kinds() {
    let text = "[a](b.md)\nand [`c`][d], [e]\n\n[d]: f.rs\n[e]: g.md";
    let kinds: Vec<_> =
        found(text).into_iter().map(|(line, text, to)| format!("{line} {text} {to}")).collect();
    assert_eq!(
        kinds,
        [
            "1 a Target(\"b.md\")",
            "2 `c` Name(\"d\")",
            "2 d Itself",
            "2 e Itself",
            "4 d Definition(\"f.rs\")",
            "5 e Definition(\"g.md\")",
        ]
    );
}

#[test]
fn a_target_may_have_a_title_and_a_text_may_have_two_lines() {
    assert_eq!(found("[two\nlines](b.md \"B\")"), [(1, "two\nlines".into(), "Target(\"b.md\")".into())]);
}

#[test]
fn a_colon_makes_a_definition_only_where_a_line_starts() {
    let page = page("as in [a]: b");
    assert_eq!(links(&page)[0].to, To::Itself);
}

#[test]
fn code_holds_no_links() {
    for text in ["`[a](b)`", "```\n[a](b)\n```\n", "  ```text\n[a]: b\n  ```\n", "`v[1][2]`"] {
        assert_eq!(found(text), [], "{text}");
    }
    assert_eq!(found("```\n[a](b)\n```\nü [c](d)")[0].0, 4);
    // A backtick that nothing closes ends with its paragraph.
    assert_eq!(found("a ` b\n\n[a](b) `").len(), 1);
}

#[test]
fn anchors_are_what_github_makes_of_headings() {
    let page =
        page("# A b\n\n## 3. `Load`, and: more_\n\n```sh\n# no heading\n```\n### A b\n#none\n## A b\n");
    assert_eq!(anchors(&page), ["a-b", "3-load-and-more_", "a-b-1", "a-b-2"]);
}

#[test]
fn a_section_ends_at_the_next_heading_and_a_table_at_the_next_other_line() {
    let page = page("# A\n| x | y |\n|---|---|\n| `1` | |\n| 2 |\n\n| z |\n## B\n| w |\n|---|\n| 3 |\n");
    let rows = table(&section(&page, "A"));
    let cells: Vec<_> = rows.iter().map(|row| (row.line, row.cell(0), row.cell(1))).collect();
    assert_eq!(cells, [(4, "`1`", ""), (5, "2", "")]);
    assert_eq!(table(&section(&page, "B"))[0].line, 11);
    assert!(section(&page, "C").is_empty());
    assert_eq!(spans("`a` b `c`").collect::<Vec<_>>(), ["a", "c"]);
}
