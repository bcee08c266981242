//! The load over the Redis protocol: as many connections as requests outstanding, spread over the nodes.

use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{Run, Step, now};
use crate::exit::{Exit, Failed};

/// Runs until the run is over.
pub async fn drive(addrs: &[SocketAddr], outstanding: u16, run: &Rc<Run>) -> Result<(), Failed> {
    let mut loops = JoinSet::new();
    for &addr in addrs.iter().cycle().take(usize::from(outstanding)) {
        let stream = TcpStream::connect(addr).await.map_err(|e| {
            Failed::new(Exit::Unreachable, format!("{addr}: {e}: name the nodes with --resp"))
        })?;
        stream.set_nodelay(true).map_err(|e| Failed::new(Exit::Failed, e.to_string()))?;
        loops.spawn_local(one(stream, run.clone()));
    }
    while loops.join_next().await.is_some() {}
    Ok(())
}

async fn one(mut stream: TcpStream, run: Rc<Run>) {
    let (mut out, mut input) = (Vec::new(), Vec::new());
    while let Some(step) = run.next() {
        let begun = now();
        write(&mut out, &step, &run.value());
        match exchange(&mut stream, &out, &mut input).await {
            Ok(None) => run.done(begun),
            Ok(Some(error)) => run.failed(error),
            Err(error) => return run.failed(error),
        }
    }
}

fn write(out: &mut Vec<u8>, step: &Step, value: &[u8]) {
    out.clear();
    match step {
        Step::Put(key) => command(out, &[b"SET", key, value]),
        Step::Get(key) => command(out, &[b"GET", key]),
    }
}

fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// Sends and reads one whole reply: `Some` error reply, or done.
async fn exchange(
    stream: &mut TcpStream,
    out: &[u8],
    input: &mut Vec<u8>,
) -> std::io::Result<Option<String>> {
    stream.write_all(out).await?;
    input.clear();
    while !is_whole(input) {
        if stream.read_buf(input).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(match input.first() {
        Some(b'-') => Some(String::from_utf8_lossy(input).trim_end().to_owned()),
        Some(b'$') if input.starts_with(b"$-1") => Some("a key that was written is absent".into()),
        _ => None,
    })
}

/// Simple strings and errors end with their line, bulk strings with their length.
fn is_whole(input: &[u8]) -> bool {
    let Some(end) = input.windows(2).position(|w| w == b"\r\n") else {
        return false;
    };
    if input[0] != b'$' {
        return true;
    }
    let length: i64 = std::str::from_utf8(&input[1..end]).ok().and_then(|s| s.parse().ok()).unwrap_or(-1);
    length < 0 || input.len() >= end + 4 + usize::try_from(length).unwrap_or(0)
}
