//! `bpfgate object`.

use std::collections::HashMap;
use std::path::Path;

use bpfgate_client::name::ObjectName;
use bpfgate_client::v1::{
    CounterSpecs, GlobalValue, HandedOverMap, LoadObjectHeader, Object, Program, global_value,
};
use bpfgate_client::value::json_to_value;
use bpfgate_client::{Code, Error};
use serde_json::json;

use super::{Answer, program_stats, several};
use crate::args::{LoadArgs, ObjectCommand};
use crate::context::{Context, suggest};
use crate::describe;
use crate::exit::{Exit, Failure};
use crate::render::{Cell, Sheet, left};
use crate::say::say;
use crate::values::{MapCounter, Pair, pairs};

/// Lines of a verifier's log: the reason is at its end.
const LOG_LINES: usize = 20;

pub(super) async fn run(context: &Context, command: ObjectCommand) -> Answer {
    let objects = context.client.objects();
    match command {
        ObjectCommand::Load(args) => Ok(Some(load(context, args).await?)),
        ObjectCommand::List { labels } => Ok(Some(list(objects.list(pairs(labels)).await?))),
        ObjectCommand::Show { name } => match objects.get(name.as_str()).await {
            Ok(object) => Ok(Some(show(object))),
            Err(error) => Err(context.no_such_object(error, &name).await),
        },
        ObjectCommand::Stats { name, time } => {
            Ok(Some(program_stats::show(context, name.as_ref(), time).await?))
        }
        ObjectCommand::Unload { names } => {
            let unload = async |name: ObjectName| match objects.unload(name.as_str()).await {
                Ok(handed_over) => {
                    tell(&handed_over);
                    Ok(())
                }
                Err(error) => Err(context.no_such_object(error, &name).await),
            };
            several(names, unload).await.map(|()| None)
        }
    }
}

/// What became of maps that others share.
fn tell(handed_over: &[HandedOverMap]) {
    for HandedOverMap { from, to } in handed_over {
        say(&format!("map {from} is {to} now"));
    }
}

fn list(objects: Vec<Object>) -> Sheet {
    Sheet::many(
        [
            left("name"),
            left("source"),
            left("programs"),
            left("maps"),
            left("labels"),
            left("loaded_at"),
            left("sha256").wide(),
            left("shared_maps").wide(),
        ],
        objects.into_iter().map(|object| {
            [
                Cell::Text(object.name.clone()),
                Cell::Text(source(&object)),
                Cell::List(object.programs.iter().map(|p| member(&p.name)).collect()),
                Cell::List(object.maps.iter().map(|map| member(map)).collect()),
                Cell::Labels(describe::labels(object.labels)),
                Cell::Time(object.loaded_at),
                Cell::Text(describe::hex(&object.sha256)),
                Cell::Labels(describe::labels(object.shared_maps)),
            ]
        }),
    )
}

