//! Where in an ELF file a uprobe's symbol is.

use std::fs::File;
use std::path::Path;

use object::read::ReadCache;
use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};

use super::Error;

/// `symbol + offset` as an offset into the file; `offset` itself without a symbol.
pub(super) fn file_offset(path: &str, symbol: &str, offset: u64) -> Result<u64, Error> {
    let absent = |what, name: &str| Error::NoTarget { what, name: name.to_owned() };
    let rule = "give the absolute path of an ELF file";
    let bad = || Error::BadTarget { what: "file", name: path.to_owned(), rule };
    if !Path::new(path).is_absolute() {
        return Err(bad());
    }
    let file = File::open(path).map_err(|_| absent("file", path))?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err(bad());
    }
    if symbol.is_empty() {
        return Ok(offset);
    }
    let cache = ReadCache::new(file);
    let elf = object::File::parse(&cache).map_err(|_| bad())?;
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
