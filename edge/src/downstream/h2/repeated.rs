//! The request that a connection repeats, as a block of fields, and what others have in its place.

use std::ops::Range;

use super::block;

/// Authorities of one connection that are known by their fields. Most connections have one.
const AUTHORITIES_MAX: usize = 16;

/// What a request is beside the one that is known.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Offer {
    Same,
    /// The same but for its path and its authority.
    Other,
}

/// What another request has in place of the known one's.
#[derive(Debug, Default)]
pub(super) struct Instead {
    pub(super) path: Vec<u8>,
    /// Empty where no other has a place for it.
    pub(super) authority: Vec<u8>,
}

/// The request that a connection repeats.
#[derive(Debug, Default)]
pub(super) struct Repeated {
    /// The block that a request was answered for, while the dynamic table is as it was then.
    known: Option<Known>,
    /// What fields say by that table.
    authorities: Vec<Named>,
    /// The last block that might become it, and its stream.
    last: Vec<u8>,
    stream: Option<u32>,
}

/// A block that a request was answered for.
#[derive(Debug)]
struct Known {
    block: Vec<u8>,
    places: Option<Places>,
}

/// Where fields are that others may have another way.
#[derive(Debug)]
struct Places {
    path: Range<usize>,
    authority: Option<Range<usize>>,
}

/// The fields that another block has in these places.
struct Others<'a> {
    path: &'a [u8],
    authority: Option<&'a [u8]>,
}

/// A field that was understood.
#[derive(Debug)]
struct Named {
    field: Box<[u8]>,
    authority: Box<[u8]>,
}

impl Repeated {
    /// What a block is, if it is like the one that is known.
    pub(super) fn offer(&self, block: &[u8], instead: &mut Instead) -> Option<Offer> {
        let known = self.known.as_ref()?;
        if known.block == block {
            return Some(Offer::Same);
        }
        let Others { path, authority } = known.others(block)?;
        block::read_path(path, &mut instead.path)?;
        instead.authority.clear();
        if let Some(field) = authority {
            self.read_authority(field, &mut instead.authority)?;
        }
        Some(Offer::Other)
    }

    fn read_authority(&self, field: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let mut known = self.authorities.iter();
        let Some(named) = known.find(|named| *named.field == *field) else {
            return block::read_authority(field, out);
        };
        out.extend_from_slice(&named.authority);
        Some(())
    }

    /// A block that might become the known one.
    pub(super) fn came(&mut self, block: &[u8], stream: u32) {
        self.last.clear();
        self.last.extend_from_slice(block);
        self.stream = Some(stream);
    }

    /// Remembers that the request of a stream was answered in a way that can be repeated. `authority` is its own, where others
    /// may have another.
    pub(super) fn learn(&mut self, stream: u32, authority: Option<&str>) {
        if self.stream != Some(stream) {
            return;
        }
        let place = authority.and_then(|_| block::authority_field(&self.last));
        if let (Some(authority), Some(place)) = (authority, &place) {
            self.name(place.clone(), authority);
        }
        if self.known.as_ref().is_none_or(|it| it.block != self.last) {
            let path = block::path_field(&self.last);
            let authority = place;
            self.known = Some(Known {
                places: path.map(|path| Places { path, authority }),
                block: self.last.clone(),
            });
        }
    }

    fn name(&mut self, place: Range<usize>, authority: &str) {
        let field = &self.last[place];
        if self.authorities.iter().any(|it| *it.field == *field) {
            return;
        }
        if self.authorities.len() == AUTHORITIES_MAX {
            self.authorities.remove(0);
        }
        self.authorities.push(Named {
            field: field.into(),
            authority: authority.as_bytes().into(),
        });
    }

    /// Nothing is known to be repeated, until something is learnt.
    pub(super) fn unlearn(&mut self) {
        self.known = None;
    }

    /// Nothing is repeated, whatever was learnt: the dynamic table is another one.
    pub(super) fn forget(&mut self) {
        self.known = None;
        self.authorities.clear();
        self.stream = None;
    }
}

