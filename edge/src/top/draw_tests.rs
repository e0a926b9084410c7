use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent};
use serde_json::{Value, json};

use super::*;
use crate::top::screen::Scope;

const SIZES: [(u16, u16); 6] = [(80, 24), (40, 12), (200, 60), (120, 40), (10, 4), (1, 1)];

/// What is drawn, line by line.
fn drawn(facts: &Facts, screen: &Screen, (width, height): (u16, u16)) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, facts, screen)).unwrap();
    let buffer = terminal.backend().buffer();
    (0..height)
        .map(|y| {
            let signs = (0..width).map(|x| buffer[(x, y)].symbol());
            signs.collect::<String>().trim_end().to_owned()
        })
        .collect()
}

fn figures(requests: u64, ratio: f64) -> Value {
    json!({
        "requests": requests, "counted": requests, "errors": 0, "bytes": requests * 1000,
        "requests_per_second": requests as f64 / 60.0, "bytes_per_second": 12_345_678.0,
        "origin_requests_per_second": 3.2, "origin_bytes": 123_456, "hit_ratio": ratio,
        "byte_hit_ratio": ratio, "offload": ratio, "p50_ms": 0.41, "p99_ms": 12.3,
    })
}

fn with(mut figures: Value, names: Value) -> Value {
    let names = names.as_object().unwrap().clone();
    figures.as_object_mut().unwrap().extend(names);
    figures
}

fn busy() -> Facts {
    let sites = (0..200u64).map(|number| {
        with(
            figures(2000 - number, 0.871),
            json!({ "name": format!("site-{number:03}.example") }),
        )
    });
    let rules = (0..256u64).map(|number| {
        with(
            figures(2000 - number, 0.5),
            json!({ "site": format!("site-{number:03}"), "rule": "assets" }),
        )
    });
    let urls = (0..256u64).map(|number| {
        let url =
            format!("www.example.com/a/rather/long/path/to/something/{number}?with=a&query=too");
        json!({ "site": "site-000.example", "url": url, "count": 1_000_000 / (number + 1) })
    });
    let urls: Vec<_> = urls.collect();
    let names = [
        "hit",
        "stale",
        "updating",
        "revalidated",
        "miss",
        "expired",
        "bypass",
    ];
    let outcomes = names.map(|name| with(figures(1000, 0.5), json!({ "name": name })));
    let reasons = [
        "cold",
        "evicted",
        "purged",
        "set-cookie",
        "request-no-store",
        "no-freshness",
    ];
    let mut facts = Facts::read(json!({
        "node": "fra-1", "version": "0.1.0", "now": "2026-01-01T00:00:00Z", "uptime_seconds": 266_400,
        "configuration": { "generation": 2, "hash": "0", "since": "2026-01-01T00:00:00Z", "seconds": 240 },
        "window": with(figures(740_000, 0.871), json!({ "seconds": 60.0 })),
        "outcomes": outcomes,
        "tiers": [with(figures(1000, 0.5), json!({ "name": "memory" }))],
        "sites": sites.collect::<Vec<_>>(), "rules": rules.collect::<Vec<_>>(),
        "reasons": reasons.map(|reason| json!({ "reason": reason, "requests": 123 })),
        "collapsed": 12, "origin": { "kinds": [], "p50_ttfb_ms": 20.1, "p99_ttfb_ms": 181.0 },
        "top": { "misses": urls, "bytes": urls },
        "memory": { "objects": 12_345, "bytes": 402 << 20, "bytes_max": 512 << 20 },
        "disks": [{ "path": "/var/cache/larder", "bytes_max": 1u64 << 34, "segments": 100, "segments_free": 60 }],
        "connections": 123,
    }))
    .unwrap();
    facts.origins = Some(
        json!({ "origins": [{ "site": "s", "origin": "http://10.0.0.5:3000", "state": "up" }] }),
    );
    facts.tiers = Some(
        json!({ "role": "edge", "parents": [{ "id": "shield-1", "state": "up", "in_flight": 3 }] }),
    );
    facts.curve = Some(
        json!({ "state": "told", "points": [{ "change": "memory", "factor": 2.0, "request_hit_ratio": 0.9,
        "request_hit_ratio_error": 0.008, "byte_hit_ratio": 0.8, "byte_hit_ratio_error": 0.02 }],
        "filling": [{ "change": "disk", "factor": 4.0, "filled": 0.53 }] }),
    );
    facts
}

