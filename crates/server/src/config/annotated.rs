//! The configuration file that explains itself.

use super::Settings;
use super::keys::{KEYS, Key, SECTIONS};

/// Columns of a comment.
const WIDTH: usize = 100;

const PREAMBLE: &str = "\
# Configuration of one Starling node: starling node --config starling.toml
#
# Every key is here with its default; what you leave out has that default. A flag wins over an environment
# variable (named with each key), a variable over this file. A key or section that does not exist is an error.
# What all nodes must agree on (copies, buckets, the layout) is no matter of this file: see `starling cluster`
# and `starling bucket`.
";

pub(super) fn render(settings: &Settings) -> String {
    let defaults = Settings::default();
    let mut text = String::from(PREAMBLE);
    for (section, about) in SECTIONS {
        text += &format!("\n# {about}\n[{section}]\n");
        let keys = KEYS.iter().filter(|key| key.section == *section);
        keys.for_each(|key| text += &paragraph(key, settings, &defaults));
    }
    text
}

fn paragraph(key: &Key, settings: &Settings, defaults: &Settings) -> String {
    let default = key.show(defaults).unwrap_or_else(|| "unset".into());
    let unit = key.rule.unit().map_or_else(String::new, |unit| format!(" Unit: {unit}."));
    let flag = key.flag.map_or_else(String::new, |flag| format!(", --{}", flag.name));
    let line = match key.show(settings) {
        Some(value) => format!("{} = {value}\n", key.name),
        None => format!("# {} = {}\n", key.name, key.rule.example()),
    };
    [
        "\n".to_owned(),
        comment(key.meaning),
        comment(&format!("How to choose: {}", key.choose)),
        comment(&format!("Allowed: {}.{unit}", key.rule)),
        comment(&format!("Default: {default}. Also: {}{flag}", key.variable())),
        line,
    ]
    .concat()
}

/// `text` as comment lines of at most [`WIDTH`] columns, as far as its words let it.
fn comment(text: &str) -> String {
    let mut lines = vec![String::from("#")];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < WIDTH => *line += &format!(" {word}"),
            _ => lines.push(format!("#   {word}")),
        }
    }
    lines.join("\n") + "\n"
}
