//! The resources that the servers used, as they report them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Of all servers together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// User and system time.
    pub cpu_seconds: f64,
    /// Resident memory.
    pub rss_bytes: f64,
}

/// Asks every server; `None` if one does not answer.
pub async fn usage(http: &[SocketAddr]) -> Option<Usage> {
    let mut sum = Usage::default();
    for &addr in http {
        let text = tokio::time::timeout(Duration::from_secs(2), scrape(addr)).await.ok()?.ok()?;
        sum.cpu_seconds += metric(&text, "process_cpu_seconds_total")?;
        sum.rss_bytes += metric(&text, "process_resident_memory_bytes")?;
    }
    Some(sum)
}

async fn scrape(addr: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}
