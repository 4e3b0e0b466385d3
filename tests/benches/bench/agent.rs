//! An agent of our own, in a directory of its own.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bpfgate_client::{Client, v1};
use tempfile::TempDir;

use crate::process::Process;

/// A running agent.
pub(crate) struct Agent {
    pub(crate) process: Process,
    pub(crate) client: Client,
    endpoint: String,
    // Behind the process, which still uses it.
    _directory: TempDir,
}

impl Agent {
    /// With everything as it comes, log included; it is there when this returns.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with("").await
    }

    /// The same with a configuration.
    pub(crate) async fn start_with(config: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("bpfgate-bench.").tempdir()?;
        let endpoint = format!("unix:{}/bpfgate.sock", directory.path().display());
        let log = std::fs::File::create(directory.path().join("log"))?;
        let settings = directory.path().join("bpfgated.toml");
        std::fs::write(&settings, config)?;
        let mut command = Command::new(binary("bpfgated")?);
        command.arg("--runtime-dir").arg(directory.path()).stderr(log);
        command.arg("--config").arg(settings);
        let process = Process::start(&mut command)?;
        let client = until(async || Client::connect(&endpoint).await).await?;
        Ok(Self { process, client, endpoint, _directory: directory })
    }

    /// As `--endpoint` takes it.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Another connection.
    pub(crate) async fn connect(&self) -> Result<Client> {
        Ok(Client::connect(&self.endpoint).await?)
    }

    /// A hash map of 8-byte keys and values. It goes with the agent.
    pub(crate) async fn create_hash(&self, name: &str, max_entries: u32) -> Result<v1::Map> {
        let spec = v1::MapSpec {
            r#type: v1::MapType::Hash.into(),
            key_size: 8,
            value_size: 8,
            max_entries,
            ..v1::MapSpec::default()
        };
        let request = v1::CreateMapRequest {
            name: name.to_owned(),
            spec: Some(spec),
            ..v1::CreateMapRequest::default()
        };
        Ok(self.client.maps().create(request).await?)
    }
}

/// A program that was built with us: target/release/bpfgated for target/release/deps/bench-….
pub(crate) fn binary(name: &str) -> Result<PathBuf> {
    let executable = env::current_exe()?;
    let profile = executable.ancestors().nth(2).unwrap_or(Path::new("."));
    let binary = profile.join(name);
    if !binary.exists() {
        bail!("there is no {}: `make bench` builds it", binary.display());
    }
    Ok(binary)
}

/// Tries until it works, for some seconds.
pub(crate) async fn until<T, E>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match attempt().await {
            Ok(done) => return Ok(done),
            Err(error) if Instant::now() > deadline => {
                return Err(error).context("it did not come up");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}
