//! What every command works with: the connection, how to print, and names made forgiving.

use std::collections::HashMap;
use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _};

use anstyle::Style;
use bpfgate_client::name::{MapRef, ObjectName};
use bpfgate_client::{Client, Code, Error, Layout, MapFilter, Options, v1};

use crate::args::Cli;
use crate::exit::{Exit, Failure};
use crate::human::Zone;
use crate::render::{Column, Format, Output, Printer, Sheet};
use crate::shown::{self, Resolve};

pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) format: Format,
    /// Whether standard output takes colours.
    pub(crate) colour: bool,
    /// Of people's times.
    pub(crate) zone: Zone,
    /// Whether tables and CSV have headings.
    headings: bool,
}

impl Context {
    pub(crate) async fn connect(cli: &Cli) -> Result<Self, Failure> {
        let timeout = cli.timeout;
        let defaults = Options::default();
        let options = Options {
            connect_timeout: timeout,
            timeout,
            // Who is ready to wait longer for everything is so for the verifier.
            load_timeout: defaults.load_timeout.max(timeout),
            ..defaults
        };
        let client = Client::connect_with(cli.endpoint()?, options).await?;
        let zone = if cli.utc { Zone::utc() } else { Zone::local() };
        let (format, colour, headings) = (cli.output, takes_colour(), !cli.no_headers);
        Ok(Self { client, format, colour, zone, headings })
    }

    /// Prints what a command returned.
    pub(crate) fn print(&self, sheet: Sheet) -> Result<(), Failure> {
        Ok(sheet.print(stdout(), self.output())?)
    }

    /// What bpftool prints where there is nothing to print. Other formats print nothing.
    pub(crate) fn nothing(&self) -> Result<(), Failure> {
        if self.format == Format::Bpftool {
            writeln!(io::stdout(), "null")?;
        }
        Ok(())
    }

    /// For rows that come one after another.
    pub(crate) fn printer(&self, columns: Vec<Column>) -> Printer<BufWriter<StdoutLock<'static>>> {
        Printer::new(stdout(), self.output(), columns)
    }

    fn output(&self) -> Output {
        Output {
            format: self.format,
            heading: if self.colour { Style::new().bold() } else { Style::new() },
            headings: self.headings,
            zone: self.zone.clone(),
        }
    }

    /// A map and how to read it.
    pub(crate) async fn map(&self, map: &MapRef) -> Result<(v1::Map, Layout), Failure> {
        self.map_as(map, &[]).await
    }

    /// The same, some of its fields in another form.
    pub(crate) async fn map_as(
        &self,
        map: &MapRef,
        asked: &[Resolve],
    ) -> Result<(v1::Map, Layout), Failure> {
        let name = map.to_string();
        let mut map = match self.client.maps().get(&name).await {
            Ok(map) => map,
            Err(error) => return Err(self.no_such_map(error, map).await),
        };
        self.check_byte_order().await?;
        shown::apply(&mut map, asked)?;
        let layout = Layout::of(&map).map_err(|error| {
            let source = std::error::Error::source(&error);
            let why = source.map(|source| format!(": {source}")).unwrap_or_default();
            Failure::new(Exit::Other, format!("{error}{why}"))
        })?;
        Ok((map, layout))
    }

    /// Numbers from another kind of host would be read back to front.
    async fn check_byte_order(&self) -> Result<(), Failure> {
        if !self.client.endpoint().is_network() {
            return Ok(());
        }
        let here = if cfg!(target_endian = "big") {
            v1::ByteOrder::BigEndian
        } else {
            v1::ByteOrder::LittleEndian
        };
        let agent = self.client.agent().get().await?;
        if agent.byte_order() == here {
            return Ok(());
        }
        let host = agent.hostname;
        let text = format!("the byte order of host {host} is not this host's; run bpfgate there");
        Err(Failure::new(Exit::Unsupported, text))
    }

    /// Adds what the name may have been meant to be.
    pub(crate) async fn no_such_map(&self, error: Error, map: &MapRef) -> Failure {
        let not_found = error.code() == Some(Code::NotFound);
        let failure = Failure::from(error);
        let MapRef::Name(name) = map else { return failure };
        if !not_found {
            return failure;
        }
        // Without the list there is still the agent's own message.
        let maps = self.client.maps().list(MapFilter::default()).await.unwrap_or_default();
        let names = maps.into_iter().map(|map| map.name);
        let all = || "`bpfgate map list` shows what there is".to_owned();
        failure.hint(&suggest(name.as_str(), names).unwrap_or_else(all))
    }

    pub(crate) async fn no_such_object(&self, error: Error, object: &ObjectName) -> Failure {
        let not_found = error.code() == Some(Code::NotFound);
        let failure = Failure::from(error);
        if !not_found {
            return failure;
        }
        let objects = self.client.objects().list(HashMap::default()).await.unwrap_or_default();
        let names = objects.into_iter().map(|object| object.name);
        let all = || "`bpfgate object list` shows what there is".to_owned();
        failure.hint(&suggest(object.as_str(), names).unwrap_or_else(all))
    }
}

fn stdout() -> BufWriter<StdoutLock<'static>> {
    // Rust's own standard output flushes at every line's end.
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

fn takes_colour() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stdout().is_terminal()
        && !set("NO_COLOR")
        && std::env::var_os("TERM") != Some("dumb".into())
}

/// `did you mean …?`, if a name is near enough.
pub(crate) fn suggest(typed: &str, known: impl Iterator<Item = String>) -> Option<String> {
    const SHOWN: usize = 3;
    let member = |name: &str| name.rsplit_once('/').map_or(name, |(_, member)| member).to_owned();
    let mut near: Vec<(usize, String)> = known
        .filter_map(|name| {
            // Half of the name forgotten, or a third of it wrong.
            let half = member(&name) == member(typed) || (typed.len() > 2 && name.contains(typed));
            let far = strsim::damerau_levenshtein(typed, &name);
            let distance = if half { far.min(1) } else { far };
            (distance <= (typed.len() / 3).max(1)).then_some((distance, name))
        })
        .collect();
    near.sort();
    near.truncate(SHOWN);
    let near: Vec<_> = near.into_iter().map(|(_, name)| name).collect();
    match near.split_last()? {
        (only, []) => Some(format!("did you mean {only}?")),
        (end, others) => Some(format!("did you mean {} or {end}?", others.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::suggest;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        let known = ["pc/stats", "pc/by_proto", "other/stats", "x"];
        let suggest = |typed| suggest(typed, known.map(str::to_owned).into_iter());
        assert_eq!(suggest("pc/by_prto").unwrap(), "did you mean pc/by_proto?");
        assert_eq!(suggest("pc/by").unwrap(), "did you mean pc/by_proto?");
        assert_eq!(suggest("stats").unwrap(), "did you mean other/stats or pc/stats?");
        assert_eq!(suggest("nothing_like"), None);
        assert_eq!(suggest("y"), Some("did you mean x?".to_owned()));
        assert_eq!(suggest("yz"), None);
    }
}
