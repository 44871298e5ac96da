//! From a mask's name and parameters in a policy file to the mask.

use std::ops::Range;

use toml::{Spanned, Value};

use crate::report::{Problem, did_you_mean};
use crate::synth::Mask;

/// The mask called `name`, which stands at `word`.
pub(super) fn mask(
    name: &str,
    word: &Range<usize>,
    parameters: &[(Spanned<String>, Value)],
) -> Result<Mask, Problem> {
    if let Some((key, _)) = parameters.first() {
        let message = format!("the mask `{name}` has no parameter `{}`", key.get_ref());
        return Err(Problem::at(key.span(), message));
    }
    match name {
        "null" => Ok(Mask::Null),
        _ => {
            let problem = Problem::at(word.clone(), format!("there is no mask `{name}`"));
            Err(match did_you_mean(name, ["clear", "deny", "null"]) {
                Some(hint) => problem.hint(hint),
                None => {
                    problem.hint("docs/masks.md lists them; `clear` and `deny` are the other two")
                }
            })
        }
    }
}
