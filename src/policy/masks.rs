//! From a mask's name and parameters in a policy file to the mask.

use std::ops::Range;

use toml::{Spanned, Table, Value};

use crate::report::{Problem, did_you_mean};
use crate::synth::Mask;

/// The mask called `name`, which stands at `word`.
pub(super) fn mask(
    name: &str,
    word: &Range<usize>,
    parameters: &[(Spanned<String>, Value)],
) -> Result<Mask, Problem> {
    if !Mask::all().iter().any(|mask| mask.name == name) {
        let known = Mask::all().iter().map(|mask| mask.name);
        let hint = did_you_mean(name, known.chain(["clear", "deny"])).unwrap_or_else(|| {
            "docs/masks.md lists them; `clear` and `deny` are the other two".to_owned()
        });
        let message = format!("there is no mask `{name}`");
        return Err(Problem::at(word.clone(), message).hint(hint));
    }
    let table: Table = parameters
        .iter()
        .map(|(key, value)| (key.get_ref().clone(), value.clone()))
        .collect();
    Mask::new(name, &table).map_err(|error| {
        let about = error.parameter.as_deref();
        let key = parameters
            .iter()
            .find(|(key, _)| Some(key.get_ref().as_str()) == about);
        let span = key.map_or(word.clone(), |(key, _)| key.span());
        let problem = Problem::at(span, error.message);
        if error.hint.is_empty() {
            problem
        } else {
            problem.hint(error.hint)
        }
    })
}
