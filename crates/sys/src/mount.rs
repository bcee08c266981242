//! The system's own tools for volumes.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::fork::spawn;

/// Runs a tool to its end; what it complains about is the error.
pub(crate) fn run<S: AsRef<OsStr>>(tool: &str, arguments: impl IntoIterator<Item = S>) -> io::Result<()> {
    let mut command = Command::new(tool);
    command.args(arguments).env("PATH", path_of_tools()).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let started = spawn(&mut command).and_then(Child::wait_with_output);
    let output = started.map_err(|error| io::Error::new(error.kind(), format!("{tool}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    Err(io::Error::other(format!("{tool}: {}, {complaint}", output.status)))
}

/// Unmounts `root`; if it is in use, as soon as it no longer is.
pub(crate) fn unmount_at_last(root: &Path) -> io::Result<()> {
    run("umount", [root]).or_else(|_| run("umount", [OsStr::new("--lazy"), root.as_os_str()]))
}

/// The administrator's tools are not on every user's path.
fn path_of_tools() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/local/sbin:/usr/sbin:/sbin")
}
