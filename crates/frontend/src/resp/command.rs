//! The table of all commands.

use super::reply::Reply;

/// The action of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its command, whose usage is in the table")]
pub enum Verb {
    Get,
    Set,
    Del,
    Exists,
    Mget,
    Strlen,
    StarlingGet,
    StarlingPut,
    StarlingDel,
    StarlingConsistency,
    StarlingBucket,
    Ping,
    Echo,
    Hello,
    Select,
    Info,
    Command,
    Client,
    Config,
    Reset,
    Quit,
}

/// One row.
#[derive(Debug)]
pub struct Entry {
    /// In small letters, as metrics name it.
    pub name: &'static str,
    /// Its action.
    pub verb: Verb,
    /// Fewest arguments, its name included.
    pub least: usize,
    /// Most arguments.
    pub most: usize,
    /// First and last key, as `COMMAND` shows it: 0 without keys, -1 for the last argument.
    pub keys: (i64, i64),
    /// Whether it changes data.
    pub writes: bool,
    /// How to write it.
    pub usage: &'static str,
}

/// All of them, the most frequent first.
pub static TABLE: &[Entry] = &[
    key(Verb::Get, "get", 2, 2, "GET key"),
    write(Verb::Set, "set", 3, 9, "SET key value [EX s|PX ms|EXAT s|PXAT ms]"),
    Entry { keys: (1, -1), ..write(Verb::Del, "del", 2, MANY, "DEL key [key ...]") },
    Entry { keys: (1, -1), ..key(Verb::Exists, "exists", 2, MANY, "EXISTS key [key ...]") },
    Entry { keys: (1, -1), ..key(Verb::Mget, "mget", 2, MANY, "MGET key [key ...]") },
    key(Verb::Strlen, "strlen", 2, 2, "STRLEN key"),
    key(Verb::StarlingGet, "starling.get", 2, 2, "STARLING.GET key"),
    write(
        Verb::StarlingPut,
        "starling.put",
        3,
        8,
        "STARLING.PUT key value [CONTEXT c|QUORUM|LOCAL|NONE] [W n] [RECEIPT]",
    ),
    write(Verb::StarlingDel, "starling.del", 2, 5, "STARLING.DEL key [CONTEXT c|QUORUM|LOCAL] [RECEIPT]"),
    plain(
        Verb::StarlingConsistency,
        "starling.consistency",
        1,
        7,
        "STARLING.CONSISTENCY [R n|DEFAULT] [W n|DEFAULT] [STRICT YES|NO|DEFAULT]",
    ),
    plain(Verb::StarlingBucket, "starling.bucket", 1, 2, "STARLING.BUCKET [name]"),
    plain(Verb::Ping, "ping", 1, 2, "PING [message]"),
    plain(Verb::Echo, "echo", 2, 2, "ECHO message"),
    plain(Verb::Hello, "hello", 1, 7, "HELLO [2|3] [SETNAME name]"),
    plain(Verb::Select, "select", 2, 2, "SELECT n"),
    plain(Verb::Info, "info", 1, MANY, "INFO [section ...]"),
    plain(Verb::Command, "command", 1, MANY, "COMMAND [COUNT|LIST|DOCS|INFO [name ...]]"),
    plain(Verb::Client, "client", 2, MANY, "CLIENT ID|INFO|GETNAME|SETNAME name|SETINFO attribute value"),
    plain(Verb::Config, "config", 2, MANY, "CONFIG GET parameter [parameter ...]"),
    plain(Verb::Reset, "reset", 1, 1, "RESET"),
    plain(Verb::Quit, "quit", 1, MANY, "QUIT"),
];

impl Entry {
    /// The row of a command, by its name in any case.
    pub fn find(name: &[u8]) -> Option<&'static Self> {
        TABLE.iter().find(|entry| entry.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether a request with `args` arguments can be this command.
    pub fn takes(&self, args: usize) -> bool {
        (self.least..=self.most).contains(&args)
    }

    /// The answer to a request with too few or too many arguments.
    pub fn wrong_arguments(&self) -> Reply {
        Reply::error(format_args!("wrong number of arguments for '{}' command: {}", self.name, self.usage))
    }

    /// Its row as `COMMAND` shows it.
    pub fn describe(&self) -> Reply {
        let least = i64::try_from(self.least).unwrap_or(i64::MAX);
        let arity = if self.least == self.most { least } else { -least };
        let flag = match (self.keys, self.writes) {
            (_, true) => "write",
            ((0, _), _) => "fast",
            _ => "readonly",
        };
        Reply::Array(vec![
            Reply::bulk(self.name),
            Reply::Integer(arity),
            Reply::Array(vec![Reply::Simple(flag)]),
            Reply::Integer(self.keys.0),
            Reply::Integer(self.keys.1),
            Reply::Integer(i64::from(self.keys.0 != 0)),
        ])
    }
}

/// The answer to a command that is not in the table.
pub fn unknown(name: &[u8]) -> Reply {
    let quoted = name[..name.len().min(64)].escape_ascii();
    let advice = advice(name).map_or_else(all_names, str::to_owned);
    Reply::error(format_args!("unknown command '{quoted}': {advice}"))
}

/// The alternative for a client that asks for a command of Redis that cannot exist here.
fn advice(name: &[u8]) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    Some(match name.as_slice() {
        b"auth" => "this node has no passwords: connect without one, from where its RESP port can be reached",
        b"exec" | b"watch" | b"discard" | b"eval" | b"evalsha" => {
            "there are no transactions in a leaderless store: use STARLING.GET and STARLING.PUT with its CONTEXT"
        }
        b"setnx" | b"getset" | b"getdel" | b"incr" | b"decr" | b"incrby" | b"decrby" | b"append" => {
            "it needs one owner per key, a leaderless store has none: use STARLING.GET and STARLING.PUT with its CONTEXT"
        }
        b"expire" | b"pexpire" | b"persist" | b"ttl" | b"pttl" => {
            "a value's life is set when it is written: SET key value PX ms"
        }
        b"setex" | b"psetex" => "use SET key value EX s, or PX ms",
        b"mset" => "use several SET in one pipeline",
        b"keys" | b"scan" | b"dbsize" => "there are no scans yet",
        b"subscribe" | b"psubscribe" | b"publish" | b"monitor" => "there is no publish and subscribe",
        _ => return None,
    })
}

fn all_names() -> String {
    let names: Vec<_> = TABLE.iter().map(|entry| entry.name.to_ascii_uppercase()).collect();
    format!("there are {}", names.join(" "))
}

const fn plain(verb: Verb, name: &'static str, least: usize, most: usize, usage: &'static str) -> Entry {
    Entry { name, verb, least, most, keys: (0, 0), writes: false, usage }
}

const fn key(verb: Verb, name: &'static str, least: usize, most: usize, usage: &'static str) -> Entry {
    Entry { keys: (1, 1), ..plain(verb, name, least, most, usage) }
}

const fn write(verb: Verb, name: &'static str, least: usize, most: usize, usage: &'static str) -> Entry {
    Entry { writes: true, ..key(verb, name, least, most, usage) }
}

/// As many as a request can have.
const MANY: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_small_and_found_in_any_case() {
        for (index, entry) in TABLE.iter().enumerate() {
            assert_eq!(entry.name, entry.name.to_ascii_lowercase());
            assert!(entry.usage.starts_with(&entry.name.to_ascii_uppercase()), "{}", entry.usage);
            let found = Entry::find(entry.name.to_ascii_uppercase().as_bytes()).unwrap();
            assert!(std::ptr::eq(found, &TABLE[index]), "{} is there twice", entry.name);
        }
    }
}
