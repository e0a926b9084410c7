//! The code of texts in blocks of fields (RFC 7541 §5.2, Appendix B), as far as a path may have it.
//!
//! The code is canonical: codes of one length follow each other in the order of what they stand for, and those of the
//! next length follow them. So the symbols of each length are all there is to know. Those that take more than fifteen
//! bits are in no path.

/// The shortest code, in bits.
const SHORTEST: usize = 5;
/// The codes' lengths that are known, from the shortest on.
const LENGTHS: usize = 11;

/// What the codes of each length stand for.
static SYMBOLS: [&[u8]; LENGTHS] = [
    b"012aceiost",
    b" %-./3456789=A_bdfghlmnpru",
    b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    b"&*,;XZ",
    b"",
    b"!\"()?",
    b"'+|",
    b"#>",
    b"\0$@[]~",
    b"^}",
    b"<`{",
];

/// Which codes have a length.
#[derive(Clone, Copy)]
struct Codes {
    /// The first of them.
    first: usize,
    /// The first that is longer, in so many bits.
    end: usize,
}

const CODES: [Codes; LENGTHS] = {
    let mut codes = [Codes { first: 0, end: 0 }; LENGTHS];
    let mut next = 0;
    let mut at = 0;
    while at < LENGTHS {
        let end = next + SYMBOLS[at].len();
        codes[at] = Codes { first: next, end };
        next = end << 1;
        at += 1;
    }
    codes
};

/// What a byte begins with: a symbol, and the bits of its code; none where that is longer than a byte.
const BY_BYTE: [Option<(u8, usize)>; 256] = {
    let mut table = [None; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut at = 0;
        while SHORTEST + at <= 8 {
            let bits = SHORTEST + at;
            let code = byte >> (8 - bits);
            if code >= CODES[at].first && code < CODES[at].end && table[byte].is_none() {
                let symbol = SYMBOLS[at][code - CODES[at].first];
                table[byte] = Some((symbol, bits));
            }
            at += 1;
        }
        byte += 1;
    }
    table
};

/// Decodes a text behind what is there. None for what is malformed or has a symbol that is in no path; something of it
/// may have been written then.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut bytes = coded.iter();
    // The bits that are not decoded are the last `count` of `held`.
    let (mut held, mut count) = (0_u64, 0_usize);
    loop {
        while count <= 56
            && let Some(byte) = bytes.next()
        {
            held = (held << 8) | u64::from(*byte);
            count += 8;
        }
        let Some((symbol, bits)) = symbol(held, count) else {
            // What fills the last byte are the first bits of a long code, all of them ones, and fewer than eight.
            let filling = (1_u64 << count.min(8)) - 1;
            return (count < 8 && held & filling == filling).then_some(());
        };
        out.push(symbol);
        count -= bits;
    }
}

/// The symbol that the last `count` bits begin with, and the bits of its code.
fn symbol(held: u64, count: usize) -> Option<(u8, usize)> {
    let first = |bits: usize| {
        let all = match count.checked_sub(bits) {
            Some(behind) => held >> behind,
            // As if ones followed: no code that is known consists of them.
            None => (held << (bits - count)) | ((1 << (bits - count)) - 1),
        };
        usize::try_from(all & ((1 << bits) - 1)).unwrap_or_default()
    };
    let found = BY_BYTE[first(8)].or_else(|| {
        (9..SHORTEST + LENGTHS).find_map(|bits| {
            let code = first(bits);
            let Codes { first, end } = CODES[bits - SHORTEST];
            let symbol = || SYMBOLS[bits - SHORTEST][code - first];
            (first..end).contains(&code).then(|| (symbol(), bits))
        })
    });
    found.filter(|(_, bits)| *bits <= count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    /// The other way, by the same table.
    fn encoded(text: &[u8]) -> Vec<u8> {
        let mut bits = String::new();
        for byte in text {
            let at = SYMBOLS.iter().position(|of| of.contains(byte)).unwrap();
            let place = SYMBOLS[at].iter().position(|it| it == byte).unwrap();
            let (code, width) = (CODES[at].first + place, SHORTEST + at);
            bits += &format!("{code:0width$b}");
        }
        while !bits.len().is_multiple_of(8) {
            bits.push('1');
        }
        let bytes = bits.as_bytes().chunks(8);
        bytes
            .map(|byte| u8::from_str_radix(str::from_utf8(byte).unwrap(), 2).unwrap())
            .collect()
    }

    /// RFC 7541 Appendix C.4 and C.6, and the first and last code of each length in Appendix B.
    #[test]
    fn what_the_rfc_shows_is_decoded() {
        let cases: [(&[u8], &[u8]); 12] = [
            (
                b"\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff",
                b"www.example.com",
            ),
            (b"\xa8\xeb\x10\x64\x9c\xbf", b"no-cache"),
            (b"\x25\xa8\x49\xe9\x5b\xa9\x7d\x7f", b"custom-key"),
            (b"\x25\xa8\x49\xe9\x5b\xb8\xe8\xb4\xbf", b"custom-value"),
            (b"\x64\x02", b"302"),
            (b"\xae\xc3\x77\x1a\x4b", b"private"),
            (b"", b""),
            (b"\x07", b"0"),
            (b"\xf8", b"&"),
            (b"\xfd", b"Z"),
            (b"\xfe\x3f", b"!"),
            (b"\xff\xfd", b"{"),
        ];
        for (coded, text) in cases {
            let shown = String::from_utf8_lossy(text);
            assert_eq!(decoded(coded).as_deref(), Some(text), "{shown}");
            assert_eq!(encoded(text), coded, "{shown}");
        }
    }

    #[test]
    fn every_symbol_that_is_known_comes_back_beside_every_other() {
        let all: Vec<u8> = SYMBOLS.concat();
        assert_eq!(all.len(), 95);
        for one in &all {
            for other in &all {
                let text = [*one, *other, *one];
                assert_eq!(decoded(&encoded(&text)).as_deref(), Some(&text[..]));
            }
        }
        let long: Vec<u8> = all.iter().cycle().take(10_000).copied().collect();
        assert_eq!(decoded(&encoded(&long)), Some(long));
    }

    #[test]
    fn what_is_malformed_or_not_known_is_not_decoded() {
        for coded in [
            // A byte of nothing but ones, zeros at the end, a longer code, one that is cut.
            &b"\xff"[..],
            b"\x07\xff",
            b"\x00",
            b"\xff\xfe\x1f",
            b"\xff\xff\xff\xff",
            b"\xff\xf8",
        ] {
            assert_eq!(decoded(coded), None, "{coded:x?}");
        }
    }
}
