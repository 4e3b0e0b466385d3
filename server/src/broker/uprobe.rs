//! Where in an ELF file a uprobe's symbol is.

use std::fs::File;

use object::read::ReadCache;
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};

use super::Error;

/// `symbol + offset` as an offset into the file; `offset` itself without a symbol.
pub(super) fn file_offset(path: &str, symbol: &str, offset: u64) -> Result<u64, Error> {
    let absent = |what, name: &str| Error::NoTarget { what, name: name.to_owned() };
    let file = File::open(path).map_err(|_| absent("file", path))?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        let rule = "give the path of an ELF file";
        return Err(Error::BadTarget { what: "file", name: path.to_owned(), rule });
    }
    if symbol.is_empty() {
        return Ok(offset);
    }
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).map_err(|_| Error::BadTarget {
        what: "file",
        name: path.to_owned(),
        rule: "give the path of an ELF file",
    })?;
    let address = elf
        .symbols()
        .chain(elf.dynamic_symbols())
        .find(|s| s.is_definition() && s.name() == Ok(symbol))
        .map(|s| s.address())
        .ok_or_else(|| absent("symbol", &format!("{symbol} in {path}")))?;
    let inside = elf.segments().find_map(|segment| {
        let into = address.checked_sub(segment.address())?;
        (into < segment.size()).then(|| segment.file_range().0 + into)
    });
    let start = inside.ok_or_else(|| absent("code for symbol", &format!("{symbol} in {path}")))?;
    start.checked_add(offset).ok_or_else(|| absent("offset", &offset.to_string()))
}
