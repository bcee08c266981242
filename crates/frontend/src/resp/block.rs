//! A refused `MULTI` refuses its block: clients send the whole of it before they read the refusal, and a client that
//! wanted all of it or nothing does not want its parts one by one.

use super::reply::Reply;
use super::words::capitals;

/// Whether a connection is between a refused `MULTI` and its end. Nothing is kept of what stands there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    is_open: bool,
}

impl Block {
    /// The answer to command `name` if that is settled here; otherwise it is a command like any other.
    pub fn answer(&mut self, name: &[u8]) -> Option<Reply> {
        let name = capitals(name);
        match (name.as_str(), self.is_open) {
            ("MULTI", false) => {
                self.is_open = true;
                Some(refusal())
            }
            ("MULTI", true) => Some(Reply::error("MULTI calls can not be nested outcome=not_applied")),
            ("EXEC", true) => {
                self.is_open = false;
                Some(aborted())
            }
            ("DISCARD", true) => {
                self.is_open = false;
                Some(Reply::OK)
            }
            // They end the block with all that there is to a connection.
            ("RESET" | "QUIT", true) | (_, false) => None,
            (_, true) => Some(not_carried_out(&name)),
        }
    }
}

fn refusal() -> Reply {
    Reply::error(
        "unknown command 'MULTI': there are no transactions in a leaderless store: use STARLING.GET and STARLING.PUT \
         with its CONTEXT; nothing is carried out until EXEC or DISCARD outcome=not_applied",
    )
}

fn aborted() -> Reply {
    Reply::Error(
        "EXECABORT Transaction discarded: MULTI was refused, and nothing of its block was carried out \
         outcome=not_applied"
            .into(),
    )
}

fn not_carried_out(name: &str) -> Reply {
    Reply::error(format_args!(
        "'{}' was not carried out: it stands behind a MULTI that was refused; send it without MULTI, and EXEC or DISCARD \
         first to end the block outcome=not_applied",
        name.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(reply: Option<Reply>) -> String {
        match reply {
            Some(Reply::Error(text)) => text.into_owned(),
            other => panic!("no error: {other:?}"),
        }
    }

    #[test]
    fn a_block_is_refused_to_its_end_and_no_further() {
        let mut block = Block::default();
        for end in ["exec", "DISCARD"] {
            assert_eq!(block.answer(b"set"), None);
            assert!(words(block.answer(b"multi")).ends_with("outcome=not_applied"));
            for name in [b"SET".as_slice(), b"get", b"ping", b"watch", b"nonsense\r\n"] {
                let refused = words(block.answer(name));
                assert!(refused.contains("was not carried out"), "{refused}");
                assert!(refused.ends_with("outcome=not_applied"), "{refused}");
            }
            assert!(words(block.answer(b"MULTI")).contains("nested"));
            let ended = block.answer(end.as_bytes());
            match end {
                "exec" => assert!(words(ended).starts_with("EXECABORT "), "{end}"),
                _ => assert_eq!(ended, Some(Reply::OK)),
            }
            assert_eq!(block.answer(b"get"), None);
        }
    }

    #[test]
    fn without_a_block_its_words_are_commands_like_any_other() {
        for name in [b"EXEC".as_slice(), b"DISCARD", b"WATCH"] {
            assert_eq!(Block::default().answer(name), None);
        }
    }
}
