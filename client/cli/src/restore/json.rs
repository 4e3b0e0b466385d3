//! A JSON object to an entry: as `-o json` and `-o jsonl` print it, or as bpftool does.

use std::io::BufRead;

use bpfgate_client::Layout;
use bpfgate_client::value::Plan;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Problem;
use super::packer::Packer;
use super::scan::Objects;

/// What is known of an entry before its types are. Fields beside these, bpftool's `formatted`
/// among them, say nothing new.
#[derive(Deserialize)]
struct Entry<'t> {
    #[serde(borrow)]
    key: &'t RawValue,
    #[serde(borrow)]
    value: Option<&'t RawValue>,
    cpu: Option<usize>,
    /// bpftool has the values of all CPUs in one object.
    #[serde(borrow)]
    values: Option<Vec<OfCpu<'t>>>,
}

#[derive(Deserialize)]
struct OfCpu<'t> {
    cpu: usize,
    #[serde(borrow)]
    value: &'t RawValue,
}

/// Packs every entry of the text.
pub(super) fn read(
    input: impl BufRead,
    line: u64,
    limit: usize,
    layout: &Layout,
    packer: &mut Packer<'_>,
) -> Result<(), Problem> {
    let mut objects = Objects::new(input, line, limit);
    let (mut key, mut value) = (Vec::new(), Vec::new());
    while let Some((line, text)) = objects.next()? {
        let problem = |why: String| Problem { line, why };
        let entry: Entry<'_> =
            serde_json::from_slice(text).map_err(|error| problem(told(&error)))?;
        key.clear();
        half(&layout.key, entry.key, "KEY", &mut key).map_err(problem)?;
        let mut wanted = true;
        match (&entry.value, &entry.values) {
            (Some(raw), None) if packer.takes_names() => {
                let name: String = serde_json::from_str(raw.get()).map_err(|_| {
                    problem(
                        "VALUE is not the name of what it leads to; dump with -o json, jsonl or csv"
                            .to_owned(),
                    )
                })?;
                wanted = packer.add_named(line, &key, &name)?;
            }
            (Some(raw), None) => {
                value.clear();
                if layout.per_cpu && entry.cpu.is_none() {
                    packer.add(line, &key, None, &value)?;
                }
                half(&layout.value, raw, "VALUE", &mut value).map_err(problem)?;
                wanted = packer.add(line, &key, entry.cpu, &value)?;
            }
            (None, Some(all)) => {
                for OfCpu { cpu, value: raw } in all {
                    value.clear();
                    half(&layout.value, raw, "VALUE", &mut value).map_err(problem)?;
                    wanted = packer.add(line, &key, Some(*cpu), &value)?;
                }
            }
            _ => return Err(problem("the entry has a missing field `value`".to_owned())),
        }
        if !wanted {
            return Ok(());
        }
    }
    Ok(())
}

/// Without serde's own count of lines, which begins anew with each entry.
fn told(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let why = text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why);
    if error.is_data() { format!("the entry has a {why}") } else { format!("no JSON: {why}") }
}

/// Appends the bytes of a key or value.
fn half(plan: &Plan, raw: &RawValue, part: &str, out: &mut Vec<u8>) -> Result<(), String> {
    let text = raw.get();
    if listed(text, plan.size(), out) {
        return Ok(());
    }
    // Only deep nesting is refused here: the text was found to be JSON before.
    let json: serde_json::Value = serde_json::from_str(text).map_err(|error| told(&error))?;
    let bytes = plan.encode(&json).map_err(|error| format!("{part}: {error}"))?;
    out.extend_from_slice(&bytes);
    Ok(())
}

/// bpftool's `["0x0a","0x00"]`, if it is one of exactly so many bytes.
fn listed(text: &str, size: usize, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let Some(mut rest) = text.strip_prefix('[') else { return false };
    loop {
        rest = rest.trim_start();
        let Some(byte) = rest.strip_prefix("\"0x").and_then(|rest| rest.get(..2)) else { break };
        let Ok(byte) = u8::from_str_radix(byte, 16) else { break };
        out.push(byte);
        let Some(behind) = rest[5..].strip_prefix('"') else { break };
        rest = behind.trim_start();
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None if rest == "]" && out.len() - start == size => return true,
            None => break,
        }
    }
    out.truncate(start);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_list_of_all_bytes_is_taken_for_bpftools() {
        let read = |text: &str, size| {
            let mut out = vec![9];
            listed(text, size, &mut out).then(|| out.split_off(1))
        };
        assert_eq!(read(r#"["0x01","0xab"]"#, 2), Some(vec![1, 0xab]));
        assert_eq!(read("[ \"0x01\" ,\n\"0xAB\" ]", 2), Some(vec![1, 0xab]));
        for other in [
            "[]",
            "[1,2]",
            r#"["0x01"]"#,
            r#"["0x01","0x02","0x03"]"#,
            r#"["0x1","0x2"]"#,
            r#"["0x001","0x002"]"#,
            r#"["0xé","0x02"]"#,
            r#"["0x01","0x02"#,
            "7",
        ] {
            assert_eq!(read(other, 2), None, "{other}");
        }
    }
}
