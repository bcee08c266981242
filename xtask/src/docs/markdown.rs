//! As much of Markdown as our pages use.

use crate::tree::Page;

/// A link, or one half of it.
#[derive(Debug)]
pub struct Link<'a> {
    pub line: usize,
    pub text: &'a str,
    pub to: To<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To<'a> {
    /// `[text](target)`
    Target(&'a str),
    /// `[text][name]`
    Name(&'a str),
    /// `[text]`: a link if there is a definition of that name, and brackets if not.
    Itself,
    /// `[text]: target`
    Definition(&'a str),
}

/// A row of a table.
#[derive(Debug)]
pub struct Row<'a> {
    pub line: usize,
    pub cells: Vec<&'a str>,
}

/// Every link of the page, but those in code.
pub fn links(page: &Page) -> Vec<Link<'_>> {
    let prose = prose(&page.text);
    let opens = prose.match_indices('[');
    opens.filter_map(|(at, _)| link(&page.text, &prose, at)).collect()
}

/// The link that starts at a bracket.
fn link<'a>(text: &'a str, prose: &str, open: usize) -> Option<Link<'a>> {
    let start = open + 1;
    let end = start + prose[start..].find(['[', ']'])?;
    let within = &text[start..end];
    if prose[end..].starts_with('[') || within.contains("\n\n") {
        return None;
    }
    let line = text[..open].matches('\n').count() + 1;
    let line_starts = open == 0 || text[..open].ends_with('\n');
    Some(Link { line, text: within, to: to(text, prose, end + 1, line_starts)? })
}

/// The text behind the closing bracket.
fn to<'a>(text: &'a str, prose: &str, after: usize, line_starts: bool) -> Option<To<'a>> {
    let upto =
        |close: char| prose[after + 1..].find(close).map(|length| &text[after + 1..after + 1 + length]);
    match prose[after..].chars().next() {
        Some('(') => upto(')').map(|target| To::Target(first_word(target))),
        Some('[') => upto(']').map(To::Name),
        Some(':') if line_starts => {
            upto('\n').or(Some(&text[after + 1..])).map(|to| To::Definition(to.trim()))
        }
        _ => Some(To::Itself),
    }
}

/// A title may follow the target.
fn first_word(target: &str) -> &str {
    target.split_whitespace().next().unwrap_or(target)
}

/// The text, at the same places, without code: blocks are blank, and in spans no bracket is left.
fn prose(text: &str) -> String {
    let mut code = false;
    let mut prose = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let fence = is_fence(line);
        code ^= fence;
        if code || fence { blank(line, &mut prose) } else { prose.push_str(line) }
    }
    prose.split_inclusive("\n\n").map(without_spans).collect()
}

fn is_fence(line: &str) -> bool {
    line.trim_start().starts_with("```")
}

fn blank(line: &str, prose: &mut String) {
    let length = line.trim_end_matches('\n').len();
    prose.extend(std::iter::repeat_n(' ', length));
    prose.push_str(&line[length..]);
}

fn without_spans(paragraph: &str) -> String {
    let parts = paragraph.split('`').enumerate();
    let masked = parts.map(|(n, part)| if n % 2 == 1 { part.replace(BRACKETS, " ") } else { part.into() });
    masked.collect::<Vec<_>>().join("`")
}

const BRACKETS: [char; 4] = ['[', ']', '(', ')'];

/// The anchors that a link may give behind `#`: every heading as GitHub writes it.
pub fn anchors(page: &Page) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    for title in headings(page) {
        let anchor = anchor(title);
        let again = |n: usize| anchors.contains(&numbered(&anchor, n));
        let n = (0..).find(|n| !again(*n)).unwrap_or_default();
        anchors.push(numbered(&anchor, n));
    }
    anchors
}

fn numbered(anchor: &str, n: usize) -> String {
    if n == 0 { anchor.into() } else { format!("{anchor}-{n}") }
}

fn anchor(title: &str) -> String {
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn headings(page: &Page) -> impl Iterator<Item = &str> {
    outside_code(page).filter_map(|(_, line)| heading(line))
}

fn outside_code(page: &Page) -> impl Iterator<Item = (usize, &str)> {
    let mut code = false;
    page.lines().filter(move |(_, line)| {
        code ^= is_fence(line);
        !code
    })
}

fn heading(line: &str) -> Option<&str> {
    let title = line.trim_start_matches('#');
    (title.len() < line.len()).then(|| title.strip_prefix(' ')).flatten().map(str::trim)
}

/// The lines under a heading, up to the next one.
pub fn section<'a>(page: &'a Page, title: &str) -> Vec<(usize, &'a str)> {
    let from = outside_code(page).skip_while(|(_, line)| heading(line) != Some(title)).skip(1);
    from.take_while(|(_, line)| heading(line).is_none()).collect()
}

/// The rows of the first table in these lines, without its head.
pub fn table<'a>(lines: &[(usize, &'a str)]) -> Vec<Row<'a>> {
    let all = lines.iter().skip_while(|(_, line)| !line.starts_with('|'));
    let all = all.take_while(|(_, line)| line.starts_with('|'));
    all.skip(2).map(|(line, row)| Row { line: *line, cells: cells(row) }).collect()
}

fn cells(row: &str) -> Vec<&str> {
    row.trim().trim_matches('|').split('|').map(str::trim).collect()
}

impl<'a> Row<'a> {
    /// A column; empty where the row is too short.
    pub fn cell(&self, column: usize) -> &'a str {
        self.cells.get(column).copied().unwrap_or_default()
    }
}

/// The text in backticks.
pub fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}
