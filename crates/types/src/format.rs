//! Numbers of formats: of what is stored, which ones this version opens, and the words where it does not.

use std::fmt;

/// The formats of one kind of file that this version opens: all between the two. It writes the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// The lowest number.
    pub oldest: u32,
    /// The highest number.
    pub newest: u32,
}

/// A format that this version does not open. Displayed behind the name of what has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherFormat {
    /// Its number.
    pub found: u32,
    /// Those that can be opened.
    pub opens: Formats,
}

impl Formats {
    /// Whether this version opens format `found`.
    ///
    /// # Errors
    /// If it is older than the oldest, or newer than the newest.
    pub fn check(self, found: u32) -> Result<(), OtherFormat> {
        match (self.oldest..=self.newest).contains(&found) {
            true => Ok(()),
            false => Err(OtherFormat { found, opens: self }),
        }
    }
}

impl fmt::Display for OtherFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { found, opens: Formats { oldest, newest } } = self;
        write!(f, "has format {found}, and this version opens ")?;
        match oldest == newest {
            true => write!(f, "format {newest}: ")?,
            false => write!(f, "formats {oldest} to {newest}: ")?,
        }
        f.write_str(match found > newest {
            true => "a newer version wrote it: use the version that wrote it, or a later one; nothing was changed",
            false => {
                "an older version wrote it: use the version that wrote it, or one in between that opens both; \
                 nothing was changed"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_outside_are_refused_with_what_to_do() {
        let opens = Formats { oldest: 2, newest: 3 };
        assert_eq!([2, 3].map(|found| opens.check(found)), [Ok(()); 2]);
        let words = |found: u32| opens.check(found).unwrap_err().to_string();
        assert!(words(4).starts_with("has format 4, and this version opens formats 2 to 3: a newer version"));
        assert!(
            words(1).contains("an older version wrote it: use the version that wrote it, or one in between")
        );
    }
}
