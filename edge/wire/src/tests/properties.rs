//! What holds for all input.

use bytes::{BufMut, BytesMut};
use http::HeaderMap;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{Connection, transcript};
use crate::*;

/// Limits low enough for short input to pass them.
fn tight() -> Limits {
    Limits {
        head_bytes: 120,
        target_bytes: 20,
        fields: 4,
        chunk_line_bytes: 12,
        trailer_bytes: 24,
    }
}

/// Pieces that requests are made of, well-formed and not.
fn fragment() -> impl Strategy<Value = &'static [u8]> {
    let fragments: &[&[u8]] = &[
        b"GET ",
        b"POST ",
        b"OPTIONS ",
        b"CONNECT ",
        b"M(",
        b"/",
        b"/a?b ",
        b"* ",
        b"http://h/ ",
        b" ",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"\r\n",
        b"\r\n\r\n",
        b"\r",
        b"\n",
        b"\t",
        b"\0",
        b"\xff",
        b"Host: h\r\n",
        b"Host: i\r\n",
        b"Host",
        b":",
        b"X: y\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: ",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST /a HTTP/1.1\r\nHost: h\r\n",
        b"3\r\nabc\r\n",
        b"0\r\n\r\n",
        b"0\r\n",
        b"3",
        b"f",
        b";a=b",
        b";a=\"b\"",
        b"\"",
        b"\\",
        b"abc",
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ];
    select(fragments.to_vec())
}

fn requests() -> impl Strategy<Value = Vec<u8>> {
    let fragments = vec(fragment(), 0..16).prop_map(|fragments| fragments.concat());
    // Most of what is made of fragments alone fails at the first line.
    let framed = (any::<bool>(), vec(fragment(), 0..10)).prop_map(|(is_chunked, fragments)| {
        let head = if is_chunked {
            &b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"[..]
        } else {
            b"GET / HTTP/1.1\r\nHost: h\r\n"
        };
        [head, &fragments.concat()].concat()
    });
    prop_oneof![fragments, framed]
}

fn in_pieces(bytes: &[u8], cuts: &[Index], limits: Limits) -> String {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();

    let mut connection = Connection::new(limits);
    let mut start = 0;
    for cut in cuts {
        connection.receive(&bytes[start..cut]);
        start = cut;
    }
    connection.finish()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn how_bytes_are_split_makes_no_difference(bytes in requests(), cuts in vec(any::<Index>(), 0..6)) {
        for limits in [Limits::default(), tight()] {
            let whole = transcript(&bytes, bytes.len(), limits);
            prop_assert_eq!(in_pieces(&bytes, &cuts, limits), whole.clone());
            prop_assert_eq!(transcript(&bytes, 1, limits), whole);
        }
    }

    #[test]
    fn no_input_makes_it_panic(bytes in vec(any::<u8>(), 0..300), framing in select(vec![Framing::None, Framing::Length(7), Framing::Chunked])) {
        transcript(&bytes, 300, Limits::default());
        let mut decoder = BodyDecoder::new(&framing, tight());
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Decoded::Data(_)) = decoder.decode(&mut input) {}
    }

    #[test]
    fn one_changed_byte_never_panics_and_never_depends_on_the_split(at in any::<Index>(), byte in any::<u8>()) {
        let mut bytes = b"POST /a?b HTTP/1.1\r\nHost: h:80\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0\r\nZ: 1\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        prop_assert_eq!(transcript(&bytes, 1, Limits::default()), transcript(&bytes, bytes.len(), Limits::default()));
    }

    #[test]
    fn what_is_encoded_is_decoded(chunks in vec(vec(any::<u8>(), 1..50), 0..8), rest in vec(any::<u8>(), 0..20), trailer in "[!-~]{0,20}") {
        let mut input = BytesMut::new();
        for chunk in &chunks {
            write_chunk_head(&mut input, chunk.len());
            input.put_slice(chunk);
            input.put_slice(CHUNK_END);
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-trailer", trailer.parse().unwrap());
        write_trailers(&mut input, &trailers);
        input.put_slice(&rest);

        let mut decoder = BodyDecoder::new(&Framing::Chunked, Limits::default());
        let mut content = Vec::new();
        let end = loop {
            match decoder.decode(&mut input) {
                Ok(Decoded::Data(data)) => content.extend_from_slice(&data),
                other => break other,
            }
        };
        prop_assert_eq!(end, Ok(Decoded::End { trailers }));
        prop_assert_eq!(content, chunks.concat());
        prop_assert_eq!(&input[..], &rest[..]);
    }

    #[test]
    fn an_authority_is_read_as_it_is_written(text in "[A-Za-z0-9._-]{1,20}(:[0-9]{0,5})?") {
        if let Ok(authority) = check_authority(&text) {
            prop_assert_eq!(check_authority(&authority.to_string()), Ok(authority));
        }
    }

    #[test]
    fn a_head_written_out_again_is_read_the_same(fields in vec(("[a-z]{1,8}", "[!-~]{0,12}"), 0..8)) {
        let fields: String = fields.iter().map(|(name, value)| format!("x-{name}: {value}\r\n")).collect();
        let bytes = format!("GET /a HTTP/1.1\r\nhost: h\r\n{fields}\r\n");
        let first = super::head(bytes.as_bytes());
        let again: String = first.headers.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
        let again = super::head(format!("GET /a HTTP/1.1\r\n{again}\r\n").as_bytes());
        prop_assert_eq!(first.headers, again.headers);
    }
}
