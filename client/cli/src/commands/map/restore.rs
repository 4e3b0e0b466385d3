//! `bpfgate map restore`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bpfgate_client::reference::ReferenceKind;
use bpfgate_client::{Error, RpcError};

use super::{Answer, parse};
use crate::args::RestoreArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure};
use crate::human;
use crate::interrupt::Interrupt;
use crate::progress::{self, Progress};
use crate::render::{Cell, Format, Sheet};
use crate::restore::{Lines, Problem, Reading};

/// Why it ended before the input did.
enum Cut {
    Interrupted,
    Unfit(Problem),
    Refused(Error),
}

pub(super) async fn run(context: &Context, args: RestoreArgs) -> Answer {
    let RestoreArgs { map, file, mode } = args;
    let (info, layout) = context.map(&map.map).await?;
    let kind = ReferenceKind::of_values(parse::map_type(&info));
    let (input, size) = open(&file)?;
    let interrupt = Interrupt::new()?;
    let mut reading = Reading::start(input, layout, kind)?;
    let mut progress = Progress::new("written");
    let mut restore = context.client.maps().restore(&map.map.to_string(), mode.into());
    let (mut lines, mut cut) = (Lines::default(), None);
    while cut.is_none() {
        let batch = tokio::select! {
            biased;
            () = interrupt.pressed() => {
                cut = Some(Cut::Interrupted);
                break;
            }
            batch = reading.next() => batch,
        };
        match batch {
            None => break,
            Some(Err(problem)) => cut = Some(Cut::Unfit(problem)),
            Some(Ok(batch)) => {
                lines.append(&batch.lines);
                cut = restore.send(batch.entries).await.err().map(Cut::Refused);
                let share = size.and_then(|size| progress::share(reading.bytes(), size));
                progress.update(restore.sent(), share);
            }
        }
    }
    let cut = match cut {
        Some(Cut::Refused(error)) => Err(Cut::Refused(error)),
        // What was sent is written, or refused, whatever is wrong behind it.
        other => match (restore.finish().await, other) {
            (Err(error), _) => Err(Cut::Refused(error)),
            (Ok(applied), None) => Ok(applied),
            (Ok(applied), Some(cut)) => return Err(early(cut, applied, &file)),
        },
    };
    progress.clear();
    match cut {
        Ok(_) if context.format == Format::Bpftool => {
            context.nothing()?;
            Ok(None)
        }
        Ok(applied) => Ok(Some(Sheet::one([("applied", Cell::Number(applied))]))),
        Err(Cut::Refused(error)) => Err(refused(error, &lines)),
        Err(cut) => Err(early(cut, 0, &file)),
    }
}

/// The input, and its size where that is known.
fn open(file: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>), Failure> {
    if file == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let failure = |error| Failure::file(file, &error);
    let opened = File::open(file).map_err(failure)?;
    let about = opened.metadata().map_err(failure)?;
    if about.is_dir() {
        return Err(failure(io::ErrorKind::IsADirectory.into()));
    }
    Ok((Box::new(opened), about.is_file().then_some(about.len())))
}

/// It ended before the input did, and the agent had no part in that.
fn early(cut: Cut, applied: u64, file: &Path) -> Failure {
    let written = written(applied);
    match cut {
        Cut::Interrupted => {
            Failure::new(Exit::Interrupted, format!("interrupted: {written} before that"))
        }
        Cut::Unfit(Problem { line, why }) => {
            let name = if file == Path::new("-") {
                "standard input".to_owned()
            } else {
                file.display().to_string()
            };
            let text = format!("{name}, line {line}: {why}; {written} before it");
            Failure::new(Exit::BadValue, text)
        }
        Cut::Refused(error) => error.into(),
    }
}

/// The agent did not take an entry, or went away.
fn refused(error: Error, lines: &Lines) -> Failure {
    let Some(applied) = error.as_rpc().and_then(RpcError::applied) else {
        return error.into();
    };
    let line = lines.of(applied).map(|line| format!(" (line {line})")).unwrap_or_default();
    let number = human::grouped((applied + 1).into());
    let written = written(applied);
    Failure::from(error).hint(&format!("it was entry {number}{line}; {written} before it"))
}

fn written(applied: u64) -> String {
    let verb = if applied == 1 { "entry was" } else { "entries were" };
    format!("{} {verb} written", human::grouped(applied.into()))
}
