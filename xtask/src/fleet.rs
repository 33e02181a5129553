//! The servers that all tests of a run share.

use std::io::{self, Read as _};
use std::process::Command;

use anyhow::{Context as _, Result};
use tidelock_testkit::{Binary, Cluster, Flavour, SHARED_SERVERS, Server};

use crate::report::Report;
use crate::setup;

/// Enough for keys to land on different nodes.
const MASTERS: u16 = 3;

/// One server of each flavour, and a cluster. All of them end when this is dropped or the process ends, in whatever
/// way.
#[derive(Debug)]
pub(crate) struct Fleet {
    servers: Vec<Server>,
    cluster: Option<Cluster>,
}

impl Fleet {
    /// Starts the servers that the machine has. Fetches missing ones, or reports them as skipped.
    pub(crate) fn start(report: &mut Report) -> Result<Self> {
        let binaries = setup::servers(report)?;
        let start = |binary: &Binary| Server::start(binary).with_context(|| format!("start {}", binary.flavour()));
        let servers = binaries.iter().map(start).collect::<Result<Vec<_>>>()?;
        let of_cluster = binaries.iter().find(|binary| binary.flavour() == Flavour::Redis70).or(binaries.first());
        let cluster =
            of_cluster.map(|binary| Cluster::start(binary, MASTERS).context("start a cluster")).transpose()?;
        let fleet = Self { servers, cluster };
        for (name, url) in fleet.urls() {
            eprintln!("{name:<8} {url}");
        }
        Ok(fleet)
    }

    /// The environment variables for tests: where the servers are, and which programs start more of them.
    pub(crate) fn variables(&self) -> Vec<(&'static str, String)> {
        let words: Vec<_> = self.urls().map(|(name, url)| format!("{name}={url}")).collect();
        let mut variables = vec![(SHARED_SERVERS, words.join(" "))];
        variables.extend(self.servers.iter().map(Server::binary).map(program_variable));
        variables
    }

    fn urls(&self) -> impl Iterator<Item = (&'static str, String)> {
        let single = self.servers.iter().map(|server| (server.binary().flavour().name(), server.url()));
        single.chain(self.cluster.iter().map(|cluster| ("cluster", cluster.url())))
    }
}

/// Tells a command and its children which program starts this server.
pub(crate) fn name_program<'a>(command: &'a mut Command, binary: &Binary) -> &'a mut Command {
    let (variable, path) = program_variable(binary);
    command.env(variable, path)
}

/// Starts the servers for running `cargo test` by hand.
pub(crate) fn keep(report: &mut Report) -> Result<()> {
    let fleet = Fleet::start(report)?;
    for (name, value) in fleet.variables() {
        println!("export {name}='{value}'");
    }
    eprintln!("running until Ctrl-C, or until stdin ends");
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn program_variable(binary: &Binary) -> (&'static str, String) {
    (binary.flavour().variable(), binary.path().display().to_string())
}