fn show(object: Object) -> Sheet {
    let programs = object.programs.iter().map(|program| {
        let Program { name, id, tag, r#type, section, instructions } = program;
        let tag = describe::hex(tag);
        let words = format!(
            "{name}: {type} from section {section}, id {id}, tag {tag}, {instructions} instructions"
        );
        let json = json!({
            "name": name,
            "type": r#type,
            "section": section,
            "id": id,
            "tag": tag,
            "instructions": instructions,
        });
        (words, json)
    });
    Sheet::one([
        ("name", Cell::Text(object.name.clone())),
        ("source", Cell::Text(source(&object))),
        ("sha256", Cell::Text(describe::hex(&object.sha256))),
        ("programs", Cell::Items(programs.collect())),
        ("maps", Cell::List(object.maps)),
        ("shared_maps", Cell::Labels(describe::labels(object.shared_maps))),
        ("labels", Cell::Labels(describe::labels(object.labels))),
        ("loaded_at", Cell::Time(object.loaded_at)),
    ])
}

fn source(object: &Object) -> String {
    if object.builtin.is_empty() {
        format!("file:{:.12}", describe::hex(&object.sha256))
    } else {
        format!("builtin:{}", object.builtin)
    }
}

/// Without the object's name, which stands beside it.
fn member(name: &str) -> String {
    name.split_once('/').map_or(name, |(_, member)| member).to_owned()
}

async fn load(context: &Context, args: LoadArgs) -> Result<Sheet, Failure> {
    let LoadArgs { name, source, globals, labels, shares, counters, full_log } = args;
    let header = LoadObjectHeader {
        name: name.to_string(),
        builtin: source.builtin.clone().unwrap_or_default(),
        globals: globals.into_iter().map(global).collect::<Result<_, _>>()?,
        shared_maps: pairs(shares),
        labels: pairs(labels),
        counters: by_map(counters),
        keep_log: full_log,
        ..LoadObjectHeader::default()
    };
    let objects = context.client.objects();
    let loaded = match &source.file {
        Some(file) => objects.load_bytes(header, read(file)?).await,
        None => objects.load_builtin(header).await,
    };
    let response = match loaded {
        Ok(response) => response,
        Err(error) => return Err(not_loaded(context, error, source.builtin, full_log).await),
    };
    for warning in &response.warnings {
        say(&format!("warning: {warning}"));
    }
    let missing = || Failure::new(Exit::Other, "the agent's answer to LoadObject has no object");
    Ok(list(vec![response.object.ok_or_else(missing)?]).only())
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failure = |error| Failure::file(file, &error);
    // A device or pipe may never end.
    if !file.metadata().map_err(failure)?.is_file() {
        let text = format!("could not read {}: it is no regular file", file.display());
        return Err(Failure::new(Exit::BadValue, text));
    }
    std::fs::read(file).map_err(failure)
}

fn by_map(counters: Vec<MapCounter>) -> HashMap<String, CounterSpecs> {
    let mut all: HashMap<String, CounterSpecs> = HashMap::new();
    for MapCounter { map, spec } in counters {
        all.entry(map).or_default().specs.push(spec);
    }
    all
}

/// The variable's type is the agent's to know, so this only tells bytes, JSON and text apart.
fn global(Pair { name, value }: Pair) -> Result<(String, GlobalValue), Failure> {
    let value = if let Some(digits) = value.strip_prefix("hex:") {
        let raw = unhex(digits).ok_or_else(|| {
            let text = format!("--set {name}: {value:?} is no even number of hexadecimal digits");
            Failure::new(Exit::Usage, text)
        })?;
        global_value::Value::Raw(raw.into())
    } else {
        global_value::Value::Typed(json_to_value(guess(value)))
    };
    Ok((name, GlobalValue { value: Some(value) }))
}

/// JSON, or else text. Integers beyond 2^53 stay text, which keeps them exact.
fn guess(text: String) -> serde_json::Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(json) if json.as_f64().is_none_or(|number| number.abs() < EXACT) => json,
        _ => serde_json::Value::String(text),
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let nibbles: Vec<u8> = digits
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|nibble| u8::try_from(nibble).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = nibbles.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

async fn not_loaded(
    context: &Context,
    error: Error,
    builtin: Option<String>,
    full_log: bool,
) -> Failure {
    let unknown_builtin = match error.code() {
        Some(Code::NotFound | Code::InvalidArgument) => builtin,
        _ => None,
    };
    let kept = error.as_rpc().and_then(|error| error.log()).map(ToOwned::to_owned);
    let mut failure = Failure::from(error);
    if let Some(log) = kept {
        // Without it there is still the end, which came with the error.
        match context.client.objects().verifier_log(&log).await {
            Ok(log) => failure.log = Some(log),
            Err(error) => say(&format!("the whole log did not come: {error}")),
        }
    }
    if let Some(builtin) = unknown_builtin
        && let Ok(agent) = context.client.agent().get().await
        && !agent.builtins.contains(&builtin)
        && let Some(hint) = suggest(&builtin, agent.builtins.into_iter())
    {
        failure = failure.hint(&hint);
    }
    if !full_log {
        failure.log = failure.log.map(|log| tail(&log));
    }
    failure
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.trim_end().lines().collect();
    let cut = lines.len().saturating_sub(LOG_LINES);
    let mut text = lines[cut..].join("\n");
    if cut > 0 {
        text.insert_str(0, &format!("… {cut} lines above, --full-log shows them\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globals_are_bytes_json_or_text() {
        assert_eq!(guess("1000".into()), json!(1000));
        assert_eq!(guess("true".into()), json!(true));
        assert_eq!(guess("[1,2]".into()), json!([1, 2]));
        assert_eq!(guess("eth0".into()), json!("eth0"));
        assert_eq!(guess("18446744073709551615".into()), json!("18446744073709551615"));
        assert_eq!(unhex("0a0B"), Some(vec![10, 11]));
        assert_eq!((unhex("0a0"), unhex("zz")), (None, None));
    }

    #[test]
    fn a_long_log_is_cut_to_its_end() {
        let lines: Vec<_> = (0..50).map(|line| format!("line {line}")).collect();
        let tail = tail(&lines.join("\n"));
        assert_eq!(tail.lines().count(), LOG_LINES + 1);
        assert!(tail.starts_with("… 30 lines above") && tail.ends_with("line 49"), "{tail}");
        assert_eq!(super::tail("short\n"), "short");
    }
}
