//! Entries read back from what `map dump` printed, of any size in bounded memory.
//!
//! - [`Reading`]: a thread that reads, decodes and packs, a few batches ahead of their sending
//! - [`scan`]: JSON cut into its objects; [`json`]: an object to bytes; [`csv`]: a line to bytes
//! - [`packer`]: bytes to batches, the values of CPUs put together; [`lines`]: where each came from

mod csv;
mod json;
mod lines;
mod packer;
mod scan;

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bpfgate_client::reference::ReferenceKind;
use bpfgate_client::{EntryBatch, Layout};
use tokio::sync::mpsc;

use self::packer::Packer;

pub(crate) use self::lines::Lines;

/// Batches that wait for their sending.
const AHEAD: usize = 2;
const BUFFER: usize = 256 << 10;
/// Text of one entry: for its bytes several times as much, as each may be a number by itself, and
/// for the names of its fields.
const ENTRY_MIN: usize = 1 << 20;
const ENTRY_TIMES: usize = 64;

/// What was wrong with the text, and where.
#[derive(Debug, PartialEq)]
pub(crate) struct Problem {
    /// From 1.
    pub(crate) line: u64,
    pub(crate) why: String,
}

/// Entries of one request, and the lines that they come from.
pub(crate) struct Batch {
    pub(crate) entries: EntryBatch,
    pub(crate) lines: Lines,
}

/// A dump that is being read.
pub(crate) struct Reading {
    batches: mpsc::Receiver<Result<Batch, Problem>>,
    bytes: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Reading {
    /// Starts to read. The thread goes with the process: it may wait for a terminal for ever.
    ///
    /// `kind` is what the values lead to, in maps of references.
    pub(crate) fn start(
        input: impl Read + Send + 'static,
        layout: Layout,
        kind: Option<ReferenceKind>,
    ) -> io::Result<Self> {
        let (sender, batches) = mpsc::channel(AHEAD);
        let (bytes, over): (Arc<AtomicU64>, Arc<AtomicBool>) = Default::default();
        let counted = Counted { input, bytes: Arc::clone(&bytes) };
        let input = io::BufReader::with_capacity(BUFFER, counted);
        let stop = Arc::clone(&over);
        let read = move || {
            let mut packer = Packer::new(&layout, kind, |batch| {
                !stop.load(Ordering::Relaxed) && sender.blocking_send(Ok(batch)).is_ok()
            });
            let read = read(input, &layout, &mut packer).and_then(|()| packer.finish());
            if let Err(problem) = read {
                // What came before it is written.
                packer.flush();
                // Nobody waits for it when the command is over.
                let _ = sender.blocking_send(Err(problem));
            }
        };
        std::thread::Builder::new().name("restore".into()).spawn(read)?;
        Ok(Self { batches, bytes, over })
    }

    /// The next entries; `None` behind the last.
    pub(crate) async fn next(&mut self) -> Option<Result<Batch, Problem>> {
        self.batches.recv().await
    }

    /// Bytes read so far.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Tells JSON from CSV by its first character.
fn read(mut input: impl BufRead, layout: &Layout, packer: &mut Packer<'_>) -> Result<(), Problem> {
    let limit = ENTRY_MIN + ENTRY_TIMES * (layout.key.size() + layout.value_stride);
    let mut line = 1;
    loop {
        let buffer = input.fill_buf().map_err(|error| unreadable(line, &error))?;
        let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace());
        let lines = blank.clone().filter(|&&byte| byte == b'\n').count() as u64;
        let (blank, first) = (blank.count(), buffer.len());
        line += lines;
        if first == 0 {
            return Ok(());
        }
        let first = buffer.get(blank).copied();
        input.consume(blank);
        match first {
            Some(b'[' | b'{') => return json::read(input, line, limit, layout, packer),
            Some(_) => return csv::read(input, line, limit, layout, packer),
            None => {}
        }
    }
}

fn unreadable(line: u64, error: &io::Error) -> Problem {
    Problem { line, why: format!("could not read on: {error}") }
}

struct Counted<R> {
    input: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.bytes.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bpfgate_client::v1;

    /// Keys of 2 bytes, values of 1; for each of so many CPUs.
    pub(super) fn layout(cpus: u32) -> Layout {
        let spec = v1::MapSpec { key_size: 2, value_size: 1, ..Default::default() };
        let (per_cpu, value_stride) = if cpus > 1 { (true, 8 * cpus) } else { (false, 1) };
        let map = v1::Map { spec: Some(spec), per_cpu, value_stride, ..Default::default() };
        Layout::of(&map).unwrap()
    }

