//! Which processes hold descriptors of maps, programs and links, as procfs shows it.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// A process that holds a descriptor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its name, of at most 15 bytes.
    pub command: String,
}

/// Who holds what.
#[derive(Debug, Default)]
pub struct Holders {
    /// By the map's id.
    pub maps: HashMap<u32, Vec<Holder>>,
    /// By the program's id, held itself or by a link.
    pub programs: HashMap<u32, Vec<Holder>>,
    /// Processes that this one may not look into.
    pub hidden: usize,
}

/// All holders that there are. What goes meanwhile is passed over.
pub fn holders() -> Holders {
    let mut holders = Holders::default();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes {
        if let Some(pid) = process.file_name().to_str().and_then(|name| name.parse().ok()) {
            holders.look_into(pid, &process.path());
        }
    }
    holders
}

impl Holders {
    fn look_into(&mut self, pid: u32, process: &Path) {
        let descriptors = match fs::read_dir(process.join("fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                self.hidden += usize::from(error.kind() == std::io::ErrorKind::PermissionDenied);
                return;
            }
        };
        let mut command = None;
        for descriptor in descriptors.flatten() {
            let Ok(leads_to) = fs::read_link(descriptor.path()) else { continue };
            let (by_id, field) = match leads_to.to_str() {
                Some("anon_inode:bpf-map") => (&mut self.maps, "map_id:"),
                Some("anon_inode:bpf-prog" | "anon_inode:bpf_link" | "anon_inode:bpf-link") => {
                    (&mut self.programs, "prog_id:")
                }
                _ => continue,
            };
            let info = process.join("fdinfo").join(descriptor.file_name());
            let Some(id) = fs::read_to_string(info).ok().and_then(|text| number(&text, field))
            else {
                continue;
            };
            let command = command.get_or_insert_with(|| {
                let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
                name.trim_end().to_owned()
            });
            let held = by_id.entry(id).or_default();
            if held.last().is_none_or(|last| last.pid != pid) {
                held.push(Holder { pid, command: command.clone() });
            }
        }
    }
}

fn number(text: &str, field: &str) -> Option<u32> {
    text.lines().find_map(|line| line.strip_prefix(field))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_field() {
        let text = "pos:\t0\nlink_type:\txdp\nprog_id:\t71\nmap_id:\tx\n";
        assert_eq!(number(text, "prog_id:"), Some(71));
        assert_eq!(number(text, "map_id:"), None);
    }
}
