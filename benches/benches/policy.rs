//! The decisions of a request: its key, whether what is stored may be used, whether what came may be stored.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;
use larder_benches::{TARGET, THEN, exchange, request_headers, response_headers};
use policy::key::{CacheKey, Keep, KeyRules, Order, Pattern, QueryRules};
use policy::request::RequestTerms;
use policy::settings::Settings;

fn key(c: &mut Criterion) {
    let request = request_headers();
    let plain = KeyRules::default();
    let chosen = KeyRules {
        query: QueryRules {
            keep: Keep::Except(vec![Pattern::new("utm_*")]),
            order: Order::ByName,
        },
        cookies: vec!["currency".to_owned()],
        ..KeyRules::default()
    };
    for (name, rules) in [("key/plain", plain), ("key/chosen", chosen)] {
        c.bench_function(name, |b| {
            b.iter(|| CacheKey::new(black_box(&TARGET), &rules, &request));
        });
    }
}

fn reuse(c: &mut Criterion) {
    let (request, response) = (request_headers(), response_headers());
    let settings = Settings::default();
    let stored = policy::store::decide(&exchange(&request, &response), &settings)
        .expect("a response that may be stored");
    let now = THEN + Duration::from_secs(60);
    c.bench_function("reuse/read-request", |b| {
        b.iter(|| RequestTerms::read(&Method::GET, black_box(&request), &settings));
    });
    let terms = RequestTerms::read(&Method::GET, &request, &settings);
    c.bench_function("reuse/fresh", |b| {
        b.iter(|| policy::reuse::reuse(black_box(&terms), &stored, now));
    });
    c.bench_function("reuse/select-variant", |b| {
        b.iter(|| {
            stored
                .selecting
                .matches(black_box(&request), &settings.vary)
        });
    });
}

fn decide(c: &mut Criterion) {
    let (request, response) = (request_headers(), response_headers());
    let settings = Settings::default();
    c.bench_function("decide/store", |b| {
        b.iter(|| policy::store::decide(black_box(&exchange(&request, &response)), &settings));
    });
}

criterion_group!(benches, key, reuse, decide);
criterion_main!(benches);
