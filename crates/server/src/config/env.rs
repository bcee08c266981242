//! From environment variables to assignments.

use super::keys::{CLI_VARIABLES, KEYS, PREFIX};
use super::value::Given;
use super::{Assignment, ConfigError, Origin};

pub(super) fn read(env: impl IntoIterator<Item = (String, String)>) -> Result<Vec<Assignment>, ConfigError> {
    let mut ours: Vec<_> = env
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX) && !CLI_VARIABLES.contains(&name.as_str()))
        .collect();
    // The system lists variables in no order: without one, the first error would differ from start to start.
    ours.sort();
    ours.into_iter()
        .map(|(variable, value)| match KEYS.iter().find(|key| key.variable() == variable) {
            Some(key) => {
                Ok(Assignment { key, value: Given::Bare(value), origin: Origin::Variable(variable) })
            }
            None => Err(ConfigError::UnknownVariable { variable }),
        })
        .collect()
}
