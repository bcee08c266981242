//! From environment variables to assignments.

use super::keys::{self, KEYS, PREFIX};
use super::value::{self, Given};
use super::{Assignment, Origin};

/// The variables that set a key. Others with our prefix are not ours to judge: Kubernetes makes some for every service
/// that is called `starling`.
pub(super) fn read(env: impl IntoIterator<Item = (String, String)>) -> Vec<Assignment> {
    let key = |name: &str| KEYS.iter().find(|key| key.variable() == name);
    env.into_iter()
        .filter_map(|(variable, value)| {
            let key = key(&variable)?;
            Some(Assignment { key, value: Given::Bare(value), origin: Origin::Variable(variable) })
        })
        .collect()
}

/// The variables with our prefix that nothing reads, each with the one that was perhaps meant.
pub(super) fn foreign(names: impl IntoIterator<Item = String>) -> Vec<String> {
    let is_read = |name: &str| keys::variables().any(|known| known == name);
    let mut foreign: Vec<_> =
        names.into_iter().filter(|name| name.starts_with(PREFIX) && !is_read(name)).collect();
    // The system lists variables in no order.
    foreign.sort();
    foreign
        .iter()
        .map(|name| format!("environment variable {name}: nothing reads it{}", meant(name)))
        .collect()
}

fn meant(name: &str) -> String {
    let nearest = value::nearest(name, keys::variables());
    nearest.map_or_else(String::new, |known| format!(" (did you mean {known}?)"))
}
