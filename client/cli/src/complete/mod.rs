//! Completion in shells. `bpfgate completions SHELL` prints a few lines of shell code, which calls
//! this program with `BPFGATE_COMPLETE` set for each press of the key; names come from the agent.
//! [`mod@selector`] has what selectors are made of.

mod selector;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Write as _};
use std::time::Duration;

use bpfgate_client::v1::{Map, MapSpec, MapType};
use bpfgate_client::{Client, DEFAULT_ENDPOINT, Endpoint, Error, MapFilter, Options};
use clap::{CommandFactory as _, ValueEnum};
use clap_complete::env::Shells;
use clap_complete::{ArgValueCompleter, CompleteEnv, CompletionCandidate};

use crate::args::Cli;
use crate::exit::{Exit, Failure};
use crate::render::printable;
use crate::target::describe;
use crate::values::map_type_name;

const VARIABLE: &str = "BPFGATE_COMPLETE";
const NAME: &str = "bpfgate";
/// Whoever waits for a list has stopped typing.
const TIMEOUT: Duration = Duration::from_millis(500);

/// A shell with completion.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Answers a shell's question and ends the process, if that is what it was started for.
pub(crate) fn answer() {
    CompleteEnv::with_factory(Cli::command).var(VARIABLE).complete();
}

/// Prints what a shell has to read at its start.
pub(crate) fn print(shell: Shell) -> Result<(), Failure> {
    Ok(io::stdout().write_all(script(shell)?.as_bytes())?)
}

fn script(shell: Shell) -> Result<String, Failure> {
    let name = shell.to_possible_value().map(|value| value.get_name().to_owned());
    let shells = Shells::builtins();
    let completer = name.as_deref().and_then(|name| shells.completer(name));
    let none = || Failure::new(Exit::Other, "there is no completion for that shell");
    let mut script = Vec::new();
    completer.ok_or_else(none)?.write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?;
    let script = String::from_utf8_lossy(&script).into_owned();
    Ok(match shell {
        Shell::Bash => BASH.iter().fold(script, |script, (from, to)| script.replace(from, to)),
        Shell::Zsh | Shell::Fish => script,
    })
}

