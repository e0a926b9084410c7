//! The lab: eight edges, two parents and an origin, each in a network namespace of its own, on one bridge. Parents are
//! killed, frozen, cut off and slowed down, the origin flaps, names change, and purges reach parents late. What counts is
//! what clients see, and how often the origin is asked.
//!
//! Where namespaces are refused, it says so and tests nothing.

#![expect(
    clippy::print_stdout,
    reason = "a test program without a harness tells for itself what it has seen"
)]

mod dns;
mod lab;
mod load;
mod losses;
mod origin;
mod purges;
mod ways;

use std::process::{Command, ExitCode, Stdio};

/// The program is started again, in namespaces of its own.
const INSIDE: &str = "LARDER_NETNS_LAB";

fn main() -> ExitCode {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    // As other test programs, it only says what there is when it is asked for a list.
    if std::env::args().any(|argument| argument == "--list") {
        println!("lab: test");
        return ExitCode::SUCCESS;
    }
    let wanted = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    if wanted.is_some_and(|wanted| !"netns::lab".contains(&wanted)) {
        return ExitCode::SUCCESS;
    }
    // Built here: inside, there is no way to a registry.
    let binary = larder_tests::ensure_binary();
    let script = "mount -t tmpfs lab /run && mkdir /run/netns && ip netns add probe";
    let probe = Command::new("unshare")
        .args(["-r", "-n", "-m", "sh", "-c", script])
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        println!("netns lab: SKIPPED, this machine refuses network namespaces");
        return ExitCode::SUCCESS;
    }
    let program = std::env::current_exe().expect("a program has a path");
    let status = Command::new("unshare")
        .args(["-r", "-n", "-m"])
        .arg(program)
        .env(INSIDE, "1")
        .env("LARDER_BINARY", binary)
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        _ => {
            println!("test result: FAILED. 0 passed; 1 failed; the lab in network namespaces");
            ExitCode::FAILURE
        }
    }
}

/// What became of a scenario.
pub(crate) enum Ran {
    Yes,
    /// Something that it needs is not there.
    Skipped(&'static str),
}

/// The scenarios so far.
#[derive(Default)]
struct Scenarios {
    ran: usize,
    skipped: Vec<String>,
}

impl Scenarios {
    async fn run(&mut self, name: &str, scenario: impl Future<Output = Ran>) {
        match scenario.await {
            Ran::Yes => {
                self.ran += 1;
                told("passed", name);
            }
            Ran::Skipped(why) => {
                let skipped = format!("{name} ({why})");
                told("SKIPPED", &skipped);
                self.skipped.push(skipped);
            }
        }
    }

    fn end(&self) {
        let skipped = match self.skipped.join(", ") {
            none if none.is_empty() => "none skipped".to_owned(),
            names => format!("skipped: {names}"),
        };
        println!(
            "test result: ok. {} passed; 0 failed; the lab in network namespaces, {skipped}",
            self.ran
        );
    }
}

/// Runs what cannot be skipped.
async fn always(scenario: impl Future<Output = ()>) -> Ran {
    scenario.await;
    Ran::Yes
}

fn inside() -> ExitCode {
    lab::set_up_network();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let dns = dns::Dns::start().await;
        let mut all = Scenarios::default();
        let one = always(ways::one_request_for_each_object());
        all.run("one request for each object", one).await;
        let killed = always(losses::a_killed_parent_costs_nothing_and_only_its_keys_move());
        all.run("a parent is killed", killed).await;
        let silent = always(losses::a_parent_that_is_silent_is_left_at_once());
        all.run("a parent is frozen, cut off, slow", silent).await;
        let gone = always(losses::the_origin_is_asked_by_a_few_when_all_parents_are_gone());
        all.run("no parent is left", gone).await;
        let flaps = always(losses::an_origin_that_flaps_puts_no_parent_out());
        all.run("an origin flaps", flaps).await;
        let srv = always(ways::parents_are_followed_through_srv_records(&dns));
        all.run("SRV records change", srv).await;
        let moves = always(ways::a_parent_is_followed_through_its_addresses(&dns));
        all.run("an address changes", moves).await;
        let circle = always(ways::three_nodes_in_a_circle_end_at_the_origin());
        all.run("three nodes in a circle", circle).await;
        let purges = purges::nothing_purged_is_served_though_parents_hear_of_it_late();
        all.run("purges that parents hear of late", purges).await;
        all.end();
    });
    ExitCode::SUCCESS
}

/// Says what was seen.
fn told(name: &str, figures: &str) {
    println!("netns lab: {name}: {figures}");
}
