//! The settings that a connection has made, and the commands that concern only them.

use starling_types::{BucketName, limits};
use starling_wire::QuorumChoice;

use super::ask::Ask;
use super::block::Block;
use super::command::{Entry, TABLE, Verb, unknown};
use super::data;
use super::frame::Request;
use super::reply::{Protocol, Reply};
use super::shape::{Harvest, Shape};
use super::words::{Words, capitals, no_such_option};
use crate::service::{Door, FrontEvent, InfoSection, KvService};

/// The action for one request.
#[derive(Debug)]
pub enum Action {
    /// Answer at once.
    Answer(Reply),
    /// Answer, and close once everything before it is answered too.
    Bye(Reply),
    /// Ask the service for one key.
    Ask(Shape, Ask),
    /// Ask it for several, and answer once.
    Gather(Harvest, Vec<Ask>),
}

/// One connection's settings.
#[derive(Debug)]
pub struct Session {
    id: u64,
    peer: String,
    name: String,
    library: String,
    library_version: String,
    /// How to encode replies.
    pub protocol: Protocol,
    /// Where keys are.
    pub(super) bucket: BucketName,
    /// The quorum that `STARLING.CONSISTENCY` asked for.
    pub(super) quorum: QuorumChoice,
    pub(super) max_value: usize,
    block: Block,
}

impl Session {
    /// Of connection `id`, from `peer`.
    pub fn new(id: u64, peer: String, max_value: usize) -> Self {
        Self {
            id,
            peer,
            name: String::new(),
            library: String::new(),
            library_version: String::new(),
            protocol: Protocol::default(),
            bucket: BucketName::default_bucket(),
            quorum: QuorumChoice::default(),
            max_value,
            block: Block::default(),
        }
    }

    /// Decides what to do about `request`.
    pub fn execute<S: KvService>(&mut self, request: &Request<'_>, service: &S) -> Action {
        if let Some(reply) = self.block.answer(request.arg(0)) {
            service.count(Door::Resp, FrontEvent::Command("multi"));
            return Action::Answer(reply);
        }
        let Some(entry) = Entry::find(request.arg(0)) else {
            service.count(Door::Resp, FrontEvent::Command("unknown"));
            return Action::Answer(unknown(request.arg(0)));
        };
        service.count(Door::Resp, FrontEvent::Command(entry.name));
        if !entry.takes(request.len()) {
            return Action::Answer(entry.wrong_arguments());
        }
        self.perform(entry, request, service).unwrap_or_else(Action::Answer)
    }

    fn perform<S: KvService>(
        &mut self,
        entry: &Entry,
        request: &Request<'_>,
        service: &S,
    ) -> Result<Action, Reply> {
        if entry.keys.0 != 0 {
            return data::action(entry, request, self);
        }
        let reply = match entry.verb {
            Verb::Quit => return Ok(Action::Bye(Reply::OK)),
            Verb::Ping if request.len() == 1 => Reply::Simple("PONG"),
            Verb::Ping | Verb::Echo => Reply::Bulk(request.keep(1)),
            Verb::Hello => self.hello(entry, request, service)?,
            Verb::Select => self.select(request)?,
            Verb::StarlingBucket => self.bucket(request)?,
            Verb::StarlingConsistency => self.consistency(entry, request)?,
            Verb::Info => info(request, service),
            Verb::Command => commands(entry, request)?,
            Verb::Client => self.client(entry, request)?,
            Verb::Config => self.config(entry, request)?,
            Verb::Reset => self.reset(),
            _ => Reply::error("internal error: a command nobody performs; please report it"),
        };
        Ok(Action::Answer(reply))
    }

