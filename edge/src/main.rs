//! `larder`: arguments, configuration, run, exit status.

mod cli;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use cli::{CacheCommand, Cli, Command};
use config::{Config, model};
use larder::DISK_QUIET;
use larder::admin_client::Client;
use larder::cache_command::{self, Health, Told};
use larder::curve_command;
use larder::explain_command;
use larder::fleet::{self, setup::Done};
use larder::fleet_command;
use larder::log_command;
use larder::purge_command::{Answer, Outcome, Progress, Request};
use larder::reload_command;
use larder::show_command::{self, Form, Shown};
use larder::tier_command;
use larder::token::{self, Found, Place};
use larder::{Drained, Running, demo, top};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Bodies come and go in pieces of all sizes on all threads. Of the allocators measured, this one keeps least of what
/// was freed; `.cargo/config.toml` tells it how long.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The configuration is wrong.
const EXIT_CONFIGURATION: u8 = 2;
/// A purge is durable, and not all nodes have applied it.
const EXIT_PENDING: u8 = 3;
/// Takes the place of `log.level`, for one run.
const LOG_VARIABLE: &str = "LARDER_LOG";

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run {
            config: Some(file), ..
        } => run((config::load(&file), Some(file)), None),
        Command::Run {
            config: None,
            flags,
        } => run((config::from_flags(&flags.into()), None), None),
        Command::Check { explain_key, file } => match config::load(&file) {
            Ok(config) if explain_key => show(&config::explain_key(&config)),
            Ok(config) => check(&config),
            Err(problems) => misconfigured(&problems),
        },
        Command::Init { flags } => match config::init(&flags.into()) {
            Ok(text) => show(&text),
            Err(problems) => misconfigured(&problems),
        },
        Command::Cache(CacheCommand::Inspect { dir }) => look(cache_command::inspect(&dir)),
        Command::Cache(CacheCommand::Verify { dir }) => look(cache_command::verify(&dir)),
        Command::Purge(asked) => purge(&asked),
        Command::Reload(asked) => reload(&asked),
        Command::Simulate(asked) => simulate(asked),
        Command::Explain(asked) => explain(&asked),
        Command::Log(asked) => follow(&asked),
        Command::Curve { svg, asked } => curve(&asked, svg.as_deref()),
        Command::Egress(cli::Egress::List(asked)) => show_of(&asked, Shown::Egress),
        Command::Origins(asked) => show_of(&asked, Shown::Origins),
        Command::Top(asked) => show_top(asked),
        Command::Tier(command) => tell_tier(&command),
        Command::Fleet { command } => set_up_fleet(command),
        Command::Demo { listen, admin } => start_demo(listen, admin),
    }
}

fn set_up_fleet(command: cli::Fleet) -> ExitCode {
    let (file, replicas) = match command {
        cli::Fleet::Accounts { stream } => return show(&fleet::setup::accounts(&stream)),
        cli::Fleet::Status(asked) => return tell_fleet(&asked),
        cli::Fleet::Init { config, replicas } => (config, replicas),
    };
    let config = match config::load(&file) {
        Ok(config) => config,
        Err(problems) => return misconfigured(&problems),
    };
    let Some(fleet) = config.fleet else {
        return failed("the configuration has no [fleet] with servers");
    };
    let plan = larder::plan_fleet(fleet, replicas.into());
    larder::install_provider();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(plan.carry_out()),
        Err(error) => return failed(&error.to_string()),
    };
    match done {
        Ok(Done::Made { log }) => show(&format!("made stream {}: log {log}\n", plan.stream)),
        Ok(Done::Sound { log }) => show(&format!(
            "stream {} is there, and as it should be: log {log}\n",
            plan.stream
        )),
        Err(error) => failed(&error),
    }
}

