//! What the agent is told: a TOML file and flags, of which a flag wins.

mod sample;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bpfgate_proto::name::MapGlob;
use clap::{Parser, Subcommand};
use serde::Deserialize;

pub use self::sample::sample;
use crate::core::Limits;
use crate::listen::Endpoint;

/// The agent of bpfgate: owns eBPF programs and maps, and serves them over gRPC.
#[derive(Debug, Parser)]
#[command(name = "bpfgated", version, max_term_width = 100)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// TOML file with the settings below and the limits; `bpfgated config` prints one.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where to listen: unix:PATH, or tcp:ADDRESS on a loopback address; may be given again.
    /// [default: bpfgate.sock in the runtime directory]
    #[arg(long, value_name = "ENDPOINT")]
    pub listen: Vec<Endpoint>,

    /// Directory of the socket and the lock. [default: /run/bpfgate]
    #[arg(long, value_name = "DIR")]
    pub runtime_dir: Option<PathBuf>,

    /// Where `pin:` references lead. [default: /sys/fs/bpf]
    #[arg(long, value_name = "DIR")]
    pub bpffs: Option<PathBuf>,

    /// Group that may connect to the Unix socket. [default: bpfgate, where it exists]
    #[arg(long, value_name = "GROUP")]
    pub socket_group: Option<String>,
}

/// What else there is to do.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Print a configuration file with every setting at its default.
    Config,
}

/// The settings, from the file where no flag says otherwise.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen; empty for the socket in the runtime directory.
    pub listen: Vec<Endpoint>,
    /// Directory of the socket and the lock.
    pub runtime_dir: PathBuf,
    /// Where `pin:` references lead.
    pub bpffs: PathBuf,
    /// Group of the Unix socket; `None` for `bpfgate` where it exists.
    pub socket_group: Option<String>,
    /// How events are read.
    pub events: Events,
    /// What is granted at most.
    pub limits: Limits,
}

/// How events are read.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// Names or patterns of maps whose records are taken out all the time: whoever watches one
    /// gets what is written from then on, never what waited in it while nobody watched.
    #[serde(deserialize_with = "globs")]
    pub keep_draining: Vec<MapGlob>,
}

fn globs<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<MapGlob>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            runtime_dir: "/run/bpfgate".into(),
            bpffs: "/sys/fs/bpf".into(),
            socket_group: None,
            events: Events::default(),
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Reads the file, if one is named, and puts the flags over it.
    pub fn load(args: Args) -> anyhow::Result<Self> {
        let Args { command: _, config, listen, runtime_dir, bpffs, socket_group } = args;
        let mut settings = match &config {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        if !listen.is_empty() {
            settings.listen = listen;
        }
        settings.runtime_dir = runtime_dir.unwrap_or(settings.runtime_dir);
        settings.bpffs = bpffs.unwrap_or(settings.bpffs);
        settings.socket_group = socket_group.or(settings.socket_group);
        if settings.listen.is_empty() {
            let socket = settings.runtime_dir.join("bpfgate.sock");
            settings.listen = vec![Endpoint::Unix(std::path::absolute(socket)?)];
        }
        Ok(settings)
    }

    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not a configuration", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_wins_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "runtime_dir = \"/a\"\nbpffs = \"/b\"\n[limits]\nmax_maps = 7\n";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().to_str().unwrap();
        let args = Args::parse_from(["bpfgated", "--config", path, "--runtime-dir", "/c"]);
        let config = Config::load(args).unwrap();
        assert_eq!(config.runtime_dir, Path::new("/c"));
        assert_eq!(config.bpffs, Path::new("/b"));
        assert_eq!(config.limits.max_maps, 7);
        assert_eq!(config.listen, ["unix:/c/bpfgate.sock".parse().unwrap()]);
    }

    #[test]
    fn a_typo_in_the_file_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[limits]\nmax_map = 7\n").unwrap();
        let said = format!("{:#}", Config::read(file.path()).unwrap_err());
        assert!(said.contains("max_map") && said.contains("max_maps"), "{said}");
    }
}
