//! Structured fields (RFC 9651), as far as caching needs them.

use http::header::HeaderName;
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use crate::packed::Fields;

/// All lines of a field as one value (RFC 9651 §4.2).
fn combined(headers: &impl Fields, name: &HeaderName) -> Vec<u8> {
    let lines: Vec<&[u8]> = headers.lines(name.clone()).collect();
    lines.join(&b", "[..])
}

/// The members of a list of strings; parameters mean nothing. None if it is something else.
pub(crate) fn strings(headers: &impl Fields, name: &HeaderName) -> Option<Vec<String>> {
    if !headers.has(name.clone()) {
        return None;
    }
    let list = Parser::parse_list(&combined(headers, name)).ok()?;
    list.into_iter()
        .map(|entry| match entry {
            ListEntry::Item(item) => string(item.bare_item),
            ListEntry::InnerList(_) => None,
        })
        .collect()
}

/// A dictionary. None if it is something else, or not there.
pub(crate) fn dictionary(headers: &impl Fields, name: &HeaderName) -> Option<Dictionary> {
    if !headers.has(name.clone()) {
        return None;
    }
    Parser::parse_dictionary(&combined(headers, name)).ok()
}

/// The strings of an inner list. None if one is no string.
pub(crate) fn inner_strings(entry: &ListEntry) -> Option<Vec<String>> {
    let ListEntry::InnerList(list) = entry else {
        return None;
    };
    let items = list.items.iter();
    items.map(|item| string(item.bare_item.clone())).collect()
}

/// A boolean member of a dictionary.
pub(crate) fn boolean(entry: &ListEntry) -> Option<bool> {
    match entry {
        ListEntry::Item(item) => match item.bare_item {
            BareItem::Boolean(value) => Some(value),
            _ => None,
        },
        ListEntry::InnerList(_) => None,
    }
}

fn string(item: BareItem) -> Option<String> {
    match item {
        BareItem::String(string) => Some(string),
        _ => None,
    }
}
