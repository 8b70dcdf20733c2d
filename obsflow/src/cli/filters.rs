//! Filter flags for clap. They keep their order, because `--not` is about the flag after it.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use crate::filter::{SPECS, Spec, Term};

/// Filter flags in the order of the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterArgs {
    /// The flags.
    pub terms: Vec<Term>,
}

const HEADING: &str = "Filters (a flag repeated: one must match; different flags: all must)";

impl Args for FilterArgs {
    fn augment_args(command: Command) -> Command {
        SPECS.iter().fold(command, |command, spec| command.arg(arg(spec)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for FilterArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut terms: Vec<(usize, Term)> = SPECS.iter().flat_map(|spec| uses(matches, spec)).collect();
        terms.sort_by_key(|(index, _)| *index);
        Ok(Self {
            terms: terms.into_iter().map(|(_, term)| term).collect(),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Every use of one flag, with its place on the command line.
fn uses(matches: &ArgMatches, spec: &Spec) -> Vec<(usize, Term)> {
    let indices = matches.indices_of(spec.name).into_iter().flatten();
    let values = matches.get_many::<String>(spec.name).into_iter().flatten();
    let term = |value: &String| Term {
        flag: spec.flag,
        value: if spec.value.is_some() {
            value.clone()
        } else {
            String::new()
        },
    };
    indices.zip(values.map(term)).collect()
}

fn arg(spec: &Spec) -> Arg {
    let arg = named(spec).action(ArgAction::Append);
    match spec.value {
        Some(value) => arg.value_name(value).num_args(1),
        // A flag without a value that keeps its place: clap counts places only of values.
        None => arg
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(["true"])
            .hide_possible_values(true),
    }
}

fn named(spec: &Spec) -> Arg {
    let place = SPECS.iter().position(|other| other.flag == spec.flag);
    let arg = Arg::new(spec.name)
        .long(spec.name)
        .help(spec.help)
        .help_heading(HEADING)
        .display_order(100 + place.unwrap_or_default());
    match spec.short {
        Some(short) => arg.short(short),
        None => arg,
    }
}

/// A command with filters, for help, man pages and completions: flags without a value look like that.
pub(super) fn for_people(command: Command) -> Command {
    let flag = |spec: &Spec| named(spec).action(ArgAction::SetTrue).overrides_with(spec.name);
    SPECS
        .iter()
        .filter(|spec| spec.value.is_none())
        .fold(command, |command, spec| {
            command.mut_arg(spec.name, |_| flag(spec))
        })
}
