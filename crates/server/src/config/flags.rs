//! From flags to assignments: the table's keys as arguments of `starling node`.

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use super::keys::{Flag, KEYS, Key};
use super::value::Given;
use super::{Assignment, Origin};

/// The flags of the command line, as written: one for each key of the table that has one. [`Settings::load`] checks
/// them like everything else.
///
/// [`Settings::load`]: super::Settings::load
#[derive(Debug, Clone, Default)]
pub struct Overrides(pub(super) Vec<Assignment>);

impl Args for Overrides {
    fn augment_args(command: Command) -> Command {
        command.args(KEYS.iter().filter_map(|key| key.flag).map(argument))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(flag: Flag) -> Arg {
    Arg::new(flag.name).long(flag.name).value_name(flag.value).help(flag.help)
}

impl FromArgMatches for Overrides {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self(KEYS.iter().filter_map(|key| assignment(key, matches)).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.0.extend(KEYS.iter().filter_map(|key| assignment(key, matches)));
        Ok(())
    }
}

fn assignment(key: &'static Key, matches: &ArgMatches) -> Option<Assignment> {
    let flag = key.flag?.name;
    let value = Given::Bare(matches.get_one::<String>(flag)?.clone());
    Some(Assignment { key, value, origin: Origin::Flag(flag) })
}