    /// Everything that came, and how it ended.
    fn all(text: &str, cpus: u32) -> (Vec<(EntryBatch, Lines)>, Result<(), Problem>) {
        let (layout, mut batches) = (layout(cpus), Vec::new());
        let mut packer = Packer::new(&layout, None, |batch: Batch| {
            batches.push((batch.entries, batch.lines));
            true
        });
        let end = read(text.as_bytes(), &layout, &mut packer).and_then(|()| packer.finish());
        drop(packer);
        (batches, end)
    }

    fn entries(text: &str, cpus: u32) -> EntryBatch {
        let (mut batches, end) = all(text, cpus);
        assert_eq!(end, Ok(()), "{text}");
        assert_eq!(batches.len(), 1, "{text}");
        batches.remove(0).0
    }

    #[test]
    fn every_format_gives_the_same_entries() {
        let two = EntryBatch::packed(2, vec![1, 2, 3, 4], vec![5, 6]);
        for text in [
            "{\"key\":\"hex:0102\",\"value\":\"hex:05\"}\n{\"key\":\"hex:0304\",\"value\":\"hex:06\"}\n",
            "[\n{\"key\":\"hex:0102\",\"value\":\"hex:05\"},\n{\"key\":\"hex:0304\",\"value\":\"hex:06\"}\n]\n",
            " [ { \"value\" : \"hex:05\" ,\n\"key\":\"hex:0102\",\"more\":{\"a\":[1,\"}\"]}} ,{\"key\":\"hex:0304\",\"value\":\"hex:06\"}]",
            r#"[{"key":["0x01","0x02"],"value":["0x05"],"formatted":{"value":1}},{"key":["0x03","0x04"],"value":["0x06"]}]"#,
            "key,value\nhex:0102,hex:05\nhex:0304,\"hex:06\"\n",
        ] {
            assert_eq!(entries(text, 1), two, "{text}");
        }
        for nothing in ["", "\n", "[]", "[ ]\n", "key,value\n"] {
            assert_eq!(all(nothing, 1), (vec![], Ok(())), "{nothing:?}");
        }
    }

    #[test]
    fn the_values_of_cpus_are_put_together() {
        let one =
            EntryBatch::packed(1, vec![1, 2], vec![5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
        for text in [
            "{\"key\":\"hex:0102\",\"cpu\":0,\"value\":\"hex:05\"}\n{\"key\":\"hex:0102\",\"cpu\":1,\"value\":\"hex:06\"}",
            r#"[{"key":["0x01","0x02"],"values":[{"cpu":0,"value":["0x05"]},{"cpu":1,"value":["0x06"]}]}]"#,
            "key,cpu,value\nhex:0102,0,hex:05\nhex:0102,1,hex:06\n",
        ] {
            assert_eq!(entries(text, 2), one, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let good = "{\"key\":\"hex:0102\",\"value\":\"hex:05\"}\n";
        let cpu = "{\"key\":\"hex:0102\",\"cpu\":0,\"value\":\"hex:05\"}\n";
        for (text, cpus, line, part) in [
            (format!("{good}{{\"key\":\"hex:0102\"}}"), 1, 2, "missing field `value`"),
            (
                format!("{good}\n{{\"key\":\"hex:01\",\"value\":\"hex:05\"}}"),
                1,
                3,
                "KEY: hex: with 1 bytes",
            ),
            (format!("{good}x"), 1, 2, "'x'"),
            (format!("[{good}"), 1, 2, "list is not closed"),
            (format!("[{good}]x"), 1, 2, "behind the list"),
            (format!("{good}{{\"key\":"), 1, 2, "in the middle of an entry"),
            (format!("{good}{{\"key\":1 2}}"), 1, 2, "no JSON"),
            (good.to_owned(), 2, 1, "--per-cpu"),
            (cpu.to_owned(), 1, 1, "one value"),
            (cpu.to_owned(), 2, 1, "1 of 2 CPUs"),
            (format!("{cpu}{cpu}"), 2, 2, "CPU 0 where CPU 1"),
            ("key,valu\n".to_owned(), 1, 1, "key,value"),
            ("key,value\nhex:0102\n".to_owned(), 1, 2, "1 fields where there must be 2"),
            ("key,value\n\"hex:0102,1\n".to_owned(), 1, 2, "not closed"),
        ] {
            let (_, end) = all(&text, cpus);
            let problem = end.unwrap_err();
            assert!(problem.why.contains(part), "{text:?}: {problem:?}");
            assert_eq!(problem.line, line, "{text:?}: {problem:?}");
        }
        let long = format!("{{\"key\":\"{}\"}}", "0".repeat(ENTRY_MIN + 1000));
        assert!(all(&long, 1).1.unwrap_err().why.contains("longer than"));
    }
}
