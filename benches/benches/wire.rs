//! A request read from the wire, and a response's head written to it.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::{Method, StatusCode, Version};
use larder_benches::{REQUEST, response_headers};
use wire::{Limits, Persistence};

fn parse(c: &mut Criterion) {
    let limits = Limits::default();
    let mut group = c.benchmark_group("wire");
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("parse", |b| {
        b.iter(|| wire::parse_request(black_box(REQUEST), &limits));
    });
    group.finish();
}

fn write_head(c: &mut Criterion) {
    let headers = response_headers();
    let mut out = BytesMut::with_capacity(4096);
    c.bench_function("wire/write-head", |b| {
        b.iter(|| {
            out.clear();
            let framing = wire::choose_framing(
                &Method::GET,
                Version::HTTP_11,
                StatusCode::OK,
                &headers,
                Some(10_240),
            );
            wire::write_head(
                &mut out,
                Version::HTTP_11,
                StatusCode::OK,
                black_box(&headers),
                &framing,
                Persistence::KeepAlive,
            );
            out.len()
        });
    });
}

criterion_group!(benches, parse, write_head);
criterion_main!(benches);
