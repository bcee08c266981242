//! The output of a benchmark: one table, as text or JSON.

use serde_json::{Map, Value, json};

/// Rows under named columns.
#[derive(Debug, Clone)]
pub struct Table {
    title: String,
    columns: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

/// One field.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A word.
    Word(String),
    /// A number and how many of its decimals are shown.
    Number(f64, usize),
}

impl From<&str> for Cell {
    fn from(word: &str) -> Self {
        Self::Word(word.into())
    }
}

impl From<usize> for Cell {
    fn from(count: usize) -> Self {
        Self::Number(count as f64, 0)
    }
}

/// A rate: whole.
pub const fn rate(value: f64) -> Cell {
    Cell::Number(value, 0)
}

/// A time or a ratio: two decimals.
pub const fn fine(value: f64) -> Cell {
    Cell::Number(value, 2)
}

impl Cell {
    fn text(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Number(value, _) if !value.is_finite() => "-".into(),
            Self::Number(value, decimals) => format!("{value:.decimals$}"),
        }
    }

    /// Rounded as in text. Not a number is null.
    fn json(&self) -> Value {
        match self {
            Self::Word(word) => json!(word),
            Self::Number(..) => serde_json::from_str(&self.text()).unwrap_or(Value::Null),
        }
    }
}

impl Table {
    /// An empty table.
    pub fn new(title: impl Into<String>, columns: &'static [&'static str]) -> Self {
        Self { title: title.into(), columns, rows: Vec::new() }
    }

    /// Adds a row, one field for each column.
    pub fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len());
        self.rows.push(row);
    }

    /// Prints it on standard output.
    #[expect(clippy::print_stdout, reason = "what a benchmark is for")]
    pub fn print(&self, json: bool) {
        println!("{}", if json { self.json().to_string() } else { self.text() });
    }

    fn json(&self) -> Value {
        let object = |row: &Vec<Cell>| {
            let fields = self.columns.iter().zip(row);
            fields.map(|(name, cell)| ((*name).to_owned(), cell.json())).collect::<Map<_, _>>()
        };
        json!({ "title": self.title, "rows": self.rows.iter().map(object).collect::<Vec<_>>() })
    }

    /// A Markdown table, its columns aligned.
    fn text(&self) -> String {
        let head: Vec<String> = self.columns.iter().map(|name| (*name).to_owned()).collect();
        let body: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(Cell::text).collect()).collect();
        let width =
            |at: usize| body.iter().map(|row| row[at].len()).chain([head[at].len()]).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        let rule: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
        let mut text = format!("{}\n\n{}\n{}", self.title, line(&head, &widths), line(&rule, &widths));
        for row in &body {
            text.push('\n');
            text.push_str(&line(row, &widths));
        }
        text
    }
}

fn line(fields: &[String], widths: &[usize]) -> String {
    let padded = fields.iter().zip(widths).map(|(field, width)| format!(" {field:<width$} |"));
    format!("|{}", padded.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_json_say_the_same() {
        let mut table = Table::new("title", &["what", "n", "ratio"]);
        table.push(vec!["one".into(), 16.into(), fine(0.678)]);
        table.push(vec!["two".into(), rate(1234.6), fine(f64::NAN)]);
        let expected = "title\n\n| what | n    | ratio |\n| ---- | ---- | ----- |\n| one  | 16   | 0.68  |\n\
                        | two  | 1235 | -     |";
        assert_eq!(table.text(), expected);
        let rows = &table.json()["rows"];
        assert_eq!(rows[0], json!({"what": "one", "n": 16, "ratio": 0.68}));
        assert_eq!(rows[1]["ratio"], Value::Null);
    }
}