    fn hello<S: KvService>(
        &mut self,
        entry: &Entry,
        request: &Request<'_>,
        service: &S,
    ) -> Result<Reply, Reply> {
        let protocol = match request.arg(1) {
            b"" => self.protocol,
            b"2" => Protocol::V2,
            b"3" => Protocol::V3,
            _ => {
                return Err(Reply::Error("NOPROTO unsupported protocol version: HELLO 2 or HELLO 3".into()));
            }
        };
        let mut words = Words::from(request, 2);
        let mut name = None;
        while let Some(option) = words.option() {
            match option.as_str() {
                "SETNAME" => name = Some(word(words.value(&option)?)?),
                "AUTH" => return Err(Reply::error("this node has no passwords: HELLO without AUTH")),
                _ => return Err(no_such_option(&option, entry.usage)),
            }
        }
        self.protocol = protocol;
        self.name = name.unwrap_or_else(|| std::mem::take(&mut self.name));
        Ok(Reply::Map(vec![
            ("server", Reply::bulk("starling")),
            ("version", Reply::bulk(service.identity().version)),
            ("proto", Reply::Integer(protocol.number())),
            ("id", self.number()),
            ("mode", Reply::bulk("standalone")),
            ("role", Reply::bulk("master")),
            ("modules", Reply::Array(Vec::new())),
        ]))
    }

    fn bucket(&mut self, request: &Request<'_>) -> Result<Reply, Reply> {
        if request.len() == 1 {
            return Ok(Reply::bulk(self.bucket.as_str()));
        }
        let name = String::from_utf8_lossy(request.arg(1));
        self.bucket = BucketName::new(&name).map_err(Reply::error)?;
        Ok(Reply::OK)
    }

    /// Databases are buckets by another name.
    fn select(&mut self, request: &Request<'_>) -> Result<Reply, Reply> {
        let number = std::str::from_utf8(request.arg(1)).ok().and_then(|text| text.parse().ok());
        self.bucket = number.and_then(BucketName::numbered).ok_or_else(|| {
            let most = limits::NUMBERED_BUCKETS - 1;
            Reply::error(format!(
                "a database is a number from 0 to {most}: use STARLING.BUCKET name to work in another bucket"
            ))
        })?;
        Ok(Reply::OK)
    }

    /// The number that SELECT would take; 0 also for a bucket that has none.
    fn database(&self) -> u8 {
        let is_ours = |&n: &u8| BucketName::numbered(n).as_ref() == Some(&self.bucket);
        (0..limits::NUMBERED_BUCKETS).find(is_ours).unwrap_or(0)
    }

    fn consistency(&mut self, entry: &Entry, request: &Request<'_>) -> Result<Reply, Reply> {
        self.quorum = data::consistency(entry, request, self.quorum)?;
        if request.len() > 1 {
            return Ok(Reply::OK);
        }
        let number = |quorum: Option<u8>| quorum.map_or(Reply::bulk("default"), |n| Reply::Integer(n.into()));
        let strict = self.quorum.strict.map_or("default", |strict| if strict { "yes" } else { "no" });
        Ok(Reply::Map(vec![
            ("r", number(self.quorum.r)),
            ("w", number(self.quorum.w)),
            ("strict", Reply::bulk(strict)),
        ]))
    }

    fn client(&mut self, entry: &Entry, request: &Request<'_>) -> Result<Reply, Reply> {
        match (capitals(request.arg(1)).as_str(), request.len()) {
            ("ID", 2) => Ok(self.number()),
            ("INFO", 2) => Ok(Reply::Text(self.line())),
            ("GETNAME", 2) if self.name.is_empty() => Ok(Reply::Null),
            ("GETNAME", 2) => Ok(Reply::bulk(self.name.as_str())),
            ("SETNAME", 3) => {
                self.name = word(request.arg(2))?;
                Ok(Reply::OK)
            }
            ("SETINFO", 4) => self.library(request),
            _ => Err(entry.wrong_arguments()),
        }
    }

    fn library(&mut self, request: &Request<'_>) -> Result<Reply, Reply> {
        let value = word(request.arg(3))?;
        match capitals(request.arg(2)).as_str() {
            "LIB-NAME" => self.library = value,
            "LIB-VER" => self.library_version = value,
            _ => return Err(Reply::error("CLIENT SETINFO knows LIB-NAME and LIB-VER")),
        }
        Ok(Reply::OK)
    }

    fn line(&self) -> String {
        format!(
            "id={} addr={} name={} db={} bucket={} resp={} lib-name={} lib-ver={}\n",
            self.id,
            self.peer,
            self.name,
            self.database(),
            self.bucket,
            self.protocol.number(),
            self.library,
            self.library_version
        )
    }

