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
        Ok(status) if status.success() => {
            println!("test result: ok. 9 passed; 0 failed; the lab in network namespaces");
            ExitCode::SUCCESS
        }
        _ => ExitCode::FAILURE,
    }
}

fn inside() -> ExitCode {
    lab::set_up_network();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let dns = dns::Dns::start().await;
        ways::one_request_for_each_object().await;
        losses::a_killed_parent_costs_nothing_and_only_its_keys_move().await;
        losses::a_parent_that_is_silent_is_left_at_once().await;
        losses::the_origin_is_asked_by_a_few_when_all_parents_are_gone().await;
        losses::an_origin_that_flaps_puts_no_parent_out().await;
        ways::parents_are_followed_through_srv_records(&dns).await;
        ways::a_parent_is_followed_through_its_addresses(&dns).await;
        ways::three_nodes_in_a_circle_end_at_the_origin().await;
        purges::nothing_purged_is_served_though_parents_hear_of_it_late().await;
    });
    ExitCode::SUCCESS
}

/// Says what was seen.
fn told(name: &str, figures: &str) {
    println!("netns lab: {name}: {figures}");
}