/// Asks a node, with the token that opens its admin API, and shows what comes of it.
fn ask(
    node: &cli::NodeArgs,
    show: impl FnOnce(Client<'_>) -> Result<ExitCode, String>,
) -> ExitCode {
    let shown = token::find(node.admin_token_file.as_deref()).and_then(|found| {
        show(Client {
            admin: &node.admin,
            token: &found.token,
        })
    });
    shown.unwrap_or_else(|error| failed(&error))
}

fn follow(asked: &cli::Log) -> ExitCode {
    let form = match asked.json {
        true => log_command::Form::Json,
        false => log_command::Form::Text,
    };
    let mut out = std::io::stdout();
    let show = |line: &str| {
        let written = writeln!(out, "{line}").and_then(|()| out.flush());
        written.map_err(|error| error.to_string())
    };
    ask(&asked.node, |node| {
        log_command::follow(node, asked.filter.as_deref(), form, show)?;
        Ok(ExitCode::SUCCESS)
    })
}

fn tell_tier(cli::TierCommand::Status(asked): &cli::TierCommand) -> ExitCode {
    ask(&asked.node, |node| {
        let tier = tier_command::status(node)?;
        Ok(match asked.json {
            true => show(&format!("{tier}\n")),
            false => show(&tier_command::lines(&tier)),
        })
    })
}

fn tell_fleet(asked: &cli::Showing) -> ExitCode {
    ask(&asked.node, |node| {
        let fleet = fleet_command::status(node)?;
        Ok(match asked.json {
            true => show(&format!("{fleet}\n")),
            false => show(&fleet_command::lines(&fleet)),
        })
    })
}

fn explain(asked: &cli::Explain) -> ExitCode {
    let tell = |answer: &serde_json::Value| match asked.json {
        true => show(&format!("{answer}\n")),
        false => show(&explain_command::lines(answer)),
    };
    if let (Some(id), [_, ..]) = (&asked.id, &asked.log[..]) {
        return match explain_command::in_logs(id, &asked.log) {
            Ok(answer) => tell(&answer),
            Err(why) => failed(&why),
        };
    }
    ask(&asked.node, |node| {
        let answer = explain_command::Question::from(asked).ask(node)?;
        Ok(tell(&answer))
    })
}

fn purge(asked: &cli::Purge) -> ExitCode {
    let found = match token::find(asked.node.admin_token_file.as_deref()) {
        Ok(found) => found,
        Err(error) => return failed(&error),
    };
    let mut progress = Progress::default();
    let mut tell = |line: &str| {
        if !asked.json {
            show(&format!("{line}\n"));
        }
    };
    let request = Request::from(asked);
    match request.send(&asked.node.admin, &found.token, &mut progress, &mut tell) {
        Ok(answer) if asked.json => {
            show(&format!("{}\n", answer.document));
            exit(&answer)
        }
        Ok(answer) if answer.outcome() == Outcome::Refused => failed(&answer.lines(&mut progress)),
        Ok(answer) => {
            show(&format!("{}\n", answer.lines(&mut progress)));
            exit(&answer)
        }
        Err(error) => failed(&error),
    }
}

/// Success means that what the file says is in force.
fn reload(asked: &cli::Showing) -> ExitCode {
    ask(&asked.node, |node| {
        let told = reload_command::reload(node)?;
        if asked.json {
            show(&format!("{}\n", told.document));
        }
        let status = match told.outcome {
            reload_command::Outcome::Taken => ExitCode::SUCCESS,
            reload_command::Outcome::Wrong => ExitCode::from(EXIT_CONFIGURATION),
            reload_command::Outcome::Refused => ExitCode::FAILURE,
        };
        match told.outcome {
            _ if asked.json => {}
            reload_command::Outcome::Taken => return Ok(show(&told.lines())),
            reload_command::Outcome::Wrong | reload_command::Outcome::Refused => {
                say(&told.lines());
            }
        }
        Ok(status)
    })
}

fn simulate(asked: cli::Simulate) -> ExitCode {
    let files = asked.config.iter();
    let named = files.map(|file| (file.display().to_string(), config::load(file)));
    let mut given: Vec<_> = named.collect();
    if given.is_empty() {
        let flags = config::Flags {
            origins: vec!["http://origin.invalid".to_owned()],
            ..config::Flags::default()
        };
        given.push(("defaults".to_owned(), config::from_flags(&flags)));
    }
    let mut configurations = Vec::new();
    for (name, config) in given {
        let config = match config {
            Ok(config) => config,
            Err(problems) => return misconfigured(&problems),
        };
        match larder::simulated(config) {
            Ok(configured) => configurations.push((name, configured)),
            Err(error) => return failed(&format!("{name}: {error}")),
        }
    }
    let json = asked.json;
    match asked.with(configurations).run() {
        Ok(simulated) if json => match serde_json::to_string(&simulated) {
            Ok(text) => show(&(text + "\n")),
            Err(error) => failed(&error.to_string()),
        },
        Ok(simulated) => show(&simulated.lines()),
        Err(error) => failed(&error),
    }
}

fn curve(asked: &cli::Showing, svg: Option<&Path>) -> ExitCode {
    ask(&asked.node, |node| {
        let told = curve_command::ask(node)?;
        Ok(match svg {
            Some(file) => match std::fs::write(file, told.svg()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&format!("{}: {error}", file.display())),
            },
            None if asked.json => show(&told.json()),
            None => show(&told.lines()),
        })
    })
}