impl Known {
    /// What another block has in place of path and authority, where it has all the other fields as well.
    fn others<'a>(&self, block: &'a [u8]) -> Option<Others<'a>> {
        let Places { path, authority } = self.places.as_ref()?;
        let Some(authority) = authority else {
            let behind = block.strip_prefix(&self.block[..path.start])?;
            return Some(Others {
                path: behind.strip_suffix(&self.block[path.end..])?,
                authority: None,
            });
        };
        let ends = [path, authority];
        let [first, second] = match path.start < authority.start {
            true => ends,
            false => [authority, path],
        };
        let behind = block.strip_prefix(&self.block[..first.start])?;
        let (one, behind) = block::first_field(behind)?;
        let behind = behind.strip_prefix(&self.block[first.end..second.start])?;
        let (two, behind) = block::first_field(behind)?;
        if *behind != self.block[second.end..] {
            return None;
        }
        Some(match path.start < authority.start {
            true => Others {
                path: one,
                authority: Some(two),
            },
            false => Others {
                path: two,
                authority: Some(one),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(repeated: &Repeated, block: &[u8]) -> Option<(Offer, String, String)> {
        let mut instead = Instead::default();
        let offer = repeated.offer(block, &mut instead)?;
        let [path, authority] = [instead.path, instead.authority];
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Some((offer, text(path), text(authority)))
    }

    fn other(path: &str, authority: &str) -> Option<(Offer, String, String)> {
        Some((Offer::Other, path.to_owned(), authority.to_owned()))
    }

    #[test]
    fn a_block_is_like_the_known_one_by_what_stands_around_path_and_authority() {
        let mut repeated = Repeated::default();
        repeated.came(b"\x82\x86\x04\x02/a\x01\x01a\x90", 1);
        repeated.learn(3, Some("a"));
        assert_eq!(told(&repeated, b"\x82\x86\x84\x01\x01a\x90"), None);
        repeated.learn(1, Some("a"));
        let same = told(&repeated, b"\x82\x86\x04\x02/a\x01\x01a\x90");
        assert_eq!(same.map(|(offer, ..)| offer), Some(Offer::Same));
        for (block, expected) in [
            (&b"\x82\x86\x84\x01\x01a\x90"[..], other("/", "a")),
            (b"\x82\x86\x04\x02/b\x01\x03b.c\x90", other("/b", "b.c")),
            (b"\x82\x86\x04\x02/b\x01\x03b.c\x91", None),
            (b"\x82\x86\x04\x02/b\x01\x03b.c", None),
            (b"\x82\x86\x04\x02/b\x90", None),
            (b"\x82\x86\x01\x01a\x04\x02/b\x90", None),
            (b"\x82\x86\x04\x02/b\x01\x01a\x90\x91", None),
            (b"\x82\x86\x04\x02/b\x41\x01a\x90", None),
            // The dynamic table is not known here.
            (b"\x82\x86\x04\x02/b\xbe\x90", None),
        ] {
            assert_eq!(told(&repeated, block), expected, "{}", block.escape_ascii());
        }
    }

    #[test]
    fn what_a_field_says_by_the_dynamic_table_is_known_while_that_is_the_same() {
        let mut repeated = Repeated::default();
        repeated.came(b"\x82\x86\xbf\x84", 1);
        repeated.learn(1, Some("a"));
        assert_eq!(told(&repeated, b"\x82\x86\xbe\x04\x02/b"), None);
        repeated.came(b"\x82\x86\xbe\x84", 3);
        repeated.learn(3, Some("b"));
        assert_eq!(told(&repeated, b"\x82\x86\xbf\x84"), other("/", "a"));
        assert_eq!(told(&repeated, b"\x82\x86\xbf\x04\x02/c"), other("/c", "a"));
        assert_eq!(told(&repeated, b"\x82\x86\xbe\x04\x02/c"), other("/c", "b"));
        repeated.unlearn();
        assert_eq!(told(&repeated, b"\x82\x86\xbe\x84"), None);
        repeated.came(b"\x82\x86\xbe\x84", 5);
        repeated.learn(5, Some("b"));
        assert_eq!(told(&repeated, b"\x82\x86\xbf\x84"), other("/", "a"));
        repeated.forget();
        repeated.came(b"\x82\x86\xbe\x84", 7);
        repeated.learn(7, Some("c"));
        assert_eq!(told(&repeated, b"\x82\x86\xbf\x84"), None);
        // Where no other may have another authority, only the path differs.
        repeated.forget();
        repeated.came(b"\x82\x86\xbe\x84", 9);
        repeated.learn(9, None);
        assert_eq!(told(&repeated, b"\x82\x86\xbe\x04\x02/c"), other("/c", ""));
        assert_eq!(told(&repeated, b"\x82\x86\xbf\x04\x02/c"), None);
    }

    #[test]
    fn no_more_authorities_are_known_than_there_is_room_for() {
        let mut repeated = Repeated::default();
        for number in 0..2 * AUTHORITIES_MAX {
            let index = 0xbe + u8::try_from(number).unwrap();
            let stream = u32::try_from(2 * number + 1).unwrap();
            repeated.came(&[0x82, 0x86, index, 0x84], stream);
            repeated.learn(stream, Some(&number.to_string()));
        }
        assert_eq!(repeated.authorities.len(), AUTHORITIES_MAX);
        assert_eq!(told(&repeated, b"\x82\x86\xbe\x84"), None);
        let last = &[0x82, 0x86, 0xbe + 17, 0x84];
        assert_eq!(told(&repeated, last), other("/", "17"));
    }
}
