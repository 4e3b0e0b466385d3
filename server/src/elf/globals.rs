//! Sets global variables before anything is created in the kernel.

use std::collections::{BTreeMap, HashMap};

use aya_obj::Map;

use super::ElfError;
use super::plan::GlobalValue;
use super::prepare::{Prepared, Variable};

/// How many of the known names an error lists.
const LISTED: usize = 20;

/// Writes the values into the contents of the data sections.
pub(super) fn set(
    maps: &mut HashMap<String, Map>,
    prepared: &Prepared<'_>,
    globals: &BTreeMap<String, GlobalValue>,
) -> Result<(), ElfError> {
    if globals.is_empty() {
        return Ok(());
    }
    let variables = prepared.variables();
    for (name, value) in globals {
        let refuse = |reason: String| ElfError::Global { name: name.clone(), reason };
        let variable = match variables.get(name.as_str()) {
            Some(Some(variable)) => variable,
            Some(None) => return Err(refuse("the object has several of that name".to_owned())),
            None => return Err(refuse(unknown(&variables))),
        };
        let bytes = match value {
            GlobalValue::Raw(bytes) => bytes.clone(),
            GlobalValue::Typed(_) => {
                return Err(refuse("give its bytes, not a typed value".into()));
            }
        };
        if bytes.len() as u64 != variable.size {
            let (given, size) = (bytes.len(), variable.size);
            return Err(refuse(format!("it has {size} bytes, the value has {given}")));
        }
        let place = usize::try_from(variable.offset)
            .ok()
            .and_then(|at| Some(at..at.checked_add(bytes.len())?))
            .and_then(|range| maps.get_mut(variable.section)?.data_mut().get_mut(range))
            .ok_or_else(|| refuse("it does not lie within its section".to_owned()))?;
        place.copy_from_slice(&bytes);
    }
    Ok(())
}

fn unknown(variables: &BTreeMap<&str, Option<Variable<'_>>>) -> String {
    if variables.is_empty() {
        return "the object has no global variables".to_owned();
    }
    let listed: Vec<_> = variables.keys().take(LISTED).copied().collect();
    let more = match variables.len() - listed.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("the object has no such variable; it has {}{more}", listed.join(", "))
}