fn watching() -> Screen {
    let mut screen = Screen::new(Scope::default(), Duration::from_secs(2));
    screen.rates = (0..200).map(f64::from).collect();
    screen
}

fn press(screen: &mut Screen, facts: &Facts, keys: &str) {
    for key in keys.chars() {
        screen.press(KeyEvent::from(KeyCode::Char(key)), facts);
    }
}

#[test]
fn every_table_fits_every_size() {
    for facts in [busy(), Facts::default()] {
        for size in SIZES {
            for panel in 0..10 {
                let mut screen = watching();
                press(&mut screen, &facts, &panel.to_string());
                let lines = drawn(&facts, &screen, size);
                let title = screen.panel().title();
                let room = size.0 >= 40;
                let is_there = lines.iter().any(|line| line.contains(title));
                assert!(
                    is_there || !room,
                    "{title} at {size:?}:\n{}",
                    lines.join("\n")
                );
            }
        }
    }
}

#[test]
fn a_terminal_of_80_by_24_has_all_that_matters() {
    let lines = drawn(&busy(), &watching(), (80, 24));
    let text = lines.join("\n");
    for part in [
        "fra-1  larder 0.1.0, up 3d 2h, reloaded 4m ago",
        "last 1m every 2s",
        "requests 12.3k/s",
        "hits 87.1 %   bytes 87.1 %   offload 87.1 %   errors 0   collapsed 12",
        "p50 0.41 ms   p99 12 ms   sent 11.8 MiB/s   origin 3.2/s 2.01 KiB/s",
        "origin's first byte: p50 20 ms   p99 181 ms   connections 123",
        "402 MiB of 512 MiB, 12.3k objects",
        "9 outcomes 7",
        "req/s   share      p50    p99",
        "0 why it was no hit 6",
        "set-cookie",
        "1 URLs by misses 256",
        "1.00M",
        "? help  q end  tab next  / filter  s sort  enter site  w time  p pause",
    ] {
        assert!(text.contains(part), "{part:?} in:\n{text}");
    }
}

#[test]
fn a_large_terminal_has_several_tables_side_by_side() {
    let text = drawn(&busy(), &watching(), (200, 60)).join("\n");
    for title in [
        "1 URLs by misses",
        "2 URLs by bytes",
        "3 sites 200",
        "4 rules 256",
        "5 origins 1",
        "6 tiers 1",
    ] {
        assert!(text.contains(title), "{title:?} in:\n{text}");
    }
}

#[test]
fn without_requests_it_says_so() {
    let text = drawn(&Facts::default(), &Screen::default(), (80, 24)).join("\n");
    for part in [
        "requests 0/s",
        "hits –",
        "no requests in this time",
        "no misses lately",
    ] {
        assert!(text.contains(part), "{part:?} in:\n{text}");
    }
}

#[test]
fn the_last_of_200_sites_can_be_reached() {
    let facts = busy();
    let mut screen = watching();
    press(&mut screen, &facts, "3");
    screen.press(KeyEvent::from(KeyCode::End), &facts);
    for size in [(80, 24), (40, 12), (200, 60)] {
        let lines = drawn(&facts, &screen, size);
        assert!(
            lines.iter().any(|line| line.contains("site-199")),
            "{}",
            lines.join("\n")
        );
    }
    press(&mut screen, &facts, "/site-15");
    let text = drawn(&facts, &screen, (80, 24)).join("\n");
    assert!(
        text.contains("3 sites 10") && text.contains("only rows with: site-15"),
        "{text}"
    );
}

#[test]
fn what_is_wrong_takes_the_last_line() {
    let mut screen = watching();
    screen.trouble = Some("no answer from 10.0.0.1:9180: it is gone".to_owned());
    let lines = drawn(&busy(), &screen, (80, 24));
    assert!(lines[0].ends_with("no answer"), "{}", lines[0]);
    assert_eq!(lines[23], "no answer from 10.0.0.1:9180: it is gone");
    assert!(
        lines.join("\n").contains("12.3k objects"),
        "what was known is still there"
    );
}

#[test]
fn help_has_a_line_for_each_key() {
    let mut screen = watching();
    press(&mut screen, &Facts::default(), "?");
    let text = drawn(&busy(), &screen, (80, 24)).join("\n");
    for (keys, does) in HELP {
        assert!(
            text.contains(keys) && text.contains(does),
            "{keys}:\n{text}"
        );
    }
}
