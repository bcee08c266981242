//! A file of which something was lost is set aside, and never used again or removed by this program: a person may want
//! to look at it, and take back what can be read after all.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// How the names of ruins go on, before a number.
pub(crate) const MARK: &str = ".ruin-";

/// Renames a file or directory to `NAME.ruin-1`, or the next such name that is free, and says which.
pub(crate) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let ruin = free_name(path, MARK)?;
    tracing::warn!(path = %path.display(), ruin = %ruin.display(), "what is left of it is set aside");
    fs::rename(path, &ruin)?;
    Ok(ruin)
}

/// The first name that is free: the path with `mark` and a number, or, if there is no mark, as it is.
pub(crate) fn free_name(path: &Path, mark: &str) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_owned();
    let numbered = |number: u32| {
        let mut name = name.clone();
        if number > 0 || !mark.is_empty() {
            name.push(format!("{}{number}", if mark.is_empty() { "." } else { mark }));
        }
        path.with_file_name(name)
    };
    for number in u32::from(!mark.is_empty()).. {
        let free = numbered(number);
        if fs::symlink_metadata(&free).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(free);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// How many ruins there are in directories. One that cannot be listed counts as none.
pub(crate) fn count(dirs: &[PathBuf]) -> usize {
    let entries = dirs.iter().flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten());
    entries.filter(|entry| is_ruin(&entry.file_name().to_string_lossy())).count()
}

/// Whether a name is that of a ruin.
pub(crate) fn is_ruin(name: &str) -> bool {
    name.rsplit_once(MARK).is_some_and(|(_, number)| number.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_ruin_takes_the_place_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        for n in 1..4 {
            fs::write(&path, format!("{n}")).unwrap();
            let ruin = set_aside(&path).unwrap();
            assert_eq!(ruin, dir.path().join(format!("data.ruin-{n}")));
        }
        assert_eq!(count(&[dir.path().into(), dir.path().join("none")]), 3);
        assert_eq!(fs::read(dir.path().join("data.ruin-1")).unwrap(), b"1");
        assert!(!is_ruin("data.ruin-") && !is_ruin("ruin-1x"));
    }
}
