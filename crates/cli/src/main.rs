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
//! [`cluster`], [`bucket`], [`repair`], [`backup`], [`data`], [`clock`], [`cert`], [`bench`], [`sim`]; [`connect`] how they reach a cluster, [`exit`] how they end.

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
mod kv;
mod node;
mod output;
mod repair;
mod sim;

use clap::Parser;

use crate::args::{Arguments, Command};
use crate::exit::{Exit, Failed};

fn main() -> std::process::ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.output == args::Output::Json;
    match run(arguments) {
        Ok(exit) => exit.into(),
        Err(failed) => {
            output::failure(json, &failed);
            failed.exit.into()
        }
    }
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
            Command::Node(command) => node::run(command).await,
            Command::Dev(command) => dev::run(command).await,
            Command::Put(command) => kv::put(command, json).await,
            Command::Get(command) => kv::get(command, json).await,
            Command::Del(command) => kv::del(command, json).await,
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