fn show_of(asked: &cli::Showing, shown: Shown) -> ExitCode {
    let form = match asked.json {
        true => Form::Json,
        false => Form::Lines,
    };
    ask(&asked.node, |node| {
        Ok(show(&show_command::show(node, shown, form)?))
    })
}

fn show_top(asked: cli::Top) -> ExitCode {
    let found = match token::find(asked.node.admin_token_file.as_deref()) {
        Ok(found) => found,
        Err(error) => return failed(&error),
    };
    let mut output = std::io::stdout();
    let form = match (asked.json, output.is_terminal()) {
        (true, _) => top::Form::Json,
        (false, true) => top::Form::Screen,
        (false, false) => top::Form::Text,
    };
    let options = top::Options {
        admin: asked.node.admin,
        interval: asked.interval.map(Duration::from_secs),
        site: asked.site,
        form,
    };
    match top::show(options, found.token, &mut output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// A status that scripts can trust: success means that the purge is applied where it was waited for.
fn exit(answer: &Answer) -> ExitCode {
    match answer.outcome() {
        Outcome::Done => ExitCode::SUCCESS,
        Outcome::Refused => ExitCode::FAILURE,
        Outcome::Pending => ExitCode::from(EXIT_PENDING),
    }
}

/// A status that scripts can trust: success means that nothing is wrong.
fn look(told: Result<Told, String>) -> ExitCode {
    match told {
        Ok(Told { text, health }) => match (show(&text), health) {
            (shown, Health::Sound) => shown,
            (_, Health::Damaged) => ExitCode::FAILURE,
        },
        Err(error) => failed(&error),
    }
}

fn show(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE, // whoever read it has gone
    }
}

/// A message on standard error. A node whose messages nobody reads any more goes on serving.
fn say(message: &str) {
    drop(writeln!(std::io::stderr(), "{message}"));
}

fn misconfigured(problems: &config::Problems) -> ExitCode {
    say(&problems.to_string());
    ExitCode::from(EXIT_CONFIGURATION)
}

/// What a start would find wrong with the files that a configuration names.
fn check(config: &Config) -> ExitCode {
    larder::install_provider();
    match larder::check(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            say(&format!("larder: {problem}"));
            ExitCode::from(EXIT_CONFIGURATION)
        }
    }
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
    run((config::from_flags(&flags), None), Some(origin))
}

/// Serves by a configuration, and by what its file, if it has one, says later.
fn run(
    (config, file): (Result<Config, config::Problems>, Option<PathBuf>),
    origin: Option<demo::Origin>,
) -> ExitCode {
    let config = match config {
        Ok(config) => config,
        Err(problems) => return misconfigured(&problems),
    };
    if let Err(message) = log_messages(config.log.level) {
        return failed(&message);
    }
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
    let ended = runtime.block_on(serve((config, file), found, origin));
    runtime.shutdown_background(); // a name that is being looked up must not keep the process
    ended
}

