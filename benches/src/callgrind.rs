//! Instructions, counted by valgrind's callgrind: the same on a busy machine as on a quiet one.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Instructions that this executable spends in functions whose name holds `function`, when it is started with `args`.
///
/// # Errors
/// Valgrind is not installed, or the executable fails under it.
pub fn instructions(function: &str, args: &[&str]) -> Result<f64> {
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--toggle-collect=*{function}*"))
        .arg(std::env::current_exe()?)
        .args(args)
        .output()
        .context("valgrind does not start: install it")?;
    let report = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.success(), "valgrind failed: {report}");
    let count = report.lines().find_map(|line| line.split_once("Collected : ")).context("no count")?.1;
    Ok(count.trim().parse()?)
}
