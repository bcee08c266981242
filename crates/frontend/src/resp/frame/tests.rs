use proptest::prelude::*;

use super::*;

const MAX_BULK: usize = 64;

type Args = Vec<Vec<u8>>;

/// Requests and the error that ended them, when `input` arrives in pieces of the given sizes, then as a whole.
fn parse(input: &[u8], pieces: &[usize]) -> (Vec<Args>, Option<FrameError>) {
    let mut parser = Parser::new(MAX_BULK);
    let mut inbox = BytesMut::new();
    let mut requests = Vec::new();
    let mut rest = input;
    for size in pieces.iter().copied().chain([usize::MAX]) {
        let (piece, later) = rest.split_at(size.min(rest.len()));
        rest = later;
        inbox.extend_from_slice(piece);
        loop {
            match parser.next(&mut inbox) {
                Ok(Some(request)) => {
                    requests.push((0..request.len()).map(|i| request.arg(i).to_vec()).collect())
                }
                Ok(None) => break,
                Err(error) => return (requests, Some(error)),
            }
        }
    }
    (requests, None)
}

fn args(words: &[&str]) -> Args {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn requests_are_cut_out_of_the_stream() {
    let input = b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*0\r\n\r\n\nPING \"x y\"\r\n*1\r\n$0\r\n\r\n*1\r\n$4\r\nPI";
    let (requests, error) = parse(input, &[]);
    assert_eq!(requests, [args(&["GET", "a"]), args(&["PING", "x y"]), args(&[""])]);
    assert_eq!(error, None);
}

#[test]
fn a_length_is_judged_before_its_bytes_arrive() {
    let too_large = |len| FrameError::BulkTooLarge { len, limit: MAX_BULK };
    let table: &[(&[u8], FrameError)] = &[
        (b"*-1\r\n", FrameError::Count),
        (b"*2147483647\r\n", FrameError::Count),
        (b"*1048577\r\n", FrameError::Count),
        (b"*01\r\n", FrameError::Count),
        (b"*\r\n", FrameError::Count),
        (b"* 1\r\n", FrameError::Count),
        (b"*1\n", FrameError::Count),
        (b"*1\rx", FrameError::Count),
        (b"*99999999999999999999", FrameError::Count),
        (b"*1\r\n$-2\r\n", FrameError::Length),
        (b"*1\r\n$-1\r\n", FrameError::Length),
        (b"*1\r\n$00003\r\nabc\r\n", FrameError::Length),
        (b"*1\r\n$+3\r\nabc\r\n", FrameError::Length),
        (b"*1\r\n$3\rabc", FrameError::Length),
        (b"*1\r\n$65\r\n", too_large(65)),
        (b"*1\r\n$536870913\r\n", too_large(536_870_913)),
        (b"*1\r\n$9223372036854775808\r\n", too_large(9_223_372_036_854_775_808)),
        (b"*2\r\n$3\r\nGET\r\n$-5\r\n", FrameError::Length),
        (b"*1\r\n*1\r\n", FrameError::NotBulk(b'*')),
        (b"*1\r\n:1\r\n", FrameError::NotBulk(b':')),
        (b"*1\r\n$3\r\nabcdef", FrameError::BulkEnd(3)),
        (b"get \"a\r\n", FrameError::Quotes),
        (b"POST / HTTP/1.1\r\n", FrameError::Http),
        (b"get / HTTP/1.1\r\n", FrameError::Http),
        (b"Host: localhost\r\n", FrameError::Http),
        (b"\x16\x03\x01\x02\x00", FrameError::Tls),
    ];
    for (input, error) in table {
        let shown = input.escape_ascii();
        assert_eq!(parse(input, &[]), (vec![], Some(*error)), "{shown}");
        assert_eq!(parse(input, &vec![1; input.len()]), (vec![], Some(*error)), "{shown}");
    }
}

#[test]
fn many_small_arguments_do_not_add_up_past_the_limit() {
    let bulk = [b"$64\r\n".as_slice(), &[b'x'; 64], b"\r\n"].concat();
    let input = [b"*1048576\r\n".as_slice(), &bulk.repeat(20_000)].concat();
    assert_eq!(parse(&input, &[]), (vec![], Some(FrameError::RequestTooLarge(MAX_BULK + MAX_OVERHEAD))));
}

#[test]
fn a_line_without_end_is_given_up() {
    let line = vec![b'a'; MAX_INLINE];
    assert_eq!(parse(&line, &[]), (vec![], None));
    let longer = vec![b'a'; MAX_INLINE + 1];
    assert_eq!(parse(&longer, &[]), (vec![], Some(FrameError::InlineTooLong)));
    let ended = [longer.as_slice(), b"\n"].concat();
    assert_eq!(parse(&ended, &[]), (vec![], Some(FrameError::InlineTooLong)));
}

#[test]
fn announcing_costs_nothing() {
    let mut parser = Parser::new(8 << 20);
    let mut inbox = BytesMut::from(&b"*1000000\r\n$8000000\r\n"[..]);
    assert!(parser.next(&mut inbox).unwrap().is_none());
    assert_eq!(parser.spans.capacity(), 0);
    assert_eq!(parser.missing(inbox.len()), 8_000_002);
}

#[test]
fn large_arguments_share_the_buffer_and_small_ones_do_not_pin_it() {
    let large = vec![b'v'; SHARED];
    let mut inbox = BytesMut::from(&b"*2\r\n$1\r\nk\r\n$4096\r\n"[..]);
    inbox.extend_from_slice(&large);
    inbox.extend_from_slice(b"\r\n");
    let mut parser = Parser::new(SHARED);
    let request = parser.next(&mut inbox).unwrap().unwrap();
    let within = |kept: &Bytes| request.bytes.as_ptr_range().contains(&kept.as_ptr());
    assert!(!within(&request.keep(0)));
    assert!(within(&request.keep(1)));
    assert_eq!(request.keep(1), large);
    assert_eq!(request.keep(2), Bytes::new());
}

/// Streams that are mostly well formed, so that parsing gets deep into them.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let array = prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..5).prop_map(|args| {
        let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
        for arg in args {
            bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            bytes.extend_from_slice(&arg);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes
    });
    let inline = "[ -~]{0,20}\r?\n".prop_map(String::into_bytes);
    let noise = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..6),
        "[*$0-9\r\n-]{0,8}".prop_map(String::into_bytes),
    ];
    let part = prop_oneof![6 => array, 2 => inline, 1 => noise];
    prop::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn every_way_to_cut_the_stream_gives_the_same_requests(
        input in stream(),
        pieces in prop::collection::vec(0_usize..9, 0..80),
    ) {
        prop_assert_eq!(parse(&input, &pieces), parse(&input, &[]));
        prop_assert_eq!(parse(&input, &vec![1; input.len()]), parse(&input, &[]));
    }

    #[test]
    fn any_arguments_come_out_as_they_went_in(
        args in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..MAX_BULK), 1..6),
    ) {
        let mut input = format!("*{}\r\n", args.len()).into_bytes();
        for arg in &args {
            input.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
            input.extend_from_slice(arg);
            input.extend_from_slice(b"\r\n");
        }
        prop_assert_eq!(parse(&input, &[]), (vec![args], None));
    }
}
