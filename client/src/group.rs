//! Who may open the agent's socket: its group, by name.

use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Members may connect.
const GROUP_MAY_WRITE: u32 = 0o020;
/// Members may look into a directory.
const GROUP_MAY_SEARCH: u32 = 0o010;

/// What somebody does who may not open that socket.
pub(crate) fn advice(socket: &Path) -> String {
    // Who may not search the directory does not see the socket, and the directory has its group.
    let seen = fs::metadata(socket).map(|socket| (socket, GROUP_MAY_WRITE));
    let seen = seen.or_else(|error| {
        let directory = socket.parent().ok_or(error)?;
        fs::metadata(directory).map(|directory| (directory, GROUP_MAY_SEARCH))
    });
    let known = fs::read_to_string("/etc/group").unwrap_or_default();
    let group = seen.ok().and_then(|(of, bit)| group(&of, bit, &known));
    match group {
        Some(group) => format!(
            "add yourself to group {group} (`sudo usermod -aG {group} \"$USER\"`, then log in \
             again), or run with sudo"
        ),
        None => {
            "it is open to nobody but its owner: run with sudo, or have the agent started with \
                 --socket-group"
                .to_owned()
        }
    }
}

/// The group that may, unless that is root's.
fn group(of: &Metadata, bit: u32, known: &str) -> Option<String> {
    let may = of.permissions().mode() & bit != 0 && of.gid() != 0;
    may.then(|| name(of.gid(), known).unwrap_or_else(|| of.gid().to_string()))
}

/// By the lines of /etc/group: `name:password:id:members`.
fn name(gid: u32, known: &str) -> Option<String> {
    let named = |line: &str| {
        let mut parts = line.split(':');
        let (name, id) = (parts.next()?, parts.nth(1)?);
        (id.parse() == Ok(gid)).then(|| name.to_owned())
    };
    known.lines().find_map(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_the_name_of_its_id() {
        let known = "root:x:0:\nodd\nbpf-users:x:985:alice,bob\n";
        assert_eq!(name(985, known).as_deref(), Some("bpf-users"));
        assert_eq!(name(98, known), None);
    }

    #[test]
    fn a_socket_of_nobodys_group_needs_root() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("socket");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(advice(&file).contains("--socket-group"), "{}", advice(&file));
    }
}
