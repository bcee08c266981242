//! `starling node`: one daemon in the foreground.

use std::io::IsTerminal as _;
use std::time::Duration;

use starling_cluster::{Ready, ReadyNode};
use starling_server::{Daemon, Identity, Settings, log};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::SignalKind;

use crate::args::NodeArgs;
use crate::exit::{Exit, Failed};
use crate::output;
use crate::signals::{self, caught};

/// The log gets this long for its last lines.
pub const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs until a signal, the parent's end, or a failed store.
pub async fn run(args: NodeArgs, json: bool) -> Result<Exit, Failed> {
    let failed = |e: &dyn std::fmt::Display| Failed::new(Exit::Failed, e.to_string());
    let NodeArgs { config, overrides, exit_with_parent } = args;
    let settings = {
        let overrides = overrides.clone();
        Settings::load(config.as_deref(), environment(), overrides)
            .map_err(|e| Failed::new(Exit::Usage, e.to_string()))?
    };
    log::start(&settings.telemetry.log).map_err(|why| Failed::new(Exit::Usage, why))?;
    Settings::foreign(environment().map(|(name, _)| name)).iter().for_each(|words| tracing::warn!("{words}"));
    signals::heed(move || {
        let settings = Settings::load(config.as_deref(), environment(), overrides.clone());
        settings.map(|settings| settings.telemetry.log).map_err(|e| e.to_string())
    })?;
    let mut stop = std::pin::pin!(stop_signal(exit_with_parent)?);
    let daemon = tokio::select! {
        biased;
        daemon = Daemon::start(settings) => daemon.map_err(|e| failed(&e))?,
        () = &mut stop => return Ok(Exit::Done),
    };
    abort_on_panic();
    announce(&daemon.identity(), json);
    daemon.run(stop).await.map_err(|e| failed(&e))?;
    tracing::info!("stopped: what was under way is finished, and everything is on disk");
    Ok(Exit::Done)
}

/// A task that panics would leave a process that holds its ports and never answers. (Not armed before the store
/// is open, which makes errors of a library's panics.) The report goes the way of all lines: standard error may stand still.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        tracing::error!("this is a bug, please report it: {}", panic.to_string().replace('\n', " "));
        log::finish(LAST_WORDS);
        std::process::abort();
    }));
}

/// Variables that are no text are none of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Completes at SIGTERM, SIGINT, or the end of standard input if that stands for the parent's end.
fn stop_signal(with_parent: bool) -> Result<impl Future<Output = ()>, Failed> {
    let mut terminate = caught(SignalKind::terminate())?;
    let mut interrupt = caught(SignalKind::interrupt())?;
    let parent_gone = parent_gone(with_parent)?;
    Ok(async move {
        tokio::select! {
            biased;
            _ = terminate.recv() => {}
            _ = interrupt.recv(), if !with_parent => {}
            () = parent_gone => {}
        }
    })
}

/// The parent holds the other end of our standard input and never writes to it.
fn parent_gone(with_parent: bool) -> Result<impl Future<Output = ()>, Failed> {
    let input = match with_parent {
        false => None,
        true => Some(stdin_pipe().map_err(|e| {
            Failed::new(Exit::Usage, format!("--exit-with-parent needs a pipe as standard input: {e}"))
        })?),
    };
    Ok(async move {
        let Some(mut input) = input else {
            return std::future::pending().await;
        };
        let mut byte = [0];
        while !matches!(input.read(&mut byte).await, Ok(0) | Err(_)) {}
    })
}

fn stdin_pipe() -> std::io::Result<tokio::net::unix::pipe::Receiver> {
    use std::os::fd::AsFd;
    let fd = std::io::stdin().as_fd().try_clone_to_owned()?;
    tokio::net::unix::pipe::Receiver::from_owned_fd(fd)
}

/// For a person at a terminal some lines, otherwise one; then the ready line, for programs.
fn announce(me: &Identity, json: bool) {
    let cluster = if me.cluster_id.is_some() { me.cluster_id.to_string() } else { "none yet".into() };
    let next = "starling cluster init --nodes A,B,C   (the QUIC addresses of all nodes)";
    if std::io::stderr().is_terminal() {
        output::note(format!(
            "starling {} node {} ({})\n  cluster {cluster}\n  data    {}\n  redis   {}\n  http    {}  (/v1/status, /metrics)\n  quic    {}",
            me.version,
            me.node_id,
            me.name,
            me.data_dir.display(),
            me.resp,
            me.http,
            me.quic,
        ));
        if !me.cluster_id.is_some() {
            output::note(format!("  next    {next}"));
        }
    } else {
        tracing::info!(
            "started: starling {} node {} ({}), cluster {cluster}, redis {}, http {}, quic {}, data {}{}",
            me.version,
            me.node_id,
            me.name,
            me.resp,
            me.http,
            me.quic,
            me.data_dir.display(),
            if me.cluster_id.is_some() { String::new() } else { format!("; next: {next}") },
        );
    }
    if json || !output::is_terminal() {
        let line = ready(me).to_string();
        // Not on the node's thread: the reader may stand still. Without a thread there is no line, as without a reader.
        let _ = std::thread::Builder::new().name("ready".into()).spawn(move || output::remark(line));
    }
}

fn ready(me: &Identity) -> Ready {
    let node = ReadyNode {
        name: me.name.clone(),
        node_id: me.node_id,
        resp: me.resp,
        http: me.http,
        quic: me.quic,
        data: me.data_dir.clone(),
        pid: std::process::id(),
    };
    Ready::new(me.cluster_id.is_some().then_some(me.cluster_id), vec![node])
}
