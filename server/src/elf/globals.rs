//! Sets global variables before anything is created in the kernel.

use std::collections::{BTreeMap, HashMap};

use aya_obj::Map;
use bpfgate_proto::value::Plan;

use super::ElfError;
use super::plan::GlobalValue;
use super::prepare::{Prepared, Role, Variable};
use crate::btf;

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
            GlobalValue::Typed(json) => {
                typed(prepared, name, variable.section, json).map_err(refuse)?
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

/// The variable's bytes for a JSON value, by its BTF type.
fn typed(
    prepared: &Prepared<'_>,
    name: &str,
    section: &str,
    json: &str,
) -> Result<Vec<u8>, String> {
    const BYTES: &str = "give its bytes instead";
    let blob = prepared
        .contents(&Role::Btf)
        .ok_or_else(|| format!("the object has no type information (compile with -g), {BYTES}"))?;
    let variable = btf::variables(blob)
        .map_err(|e| format!("{e}; {BYTES}"))?
        .into_iter()
        .find(|variable| variable.name == name && variable.section == section)
        .ok_or_else(|| format!("the object has no type information about it, {BYTES}"))?;
    let plan = Plan::compile(&variable.ty).map_err(|e| format!("{e}; {BYTES}"))?;
    let json = serde_json::from_str(json).map_err(|e| format!("not JSON: {e}"))?;
    plan.encode(&json).map_err(|e| e.to_string())
}
