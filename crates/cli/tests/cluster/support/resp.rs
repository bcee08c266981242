//! The Redis protocol, spoken by hand.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{SOON, within};

/// No reply takes longer, or the connection counts as broken.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Simple(String),
    Error(String),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Array(Vec<Reply>),
    /// RESP3.
    Map(Vec<(Reply, Reply)>),
}

impl Reply {
    /// A value.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Self {
        Self::Bulk(bytes.as_ref().to_vec())
    }

    /// `OK`.
    pub fn ok() -> Self {
        Self::Simple("OK".into())
    }

    /// The words of an error.
    pub fn error(&self) -> &str {
        match self {
            Self::Error(words) => words,
            other => panic!("no error: {other:?}"),
        }
    }

    /// A bulk reply as text.
    pub fn text(&self) -> String {
        match self {
            Self::Bulk(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            other => panic!("no text: {other:?}"),
        }
    }
}

/// A connection.
pub struct Resp {
    stream: BufReader<TcpStream>,
}

impl Resp {
    pub fn connect(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// One command, one reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Reply> {
        self.send_raw(&encode(args))?;
        self.receive()
    }

    /// [`Resp::call`] for tests in which the connection must not break. A command that ran out of time, as any may on a
    /// busy machine, is asked again.
    pub fn ask(&mut self, words: &str) -> Reply {
        let args: Vec<_> = words.split(' ').collect();
        within(SOON, words, || match self.call(&args).unwrap() {
            Reply::Error(why) if why.starts_with("TIMEOUT") => Err(why),
            reply => Ok(reply),
        })
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    pub fn receive(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(|| broken("an empty line"))?;
        Ok(match kind {
            "+" => Reply::Simple(rest.into()),
            "-" => Reply::Error(rest.into()),
            ":" => Reply::Integer(number(rest)?),
            "_" => Reply::Null,
            "$" => match number(rest)? {
                -1 => Reply::Null,
                length => Reply::Bulk(self.bytes(length)?),
            },
            "*" => Reply::Array((0..number(rest)?).map(|_| self.receive()).collect::<Result<_, _>>()?),
            "%" => {
                let pairs = (0..number(rest)?).map(|_| Ok((self.receive()?, self.receive()?)));
                Reply::Map(pairs.collect::<io::Result<_>>()?)
            }
            _ => return Err(broken(&line)),
        })
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn bytes(&mut self, length: i64) -> io::Result<Vec<u8>> {
        let length = usize::try_from(length).map_err(|_| broken("a negative length"))?;
        let mut bytes = vec![0; length + 2];
        self.stream.read_exact(&mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// A command as clients send it.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend(format!("${}\r\n", arg.len()).bytes());
        bytes.extend(arg);
        bytes.extend(b"\r\n");
    }
    bytes
}

fn number(text: &str) -> io::Result<i64> {
    text.parse().map_err(|_| broken(text))
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}