/// Messages on standard error, as the configuration or [`LOG_VARIABLE`] says.
fn log_messages(level: model::Level) -> Result<(), String> {
    use tracing_subscriber::filter::EnvFilter;
    let filter = match std::env::var(LOG_VARIABLE) {
        Ok(directives) => EnvFilter::try_new(&directives)
            .map_err(|error| format!("{LOG_VARIABLE}={directives}: {error}; try `debug`"))?,
        Err(_unset) => {
            let quiet = [larder::QUIET, fleet::QUIET, DISK_QUIET].join(",");
            EnvFilter::new(format!("{},{quiet}", level.as_str()))
        }
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_target(false)
        .log_internal_errors(false) // of a standard error that is closed it would tell there
        .init();
    Ok(())
}

async fn serve(
    (config, file): (Config, Option<PathBuf>),
    found: Found,
    origin: Option<demo::Origin>,
) -> ExitCode {
    let summary = Summary::of(&config);
    let Found { token, place } = found;
    let Ok(mut signals) = Signals::new() else {
        return failed("cannot wait for signals");
    };
    let running = match larder::start(config, token, file) {
        Ok(running) => running,
        Err(error) => return failed(&error.to_string()),
    };
    say(&summary.text(&running, &place));
    if let Some(origin) = origin {
        say(&demo::what_to_try(&running.listening));
        tokio::spawn(origin.serve());
    }
    while let Asked::Reload = signals.asked().await {
        running.reload().await;
    }
    say("larder: draining; a second signal ends it at once");
    tokio::select! {
        drained = running.drain() => match drained {
            Drained::Complete => ExitCode::SUCCESS,
            Drained::Cut => failed("the grace time ended before every request was finished"),
        },
        () = signals.next() => failed("ended before every request was finished"),
    }
}

/// What a signal asks of a node that serves.
enum Asked {
    Reload,
    End,
}

/// The signals that a node hears.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn asked(&mut self) -> Asked {
        tokio::select! {
            () = Self::either(&mut self.terminate, &mut self.interrupt) => Asked::End,
            _ = self.hang_up.recv() => Asked::Reload,
        }
    }

    /// One that ends the node.
    async fn next(&mut self) {
        Self::either(&mut self.terminate, &mut self.interrupt).await;
    }

    async fn either(one: &mut Signal, other: &mut Signal) {
        tokio::select! {
            _ = one.recv() => {}
            _ = other.recv() => {}
        }
    }
}

fn log_text(format: model::AccessLog, to: &model::LogTo) -> String {
    let format = match format {
        model::AccessLog::Json => "json lines",
        model::AccessLog::Combined | model::AccessLog::CombinedWithHost => "combined format",
        model::AccessLog::CloudFront => "CloudFront's format",
        model::AccessLog::Off => "nothing",
    };
    match to {
        model::LogTo::Stdout => format!("{format} on standard output"),
        model::LogTo::File(path) => format!("{format} in {}", path.display()),
        model::LogTo::SyslogUdp(server) | model::LogTo::SyslogTcp(server) => {
            format!("{format} to syslog at {server}")
        }
        model::LogTo::SyslogUnix(path) => format!("{format} to syslog at {}", path.display()),
    }
}

/// What an operator wants to know of a node that has started.
struct Summary {
    name: String,
    memory: u64,
    sites: Vec<String>,
    /// The scheme of each listener.
    schemes: Vec<&'static str>,
    log: String,
}

impl Summary {
    fn of(config: &Config) -> Self {
        let site = |site: &model::Site| {
            let hosts: Vec<_> = site.hosts.iter().map(ToString::to_string).collect();
            let origins: Vec<_> = site.origins.iter().map(ToString::to_string).collect();
            let hosts = match hosts.join(" ") {
                any if any == "*" => "every host".to_owned(),
                hosts => hosts,
            };
            format!("{hosts} from {}", origins.join(", "))
        };
        let scheme = |listener: &model::Listener| match listener.transport {
            model::ListenerTransport::Plain => "http",
            model::ListenerTransport::Tls => "https",
        };
        Self {
            name: config.node.name.clone(),
            memory: config.memory.size,
            sites: config.sites.iter().map(site).collect(),
            schemes: config.node.listen.iter().map(scheme).collect(),
            log: match config.log.access {
                model::AccessLog::Off => "off".to_owned(),
                format => log_text(format, &config.log.to),
            },
        }
    }

    fn text(&self, running: &Running, place: &Place) -> String {
        let Self {
            name,
            memory,
            sites,
            schemes,
            log,
        } = self;
        let version = env!("CARGO_PKG_VERSION");
        let place = match place {
            Place::File(path) => path.display().to_string(),
            Place::Environment => token::VARIABLE.to_owned(),
        };
        let mut lines = vec![format!("larder {version}, node {name}")];
        let sites = sites.iter().map(|site| ("site", site.clone()));
        let serves = schemes.iter().zip(&running.listening);
        let serves = serves.map(|(scheme, address)| ("serves", format!("{scheme}://{address}")));
        let rest = [
            ("memory", format!("{} MiB", memory / (1 << 20))),
            ("log", log.clone()),
            ("admin", format!("http://{}/metrics", running.admin)),
            ("token", place),
        ];
        let all = sites.chain(serves).chain(rest);
        lines.extend(all.map(|(what, value)| format!("  {what:<7} {value}")));
        lines.join("\n")
    }
}
