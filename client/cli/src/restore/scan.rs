//! JSON cut into its objects: one behind the other, or the items of one list.

use std::io::BufRead;

use super::{Problem, unreadable};

/// The objects of a text, one at a time.
pub(super) struct Objects<R> {
    input: R,
    /// The object at hand, with what was read behind it.
    buffer: Vec<u8>,
    /// Where in it to go on.
    at: usize,
    line: u64,
    place: Place,
    /// Most bytes of an object.
    limit: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Before everything.
    Start,
    /// Behind an object that stands for itself.
    Bare,
    /// Behind the list's bracket, or a comma.
    BeforeItem { first: bool },
    /// Behind an item of the list.
    BehindItem,
    /// Behind the list.
    End,
}

impl<R: BufRead> Objects<R> {
    pub(super) fn new(input: R, line: u64, limit: usize) -> Self {
        Self { input, buffer: Vec::new(), at: 0, line, place: Place::Start, limit }
    }

    /// The next object and the line that it begins on.
    pub(super) fn next(&mut self) -> Result<Option<(u64, &[u8])>, Problem> {
        loop {
            let Some(byte) = self.peek()? else { return self.end().map(|()| None) };
            let place = match (self.place, byte) {
                (_, b'\n') => {
                    self.line += 1;
                    self.at += 1;
                    continue;
                }
                (_, b' ' | b'\t' | b'\r') => {
                    self.at += 1;
                    continue;
                }
                (Place::Start, b'[') => Place::BeforeItem { first: true },
                (Place::BehindItem, b',') => Place::BeforeItem { first: false },
                (Place::BehindItem | Place::BeforeItem { first: true }, b']') => Place::End,
                (Place::Start | Place::Bare, b'{') => {
                    self.place = Place::Bare;
                    return self.object().map(Some);
                }
                (Place::BeforeItem { .. }, b'{') => {
                    self.place = Place::BehindItem;
                    return self.object().map(Some);
                }
                (Place::End, _) => return Err(self.problem("something behind the list".into())),
                _ => {
                    let c = char::from(byte);
                    return Err(self.problem(format!("{c:?} where an entry should begin")));
                }
            };
            (self.place, self.at) = (place, self.at + 1);
        }
    }

    fn end(&self) -> Result<(), Problem> {
        match self.place {
            Place::Start | Place::Bare | Place::End => Ok(()),
            Place::BeforeItem { .. } | Place::BehindItem => {
                Err(self.problem("it ends too early: its list is not closed".into()))
            }
        }
    }

    /// The object that begins here.
    fn object(&mut self) -> Result<(u64, &[u8]), Problem> {
        let (line, mut start) = (self.line, self.at);
        let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
        let mut at = 0;
        let end = loop {
            if at > self.limit {
                let why = format!("the entry is longer than {} bytes", self.limit);
                return Err(Problem { line, why });
            }
            let Some(&byte) = self.buffer.get(start + at) else {
                // What is behind is not needed again.
                self.buffer.drain(..std::mem::take(&mut start));
                if self.fill()? {
                    continue;
                }
                let why = "it ends in the middle of an entry".into();
                return Err(Problem { line, why });
            };
            at += 1;
            match byte {
                _ if escaped => escaped = false,
                b'\\' if in_text => escaped = true,
                b'"' => in_text = !in_text,
                b'\n' => self.line += 1,
                _ if in_text => {}
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        break at;
                    }
                }
                _ => {}
            }
        };
        self.at = start + end;
        Ok((line, &self.buffer[start..start + end]))
    }

    fn peek(&mut self) -> Result<Option<u8>, Problem> {
        loop {
            if let Some(&byte) = self.buffer.get(self.at) {
                return Ok(Some(byte));
            }
            self.buffer.clear();
            self.at = 0;
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads more; false at the end.
    fn fill(&mut self) -> Result<bool, Problem> {
        let more = self.input.fill_buf().map_err(|error| unreadable(self.line, &error))?;
        let read = more.len();
        self.buffer.extend_from_slice(more);
        self.input.consume(read);
        Ok(read > 0)
    }

    fn problem(&self, why: String) -> Problem {
        Problem { line: self.line, why }
    }
}
