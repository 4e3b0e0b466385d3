//! A client that is not ours, in another language: grpcio, through reflection alone.

use std::path::Path;
use std::process::Command;

use bpfgate_tests::{Agent, binaries, require_root, run};

#[test]
fn python_drives_the_agent_through_reflection() {
    require_root();
    let agent_file = binaries::agent();
    let target = agent_file.ancestors().nth(2).expect("target/PROFILE/bpfgated");
    let python = target.join("venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: `make test` installs it, from tests/requirements.txt",
        python.display()
    );

    let agent = Agent::spawn();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/reflection.py");
    let output = run(Command::new(python).arg(script).arg(agent.endpoint()));
    assert!(output.success(), "{output:?}");
    agent.assert_only_baseline();
    agent.stop();
}
