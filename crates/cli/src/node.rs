//! `starling node`: one daemon in the foreground.

use starling_cluster::{Ready, ReadyNode};
use starling_server::{Daemon, Identity, Settings};
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::NodeArgs;
use crate::exit::{Exit, Failed};
use crate::output;

/// Runs until a signal, the parent's end, or a failed store.
pub async fn run(args: NodeArgs) -> Result<Exit, Failed> {
    let failed = |e: &dyn std::fmt::Display| Failed::new(Exit::Failed, e.to_string());
    let settings = Settings::load(args.config.as_deref(), environment(), args.overrides)
        .map_err(|e| Failed::new(Exit::Usage, e.to_string()))?;
    start_log(&settings.telemetry.log)?;
    Settings::foreign(environment().map(|(name, _)| name)).iter().for_each(|words| tracing::warn!("{words}"));
    let mut stop = std::pin::pin!(stop_signal(args.exit_with_parent)?);
    let daemon = tokio::select! {
        biased;
        daemon = Daemon::start(settings) => daemon.map_err(|e| failed(&e))?,
        () = &mut stop => return Ok(Exit::Done),
    };
    abort_on_panic();
    announce(&daemon.identity());
    daemon.run(stop).await.map_err(|e| failed(&e))?;
    Ok(Exit::Done)
}

/// A task that panics would leave a process that holds its ports and never answers. (Not armed before the store
/// is open, which makes errors of a library's panics.)
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

/// Variables that are no text are none of ours.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

fn start_log(filter: &str) -> Result<(), Failed> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter)
        .map_err(|e| Failed::new(Exit::Usage, format!("telemetry.log {filter:?}: {e}")))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A line that cannot be written is lost. To say so would be to write to the same place, and to panic there.
    log.with_ansi(false).log_internal_errors(false).init();
    Ok(())
}

/// Completes at SIGTERM, SIGINT, or the end of standard input if that stands for the parent's end.
fn stop_signal(with_parent: bool) -> Result<impl Future<Output = ()>, Failed> {
    let failed = |e: std::io::Error| Failed::new(Exit::Failed, format!("signals cannot be caught: {e}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
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

fn announce(me: &Identity) {
    let cluster = if me.cluster_id.is_some() { me.cluster_id.to_string() } else { "none yet".into() };
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
        output::note("  next    starling cluster init --nodes A,B,C   (the QUIC addresses of all nodes)");
    }
    output::remark(ready(me).to_string());
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
