//! Settings held against the machine: what it cannot give is said at the start, once.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::{LimitSettings, Settings, size};
use crate::descriptors::Shares;

/// Remarks for the operator on `settings` on this machine, in words.
pub fn remarks(settings: &Settings, shares: Shares) -> Vec<String> {
    let disk = volume(&settings.node.data);
    let found = [
        connections(settings, shares),
        memory(settings, memory_there_is()),
        reserve(settings.storage.disk_reserve, disk),
        open_doors(settings),
    ];
    found.into_iter().flatten().collect()
}

fn connections(settings: &Settings, shares: Shares) -> Option<String> {
    let (wanted, given) = (settings.limits.max_connections, shares.connections);
    // The default is more than most need: fewer are worth a word only if they are few.
    let is_default = wanted == LimitSettings::default().max_connections;
    (given < wanted && !(is_default && given >= ENOUGH)).then(|| {
        format!(
            "the open-file limit leaves room for {given} connections at each of resp and http, not for \
             limits.max_connections = {wanted}: beyond them idle ones are closed for others; raise the limit (ulimit -n, \
             LimitNOFILE=)"
        )
    })
}

fn memory(settings: &Settings, there_is: Option<u64>) -> Option<String> {
    let (limit, flight) = (settings.storage.memory_limit, settings.limits.max_in_flight_bytes as u64);
    let needed = limit + limit / 5 + flight;
    there_is.filter(|most| needed > *most).map(|most| {
        format!(
            "storage.memory_limit = {} (give or take a fifth) and limits.max_in_flight_bytes = {} are more than the {} MiB \
             of memory that this process may have: the system may kill it under load",
            size(limit),
            size(flight),
            most >> 20
        )
    })
}

fn reserve(reserve: Option<u64>, volume: Option<u64>) -> Option<String> {
    let (reserve, total) = (reserve?, volume?);
    (reserve >= total).then(|| {
        format!(
            "storage.disk_reserve = {} is more than the volume of the data directory has ({} MiB): new values will be refused",
            size(reserve),
            total >> 20
        )
    })
}

/// Doors for strangers.
fn open_doors(settings: &Settings) -> Option<String> {
    let listen = &settings.listen;
    let open: Vec<_> = [("resp", listen.resp), ("http", listen.http)]
        .into_iter()
        .filter(|(_, at)| !at.ip().to_canonical().is_loopback())
        .map(|(door, at): (_, SocketAddr)| format!("listen.{door} = {at}"))
        .collect();
    (!open.is_empty()).then(|| {
        format!(
            "NO PASSWORD AND NO ENCRYPTION at {}: everybody who reaches it may read, write and delete everything; let only \
             a private network or a firewall's friends reach it",
            open.join(" and ")
        )
    })
}

/// Bytes of the volume on which `dir` is, or will be.
fn volume(dir: &Path) -> Option<u64> {
    let there = dir.ancestors().find(|dir| dir.exists() || dir.as_os_str().is_empty())?;
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    rustix::fs::statvfs(there).ok().map(|volume| volume.f_blocks * volume.f_frsize)
}

/// Bytes of memory for this process: the machine's, or what its control group has; none where neither tells.
fn memory_there_is() -> Option<u64> {
    let of_machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total_of(&text));
    let of_group = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let group = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        let file = format!("/sys/fs/cgroup{}/memory.max", group.trim_end_matches('/'));
        fs::read_to_string(file).ok()?.trim().parse().ok()
    });
    [of_machine, of_group].into_iter().flatten().min()
}

fn total_of(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Connections at a door that suffice where none were asked for.
const ENOUGH: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_cannot_give_is_said() {
        let mut settings = Settings::default();
        let plenty = Shares { tables: 256, connections: 10_000 };
        assert_eq!(connections(&settings, plenty), None);
        assert!(connections(&settings, Shares { connections: 242, ..plenty }).unwrap().contains("242"));
        assert_eq!(memory(&settings, Some(1 << 40)).or(memory(&settings, None)), None);
        assert_eq!(connections(&settings, Shares { connections: 9_000, ..plenty }), None);
        assert!(memory(&settings, Some(600 << 20)).unwrap().contains("600 MiB"));
        assert_eq!(reserve(None, Some(1)).or(reserve(Some(1), Some(2))).or(reserve(Some(1), None)), None);
        assert!(reserve(Some(1 << 40), Some(1 << 30)).unwrap().contains("1TiB"));
        assert_eq!(open_doors(&settings), None);
        settings.limits.max_connections = 9_001;
        assert!(connections(&settings, Shares { connections: 9_000, ..plenty }).is_some());
        settings.listen.resp = "0.0.0.0:7001".parse().unwrap();
        let said = open_doors(&settings).unwrap();
        assert!(said.contains("listen.resp = 0.0.0.0:7001") && !said.contains("listen.http"), "{said}");
    }

    #[test]
    fn a_volume_is_found_before_the_directory_is_made() {
        let dir = tempfile::tempdir().unwrap();
        assert!(volume(&dir.path().join("not/yet")).is_some_and(|bytes| bytes > 0));
        assert_eq!(total_of("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16 << 10));
    }
}
