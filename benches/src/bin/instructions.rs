//! What a hit costs in instructions, for a program that counts them.
//!
//! `instructions COUNT` does the pure part of so many hits: a head is parsed, its key made, the stored response found,
//! judged and chosen from, and the answer's head written. `.ci/instructions` runs it under valgrind with two counts: the
//! difference is what hits cost, without what the program costs. Times differ from run to run, instructions hardly do.

use std::hint::black_box;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Version;
use http::header::{self, HeaderValue};
use larder_benches::{Head, REQUEST, TARGET, THEN, exchange, request_headers, response_headers};
use policy::key::{CacheKey, KeyRules, Target};
use policy::request::RequestTerms;
use policy::reuse::Reuse;
use policy::settings::Settings;
use storage::{Key, Memory, Variant};
use wire::{Limits, Parsed, Persistence};

fn main() {
    let count = std::env::args().nth(1).and_then(|word| word.parse().ok());
    let settings = Settings::default();
    let memory = Memory::new(storage::Settings::new(1 << 20));
    let (request, response) = (request_headers(), response_headers());
    let Ok(stored) = policy::store::decide(&exchange(&request, &response), &settings) else {
        return;
    };
    let rules = KeyRules::default();
    let key = Key(CacheKey::new(&TARGET, &rules, &request).hash());
    let body = Bytes::from_static(&[b'x'; 1024]);
    let kept = memory.insert_ready(key, Variant([0; 16]), Head(stored.packed("")), body);
    let mut out = BytesMut::with_capacity(4096);
    for _ in 0..count.unwrap_or(0_u32) {
        out.clear();
        hit(&memory, (&settings, &rules, &TARGET), &mut out);
        black_box(&out);
    }
    drop(kept);
}

/// From the bytes of a request to the bytes of its answer's head.
fn hit(
    memory: &Memory<Head>,
    (settings, rules, target): (&Settings, &KeyRules, &Target<'_>),
    out: &mut BytesMut,
) {
    let limits = Limits::default();
    let Ok(Parsed::Complete { mut head, .. }) = wire::parse_request(black_box(REQUEST), &limits)
    else {
        return;
    };
    wire::remove_hop_by_hop(&mut head.headers, &head.nominated);
    let terms = RequestTerms::read(&head.method, &head.headers, settings);
    let key = CacheKey::new(target, rules, &head.headers);
    let variants = memory.lookup(Key(key.hash()));
    let heads = variants.iter().map(|object| &object.head().0);
    let Some(selected) = policy::vary::select(heads, &head.headers, &settings.vary) else {
        return;
    };
    let object = &variants[selected];
    let (stored, now) = (&object.head().0, THEN + Duration::from_secs(60));
    if !matches!(
        policy::reuse::reuse(&terms, stored, now),
        Reuse::Fresh { .. }
    ) {
        return;
    }
    let mut headers = stored.headers.to_map();
    let age = stored.reception.current_age(now).as_secs();
    headers.insert(header::AGE, HeaderValue::from(age));
    let asked = (&head.method, &head.headers);
    black_box(policy::conditional::evaluate(
        asked.0,
        asked.1,
        stored.status,
        &headers,
        THEN,
    ));
    memory.accessed(object);
    let length = Some(object.body().len());
    let framing = wire::choose_framing(
        &head.method,
        Version::HTTP_11,
        stored.status,
        &headers,
        length,
    );
    let persistence = Persistence::KeepAlive;
    wire::write_head(
        out,
        head.version,
        stored.status,
        &headers,
        &framing,
        persistence,
    );
}
