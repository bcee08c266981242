//! # `starling`: the one binary
//!
//! **Job.** Server, command line and benchmark under one name.
//!
//! **Invariants.** Exit codes are stable (see [`exit`]); with `-o json` standard output is JSON and nothing else;
//! no command changes anything before its arguments are checked.
//!
//! **Deliberately absent.** Anything that another crate could do: commands only translate.
//!
//! **How to read this crate.** [`args`] what can be typed, then a file a command: [`node`], [`dev`], [`kv`],
//! [`cluster`], [`bucket`], [`repair`], [`backup`], [`data`], [`clock`], [`cert`], [`bench`], [`sim`]; [`signals`] what a node makes of signals, [`connect`] how they reach a cluster, [`exit`] how they end, [`guess`] what people try instead.

mod args;
mod backup;
mod bench;
mod bucket;
mod cert;
mod clock;
mod cluster;
mod connect;
mod data;
mod dev;
mod exit;
mod guess;
mod kv;
mod node;
mod output;
mod repair;
mod signals;
mod sim;
#[cfg(test)]
mod told;

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::exit::{Exit, Failed};

fn main() -> std::process::ExitCode {
    let arguments = Arguments::try_parse().unwrap_or_else(|error| misunderstood(&error));
    let json = arguments.output == args::Output::Json;
    // Data, keys, logs and backups are for their owner alone, whatever the shell was set to.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let exit = match run(arguments) {
        Ok(exit) => exit,
        Err(failed) => {
            output::failure(json, &failed);
            failed.exit
        }
    };
    starling_server::log::finish(node::LAST_WORDS);
    exit.into()
}

/// As clap does it, with one line more where we know what was meant.
fn misunderstood(error: &clap::Error) -> ! {
    // Help and versions too are errors, and are printed where they belong.
    let _ = error.print();
    if let Some(hint) = guess::hint(error) {
        output::note(format!("  hint: {hint}"));
    }
    std::process::exit(error.exit_code());
}

fn run(arguments: Arguments) -> Result<Exit, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failed::new(Exit::Failed, format!("the runtime could not be started: {e}")))?;
    let json = arguments.output == args::Output::Json;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        match arguments.command {
            Command::Node(command) => node::run(command, json).await,
            Command::Dev(command) => dev::run(command, json).await,
            Command::Put(command) => kv::put(command, json).await,
            Command::Get(command) => kv::get(command, json).await,
            Command::Del(command) => kv::del(command, json).await,
            Command::Status(target) => cluster::status(&target, json).await,
            Command::Version => version(json),
            Command::Cluster(command) => cluster::run(command, json).await,
            Command::Bucket(command) => bucket::run(command, json).await,
            Command::Repair(command) => repair::run(command, json).await,
            Command::Backup(command) => backup::run(command, json).await,
            Command::Data(command) => data::run(&command, json),
            Command::Clock(command) => clock::run(command, json).await,
            Command::Cert(command) => cert::run(&command, json),
            Command::Bench(command) => bench::run(command, json).await,
            Command::Sim(command) => sim::run(&command, json),
        }
    })
}

fn version(json: bool) -> Result<Exit, Failed> {
    let version = env!("CARGO_PKG_VERSION");
    output::product(match json {
        true => serde_json::json!({ "version": version }).to_string(),
        false => format!("starling {version}"),
    })?;
    Ok(Exit::Done)
}
