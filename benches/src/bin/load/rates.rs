//! How long answers take at a fixed rate, nine hits to one miss.

use std::path::Path;

use crate::Options;
use crate::driver::{Driver, Latency};
use crate::server::{Kind, Server, Setting};

const PEERS: &[Kind] = &[
    Kind::Haproxy,
    Kind::Nginx,
    Kind::Varnish,
    Kind::TrafficServer,
];

/// The latencies of everybody's turns.
pub(crate) fn measure(
    options: &Options,
    setting: &Setting<'_>,
    folder: &Path,
) -> Vec<(String, Vec<Latency>)> {
    let setting = Setting {
        logs: true,
        ..*setting
    };
    let driver = Driver {
        core: 1,
        seconds: options.seconds,
        connections: 32,
    };
    let stored = (0..9).map(|number| format!("/stored/1024/{number}"));
    let paths: Vec<String> = stored.chain(["/passed/1024/x".to_owned()]).collect();
    let kinds = options.larders.iter().chain(PEERS).enumerate();
    let servers = kinds.filter_map(|(number, kind)| {
        let folder = folder.join(format!("rate-{number}"));
        Server::start(kind.clone(), &folder, &setting).ok()
    });
    let servers: Vec<Server> = servers.collect();
    let mut told: Vec<_> = servers
        .iter()
        .map(|server| (server.kind.label(), Vec::new()))
        .collect();
    for turn in 0..=options.turns {
        for (server, (_, latencies)) in servers.iter().zip(&mut told) {
            let latency = driver.at_rate(server, &paths, options.rate, folder);
            if turn > 0 {
                latencies.extend(latency);
            }
        }
    }
    told
}
