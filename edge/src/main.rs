//! `larder`: arguments, configuration, run, exit status.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use cli::{Cli, Command};
use config::Config;
use larder::token::{self, Found, Place};
use larder::{Drained, Running, demo};
use tokio::signal::unix::{SignalKind, signal};

/// The configuration is wrong.
const EXIT_CONFIGURATION: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run {
            config: Some(file), ..
        } => run(config::load(&file), None),
        Command::Run {
            config: None,
            flags,
        } => run(config::from_flags(&flags.into()), None),
        Command::Check { file } => match config::load(&file) {
            Ok(_) => ExitCode::SUCCESS,
            Err(problems) => misconfigured(&problems),
        },
        Command::Init { flags } => match config::init(&flags.into()) {
            Ok(text) => show(&text),
            Err(problems) => misconfigured(&problems),
        },
        Command::Demo { listen, admin } => start_demo(listen, admin),
    }
}

fn show(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE, // whoever read it has gone
    }
}

#[expect(clippy::print_stderr, reason = "messages go to standard error")]
fn say(message: &str) {
    eprintln!("{message}");
}

fn misconfigured(problems: &config::Problems) -> ExitCode {
    say(&problems.to_string());
    ExitCode::from(EXIT_CONFIGURATION)
}

fn failed(message: &str) -> ExitCode {
    say(&format!("larder: {message}"));
    ExitCode::FAILURE
}

fn start_demo(listen: String, admin: String) -> ExitCode {
    let origin = match demo::Origin::bind() {
        Ok(origin) => origin,
        Err(error) => return failed(&format!("the sample origin cannot listen: {error}")),
    };
    let flags = config::Flags {
        origins: vec![format!("http://{}", origin.address())],
        listen: vec![listen],
        admin: Some(admin),
        log: Some("off".to_owned()),
        ..config::Flags::default()
    };
    run(config::from_flags(&flags), Some(origin))
}

fn run(config: Result<Config, config::Problems>, origin: Option<demo::Origin>) -> ExitCode {
    let config = match config {
        Ok(config) => config,
        Err(problems) => return misconfigured(&problems),
    };
    log_messages(config.log.level);
    larder::install_provider();
    let found = match token::find(config.admin.token_file.as_deref()) {
        Ok(found) => found,
        Err(error) => return failed(&error),
    };
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = config.node.threads {
        runtime.worker_threads(threads.get());
    }
    let runtime = match runtime.enable_all().thread_name("larder").build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.to_string()),
    };
    runtime.block_on(serve(config, found, origin))
}

/// Messages on standard error.
fn log_messages(level: config::model::Level) {
    use tracing_subscriber::filter::EnvFilter;
    let default = format!("{},{}", level.as_str(), larder::QUIET);
    let filter = EnvFilter::try_from_env("LARDER_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_target(false)
        .init();
}

async fn serve(config: Config, found: Found, origin: Option<demo::Origin>) -> ExitCode {
    let summary = Summary::of(&config);
    let Found { token, place } = found;
    let running = match larder::start(config, token) {
        Ok(running) => running,
        Err(error) => return failed(&error.to_string()),
    };
    say(&summary.text(&running, &place));
    if let Some(origin) = origin {
        say(&demo::what_to_try(&running.listening));
        tokio::spawn(origin.serve());
    }
    wait_for_signal().await;
    say("larder: draining");
    match running.drain().await {
        Drained::Complete => ExitCode::SUCCESS,
        Drained::Cut => failed("the grace time ended before every request was finished"),
    }
}

async fn wait_for_signal() {
    let terminate = signal(SignalKind::terminate());
    let interrupt = signal(SignalKind::interrupt());
    if let (Ok(mut terminate), Ok(mut interrupt)) = (terminate, interrupt) {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// What an operator wants to know of a node that has started.
struct Summary {
    name: String,
    sites: Vec<String>,
    memory: u64,
}

impl Summary {
    fn of(config: &Config) -> Self {
        let site = |site: &config::model::Site| {
            let hosts: Vec<_> = site.hosts.iter().map(ToString::to_string).collect();
            let origins: Vec<_> = site.origins.iter().map(origin_url).collect();
            format!("{} from {}", hosts.join(" "), origins.join(" "))
        };
        Self {
            name: config.node.name.clone(),
            sites: config.sites.iter().map(site).collect(),
            memory: config.memory.size,
        }
    }

    fn text(&self, running: &Running, place: &Place) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let mebibytes = self.memory / (1 << 20);
        let mut lines = vec![format!(
            "larder {version} · node {} · {mebibytes} MiB of memory",
            self.name
        )];
        lines.extend(self.sites.iter().map(|site| format!("  site   {site}")));
        let listening = running.listening.iter();
        lines.extend(listening.map(|address| format!("  serves {address}")));
        let place = match place {
            Place::File(path) => path.display().to_string(),
            Place::Environment => token::VARIABLE.to_owned(),
        };
        lines.push(format!(
            "  admin  http://{}/metrics · token in {place}",
            running.admin
        ));
        lines.join("\n")
    }
}

fn origin_url(origin: &config::model::Origin) -> String {
    let scheme = match origin.transport {
        config::model::OriginTransport::Plain => "http",
        config::model::OriginTransport::Tls { .. } => "https",
    };
    format!("{scheme}://{}:{}", origin.host, origin.port)
}
