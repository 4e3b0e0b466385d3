//! The documents' `console` blocks: what they show is what happens.
//!
//! Each document has an agent and a directory of its own, in which its commands run in order.
//! `BPFGATE_WRITE_DOCS=1` writes what was printed into a document that says something else.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use bpfgate_tests::document::{Document, Step};
use bpfgate_tests::{Agent, binaries, run};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Of nobody but the documents' users.
const GROUP: u32 = 54_322;

/// Where a document's commands run.
struct Place {
    agent: Agent,
    /// Of the user's: files that commands make.
    home: PathBuf,
    /// Copies that everybody can run.
    bin: PathBuf,
}

impl Place {
    fn new(document: &Document) -> Self {
        let agent = Agent::spawn();
        chown(agent.socket(), None, Some(GROUP)).expect("the socket's group");
        let (home, bin) = (agent.directory().join("home"), agent.directory().join("bin"));
        for directory in [&home, &bin] {
            fs::create_dir(directory).expect("a directory");
            fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        chown(&home, Some(65_534), Some(65_534)).expect("an owner");
        for program in [binaries::cli(), binaries::agent()] {
            let name = program.file_name().expect("a name");
            fs::copy(&program, bin.join(name)).expect("a copy");
        }
        for (name, text) in &document.files {
            fs::write(home.join(name), text).expect("a file");
        }
        Self { agent, home, bin }
    }

    /// What a step prints, with the paths that the document has for this place's.
    fn run(&self, step: &Step) -> String {
        let printed = match step.command.strip_suffix(" &") {
            // It runs already; it has no other arguments.
            Some("bpfgated") => first_words(&self.agent.log()),
            _ => self.shell(step),
        };
        let paths =
            [(self.agent.runtime_dir(), "/run/bpfgate"), (self.agent.bpffs(), "/sys/fs/bpf")];
        paths
            .iter()
            .fold(printed, |text, (path, shown)| text.replace(path.to_str().expect("text"), shown))
    }

    fn shell(&self, step: &Step) -> String {
        let mut command: Command = self.agent.netns().command("timeout");
        command.arg("60");
        if !step.root {
            // Whoever is in the socket's group needs no other right.
            command.args(["setpriv", "--reuid", "65534", "--regid", "65534"]);
            command.args(["--groups", &GROUP.to_string(), "--bounding-set", "-all"]);
            command.args(["--inh-caps", "-all", "--no-new-privs"]);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .args(["bash", "-c", &format!("exec 2>&1; {}", step.command)])
            .current_dir(&self.home)
            .env("PATH", format!("{}:{path}", self.bin.display()))
            .env("BPFGATE_ENDPOINT", self.agent.endpoint())
            .env("HOME", &self.home)
            .env_remove("CLICOLOR_FORCE");
        run(&mut command).stdout
    }
}

/// The first line of the agent's log, without its time.
fn first_words(log: &str) -> String {
    let line = log.lines().next().unwrap_or_default();
    let (_, rest) = line.split_once(' ').unwrap_or_default();
    format!("{}\n", rest.trim_start())
}

/// Documents that have commands.
fn documents() -> Vec<Document> {
    let found = ["", "docs"].into_iter().flat_map(|directory| {
        let entries = fs::read_dir(Path::new(ROOT).join(directory)).expect("a directory");
        entries.map(|entry| entry.expect("an entry").path())
    });
    let documents = found.filter(|path| path.extension().is_some_and(|kind| kind == "md"));
    let documents = documents.map(|path| Document::read(&path));
    documents.filter(|document| !document.steps.is_empty()).collect()
}

#[test]
fn what_the_documents_show_is_what_happens() {
    let documents = documents();
    assert!(documents.iter().any(|document| document.path.ends_with("README.md")));
    let mut wrong = Vec::new();
    for document in documents {
        let place = Place::new(&document);
        let mut printed = Vec::new();
        for step in &document.steps {
            let said = place.run(step);
            if !document.agrees(step, &said) {
                wrong.push(format!(
                    "{}:{}: {}\nit says\n{}\nand there is\n{said}",
                    document.path.display(),
                    step.line,
                    step.command,
                    document.expected(step).join("\n"),
                ));
            }
            printed.push(said);
        }
        if std::env::var_os("BPFGATE_WRITE_DOCS").is_some() {
            fs::write(&document.path, document.with(&printed)).expect("a document");
        }
    }
    assert!(wrong.is_empty(), "BPFGATE_WRITE_DOCS=1 writes what there is:\n{}", wrong.join("\n"));
}
