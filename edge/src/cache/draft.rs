//! A head that is put together without a copy of what is stored.

use policy::packed::{Packed, PackedField};
use smallvec::SmallVec;
use wire::Field;

/// Fields that have room without an allocation.
const USUAL: usize = 24;

/// The fields of a head, in the order in which a [`HeaderMap`](http::HeaderMap) would have them after the same changes: who is answered
/// from a draft gets the same bytes as who is answered from a map.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    /// Those of one name are together.
    fields: SmallVec<[Field<'a>; USUAL]>,
}

impl<'a> Draft<'a> {
    pub(super) fn of(fields: &'a Packed) -> Self {
        let field = |field: PackedField<'a>| Field {
            name: field.name,
            value: [field.value, b"", b""],
        };
        Self {
            fields: fields.iter().map(field).collect(),
        }
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = Field<'a>> {
        self.fields.iter().copied()
    }

    /// As `HeaderMap::append`: behind what the field has already.
    pub(super) fn append(&mut self, name: &'a str, value: [&'a [u8]; 3]) {
        let field = Field { name, value };
        match self.fields.iter().rposition(|other| other.name == name) {
            Some(last) => self.fields.insert(last + 1, field),
            None => self.fields.push(field),
        }
    }

    /// As `HeaderMap::insert`: in place of what the field has.
    pub(super) fn insert(&mut self, name: &'a str, value: [&'a [u8]; 3]) {
        let Some(first) = self.fields.iter().position(|other| other.name == name) else {
            return self.fields.push(Field { name, value });
        };
        self.fields[first].value = value;
        let rest = self.fields[first + 1..].iter();
        let more = rest.take_while(|other| other.name == name).count();
        self.fields.drain(first + 1..first + 1 + more);
    }

    /// As `HeaderMap::remove`: the last field takes its place.
    pub(super) fn remove(&mut self, name: &str) {
        let is_own = |field: &Field<'_>| field.name == name;
        let Some(first) = self.fields.iter().position(is_own) else {
            return;
        };
        let own = self.fields[first..].iter();
        let own = own.take_while(|field| is_own(field)).count();
        let behind = first + own;
        let Some(last) = self.fields[behind..].last().map(|field| field.name) else {
            return self.fields.truncate(first);
        };
        let begin = self.fields.iter().position(|other| other.name == last);
        let moved: SmallVec<[Field<'a>; 4]> = begin
            .map(|begin| self.fields.drain(begin..).collect())
            .unwrap_or_default();
        self.fields.drain(first..behind);
        self.fields.insert_many(first, moved);
    }
}

/// Whether one of the values is a secret.
pub(super) fn has_secret(fields: &Packed) -> bool {
    fields.iter().any(|field| field.is_secret)
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderMap, HeaderName, HeaderValue};

    use super::*;

    const NAMES: [&str; 6] = ["age", "via", "x-a", "x-b", "vary", "date"];

    fn shown(draft: &Draft<'_>) -> Vec<(String, Vec<u8>)> {
        let fields = draft.fields();
        fields
            .map(|field| (field.name.to_string(), field.value.concat()))
            .collect()
    }

    fn expected(headers: &HeaderMap) -> Vec<(String, Vec<u8>)> {
        let fields = headers.iter();
        fields
            .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
            .collect()
    }

    /// Numbers that look like chance, and are the same each time.
    fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
        let mut state = seed;
        move |below| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(state >> 33).unwrap() % below
        }
    }

    #[test]
    fn a_draft_has_the_order_that_a_map_has() {
        let names = NAMES.map(HeaderName::from_static);
        for seed in 0..2_000 {
            let mut next = numbers(seed);
            let mut headers = HeaderMap::new();
            for number in 0..next(10) {
                let name = names[next(names.len())].clone();
                headers.append(name, HeaderValue::from(number));
            }
            let stored = Packed::new(&headers, "");
            let mut draft = Draft::of(&stored);
            for _ in 0..next(8) {
                let name = &names[next(names.len())];
                match next(3) {
                    0 => {
                        headers.append(name, HeaderValue::from_static("appended"));
                        draft.append(name.as_str(), [b"app", b"end", b"ed"]);
                    }
                    1 => {
                        headers.insert(name, HeaderValue::from_static("inserted"));
                        draft.insert(name.as_str(), [b"inserted", b"", b""]);
                    }
                    _ => {
                        headers.remove(name);
                        draft.remove(name.as_str());
                    }
                }
                assert_eq!(shown(&draft), expected(&headers), "{seed}");
            }
        }
    }
}