/// To bash a colon is a word of its own, which takes `unix:/run/…` and `MAP:FIELD` apart. They are
/// joined for the question, and what bash has already is taken off the answers.
const BASH: [(&str, &str); 3] = [
    (
        r#"local words=("${COMP_WORDS[@]}")"#,
        r#"local words=() word joined=0 last="${COMP_WORDS[COMP_CWORD]}"
    [[ $last == : ]] || last="$2"
    for word in "${COMP_WORDS[@]:0:COMP_CWORD}" "$last"; do
        if [[ $word == : && ${#words[@]} -gt 0 ]]; then
            words[${#words[@]} - 1]+=":"
            joined=1
        elif [[ $joined -eq 1 ]]; then
            words[${#words[@]} - 1]+="$word"
            joined=0
        else
            words+=("$word")
        fi
    done
    COMP_CWORD=$((${#words[@]} - 1))
    _CLAP_COMPLETE_INDEX=$COMP_CWORD
    last="${words[COMP_CWORD]}"
    [[ $last == *:* ]] && last="${last%:*}:" || last="""#,
    ),
    (r#"words[COMP_CWORD]="$2""#, ":"),
    (
        "    if [[ $? != 0 ]]; then\n",
        "    local failed=$?\n    COMPREPLY=(\"${COMPREPLY[@]#\"$last\"}\")\n    if [[ $failed != 0 ]]; then\n",
    ),
];

/// Completes the name of a map.
pub(crate) fn map() -> ArgValueCompleter {
    completer(async |client: &Client, _: &str| {
        let maps = client.maps().list(MapFilter::default()).await?;
        Ok(maps.iter().map(|map| (map.name.clone(), about(map))).collect())
    })
}

/// Completes the name of a map that has records to watch.
pub(crate) fn events() -> ArgValueCompleter {
    completer(async |client: &Client, _: &str| {
        let maps = client.maps().list(MapFilter::default()).await?;
        let kinds = [MapType::Ringbuf, MapType::PerfEventArray];
        let events = maps.iter().filter(|map| kind(map).is_some_and(|kind| kinds.contains(&kind)));
        Ok(events.map(|map| (map.name.clone(), about(map))).collect())
    })
}

/// Completes a selector of counters.
pub(crate) fn selector() -> ArgValueCompleter {
    completer(selector::candidates)
}

fn kind(map: &Map) -> Option<MapType> {
    map.spec.as_ref().map(MapSpec::r#type)
}

fn about(map: &Map) -> String {
    kind(map).map(map_type_name).unwrap_or_default()
}

/// Completes the name of an object.
pub(crate) fn object() -> ArgValueCompleter {
    completer(async |client: &Client, _: &str| {
        let objects = client.objects().list(HashMap::default()).await?;
        let about = |object: &bpfgate_client::v1::Object| {
            format!("{} programs, {} maps", object.programs.len(), object.maps.len())
        };
        Ok(objects.iter().map(|object| (object.name.clone(), about(object))).collect())
    })
}

/// Completes the name of a program.
pub(crate) fn program() -> ArgValueCompleter {
    completer(async |client: &Client, _: &str| {
        let objects = client.objects().list(HashMap::default()).await?;
        let programs = objects.into_iter().flat_map(|object| object.programs);
        Ok(programs.map(|program| (program.name, program.r#type)).collect())
    })
}

/// Completes the id of a link.
pub(crate) fn link() -> ArgValueCompleter {
    completer(async |client: &Client, _: &str| {
        let links = client.links().list(None).await?;
        let about = |link: bpfgate_client::v1::Link| {
            let target = link.target.and_then(|target| target.target);
            (link.id.to_string(), format!("{} on {}", link.program, describe(target.as_ref())))
        };
        Ok(links.into_iter().map(about).collect())
    })
}

/// Completes the name of a built-in program.
pub(crate) fn builtin() -> ArgValueCompleter {
    completer(async |client: &Client, _: &str| {
        let agent = client.agent().get().await?;
        Ok(agent.builtins.into_iter().map(|name| (name, String::new())).collect())
    })
}

/// A name, and what it is.
type Names = Vec<(String, String)>;

fn completer<F>(ask: F) -> ArgValueCompleter
where
    F: AsyncFn(&Client, &str) -> Result<Names, Error> + Send + Sync + 'static,
{
    ArgValueCompleter::new(move |typed: &OsStr| {
        let typed = typed.to_string_lossy();
        // Without an agent there is nothing to say: a shell's prompt is no place for errors.
        let names = asked(&ask, &typed).unwrap_or_default();
        let candidate = |(name, about): (String, String)| {
            let about = Some(printable(&about)).filter(|about| !about.is_empty());
            CompletionCandidate::new(name).help(about.map(Into::into))
        };
        names.into_iter().filter(|(name, _)| name.starts_with(&*typed)).map(candidate).collect()
    })
}

fn asked(ask: &impl AsyncFn(&Client, &str) -> Result<Names, Error>, typed: &str) -> Option<Names> {
    let endpoint = endpoint(std::env::args_os().skip_while(|word| word != "--").skip(1))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let names = async {
        let options = Options { connect_timeout: TIMEOUT, timeout: TIMEOUT, ..Options::default() };
        let client = Client::connect_with(endpoint, options).await?;
        ask(&client, typed).await
    };
    runtime.block_on(async { tokio::time::timeout(TIMEOUT, names).await }).ok()?.ok()
}

/// As the command line that is being written has it, or else the environment.
fn endpoint(words: impl Iterator<Item = OsString>) -> Option<Endpoint> {
    let mut words = words.map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        match word.strip_prefix("--endpoint") {
            Some("") => return words.next()?.parse().ok(),
            Some(rest) if rest.starts_with('=') => return rest[1..].parse().ok(),
            _ => {}
        }
    }
    let set = std::env::var("BPFGATE_ENDPOINT").ok().filter(|endpoint| !endpoint.is_empty());
    set.as_deref().unwrap_or(DEFAULT_ENDPOINT).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bash_joins_what_it_took_apart() {
        let script = script(Shell::Bash).unwrap();
        for (_, part) in BASH {
            assert!(script.contains(part), "{part} is not in {script}");
        }
        for shell in [Shell::Zsh, Shell::Fish] {
            assert!(super::script(shell).unwrap().contains(VARIABLE));
        }
    }

    #[test]
    fn the_endpoint_is_that_of_the_line() {
        let of = |line: &str| endpoint(line.split(' ').map(Into::into)).unwrap().to_string();
        assert_eq!(of("bpfgate --endpoint unix:/a map show"), "unix:/a");
        assert_eq!(of("bpfgate map --endpoint=unix:/b show"), "unix:/b");
    }
}
