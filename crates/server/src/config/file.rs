//! From TOML text to assignments, each with its line.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::value::Given;
use super::{Assignment, ConfigError, Origin, keys};

pub(super) fn read(path: &Path) -> Result<Vec<Assignment>, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Unreadable { path: path.into(), source })?;
    Source { path, text: &text }.assignments()
}

struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl<'a> Source<'a> {
    fn assignments(&self) -> Result<Vec<Assignment>, ConfigError> {
        let document = DeTable::parse(self.text).map_err(|error| ConfigError::Syntax {
            origin: self.at(error.span().map_or(0, |span| span.start)),
            why: error.message().into(),
        })?;
        let mut assignments = Vec::new();
        for (section, body) in document.get_ref() {
            let origin = self.at(section.span().start);
            let section: &str = section.get_ref();
            for (name, value) in self.section(origin, section, body)? {
                let origin = self.at(name.span().start);
                let key = keys::find(section, name.get_ref()).ok_or_else(|| ConfigError::UnknownKey {
                    origin: origin.clone(),
                    section: section.into(),
                    key: name.get_ref().to_string(),
                })?;
                assignments.push(Assignment { key, value: given(value.get_ref()), origin });
            }
        }
        Ok(assignments)
    }

    /// The body of a section that exists.
    fn section<'t>(
        &self,
        origin: Origin,
        section: &str,
        body: &'t Spanned<DeValue<'a>>,
    ) -> Result<&'t DeTable<'a>, ConfigError> {
        let section = section.to_owned();
        if !keys::sections().any(|known| known == section) {
            return Err(ConfigError::UnknownSection { origin, section });
        }
        body.get_ref().as_table().ok_or(ConfigError::NotASection { origin, section })
    }

    fn at(&self, offset: usize) -> Origin {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        Origin::File {
            path: self.path.into(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
        }
    }
}

/// A list of strings, as a flag would give it.
fn list(items: &DeArray<'_>) -> Option<String> {
    let text = |item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned);
    items.iter().map(text).collect::<Option<Vec<_>>>().map(|items| items.join(","))
}

fn given(value: &DeValue<'_>) -> Given {
    match value {
        DeValue::String(text) => Given::Quoted(text.to_string()),
        DeValue::Integer(digits) => match i128::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) => Given::Integer(number),
            Err(_) => Given::Other(digits.to_string()),
        },
        DeValue::Boolean(word) => Given::Other(word.to_string()),
        DeValue::Array(items) => match list(items) {
            Some(text) => Given::Quoted(text),
            None => Given::Other("(array)".into()),
        },
        other => Given::Other(format!("({})", other.type_str())),
    }
}