    /// The settings that benchmarks and drivers look at before they start.
    fn config(&self, entry: &Entry, request: &Request<'_>) -> Result<Reply, Reply> {
        if capitals(request.arg(1)) != "GET" || request.len() < 3 {
            return Err(entry.wrong_arguments());
        }
        let all = [
            ("save", String::new()),
            ("appendonly", "yes".into()),
            ("databases", limits::NUMBERED_BUCKETS.to_string()),
            ("proto-max-bulk-len", self.max_value.to_string()),
        ];
        let asked = |name: &str| {
            (2..request.len())
                .any(|i| request.arg(i) == b"*" || request.arg(i).eq_ignore_ascii_case(name.as_bytes()))
        };
        let found = all.into_iter().filter(|(name, _)| asked(name));
        Ok(Reply::Map(found.map(|(name, value)| (name, Reply::bulk(value))).collect()))
    }

    fn reset(&mut self) -> Reply {
        *self = Self::new(self.id, std::mem::take(&mut self.peer), self.max_value);
        Reply::Simple("RESET")
    }

    fn number(&self) -> Reply {
        Reply::Integer(i64::try_from(self.id).unwrap_or(i64::MAX))
    }
}

fn commands(entry: &Entry, request: &Request<'_>) -> Result<Reply, Reply> {
    let names = || (2..request.len()).map(|index| request.arg(index));
    let row = |name| Entry::find(name).map_or(Reply::Null, Entry::describe);
    match (capitals(request.arg(1)).as_str(), request.len()) {
        (_, 1) => Ok(Reply::Array(TABLE.iter().map(Entry::describe).collect())),
        ("COUNT", 2) => Ok(Reply::count(TABLE.len())),
        ("LIST", 2) => Ok(Reply::Array(TABLE.iter().map(|entry| Reply::bulk(entry.name)).collect())),
        ("DOCS", _) => Ok(Reply::Map(Vec::new())),
        ("INFO", 2) => Ok(Reply::Array(TABLE.iter().map(Entry::describe).collect())),
        ("INFO", count) if count <= most_names() => Ok(Reply::Array(names().map(row).collect())),
        _ => Err(entry.wrong_arguments()),
    }
}

/// As many names as there are commands, with room for doubles: a row is much larger than a name.
fn most_names() -> usize {
    2 + 2 * TABLE.len()
}

fn info<S: KvService>(request: &Request<'_>, service: &S) -> Reply {
    let asked: Vec<_> = (1..request.len().min(INFO_SECTIONS)).map(|i| capitals(request.arg(i))).collect();
    let everything = |word: &String| matches!(word.as_str(), "ALL" | "DEFAULT" | "EVERYTHING");
    let all = asked.is_empty() || asked.iter().any(everything);
    let sections = std::iter::once(server_section(service)).chain(service.info());
    let wanted = sections.filter(|section| all || asked.contains(&section.name.to_ascii_uppercase()));
    Reply::Text(wanted.map(|section| section_text(&section)).collect::<Vec<_>>().join("\r\n"))
}

fn server_section<S: KvService>(service: &S) -> InfoSection {
    let identity = service.identity();
    let fields = [
        ("starling_version", identity.version),
        ("redis_mode", "standalone".into()),
        ("node_name", identity.name),
        ("node_id", identity.node_id.to_string()),
        ("cluster_id", identity.cluster_id.to_string()),
        ("resp", identity.resp.to_string()),
        ("http", identity.http.to_string()),
        ("quic", identity.quic.to_string()),
        ("data_dir", identity.data_dir.display().to_string()),
        ("ready", service.ready().map_or_else(|reason| reason, |()| "yes".into())),
    ];
    InfoSection { name: "Server", fields: fields.map(|(name, value)| (name.into(), value)).into() }
}

fn section_text(section: &InfoSection) -> String {
    let lines = section.fields.iter().map(|(name, value)| format!("{name}:{value}\r\n"));
    format!("# {}\r\n{}", section.name, lines.collect::<String>())
}

/// A name that a client gives itself: printable, without blanks, short.
fn word(text: &[u8]) -> Result<String, Reply> {
    let fits = text.len() <= limits::MAX_BUCKET_NAME && text.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(text) {
        Ok(word) if fits => Ok(word.to_owned()),
        _ => Err(Reply::error(format_args!(
            "names have up to {} printable characters without blanks",
            limits::MAX_BUCKET_NAME
        ))),
    }
}

/// More than there can be.
const INFO_SECTIONS: usize = 64;
