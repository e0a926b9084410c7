//! Parents that are killed, frozen, cut off and slow, and an origin that fails.

use std::time::Duration;

use tokio::time::Instant;

use crate::lab::{self, EDGES, Lab, PARENTS};
use crate::load::Load;
use crate::told;

/// How long a loss lasts while clients ask.
const WHILE: Duration = Duration::from_millis(1_500);
/// How often a parent is stopped that is slow, and for how long each time.
const STOPS: u32 = 5;
const STOP: Duration = Duration::from_millis(250);

pub(crate) async fn a_killed_parent_costs_nothing_and_only_its_keys_move() {
    let mut lab = Lab::start(|edge| edge).await;
    // What each parent has before.
    let targets: Vec<String> = (0..40).map(|number| format!("/kept/{number}")).collect();
    let mut owners = Vec::new();
    for target in &targets {
        owners.push(lab.parent_that_answered(&lab.get(0, target).await));
    }
    let load = Load::start(&lab, "/killed", 1);
    tokio::time::sleep(Duration::from_millis(500)).await;
    lab.parents[0].kill();
    tokio::time::sleep(WHILE).await;
    load.end("a parent is killed").await;
    // Another edge finds with the second parent what that had: only the keys of the lost one have moved.
    let before = lab.origin.total();
    for target in &targets {
        assert_eq!(lab.get(1, target).await.status, 200);
    }
    let lost = owners.iter().filter(|owner| **owner == 0).count();
    let moved = lab.origin.total() - before;
    told(
        "keys of the lost parent",
        &format!(
            "{lost} of {}, requests at the origin for them {moved}",
            targets.len()
        ),
    );
    assert!(lost > 0 && lost < targets.len(), "{owners:?}");
    assert_eq!(moved, lost);
}

/// With the settings as they come.
pub(crate) async fn a_parent_that_is_silent_is_left_at_once() {
    let lab = Lab::start(|edge| {
        edge.table("tier", "silence = \"700ms\"")
            .table("tier", "connect_timeout = \"500ms\"")
    })
    .await;
    let load = Load::start(&lab, "/frozen", 0);
    tokio::time::sleep(Duration::from_millis(300)).await;
    lab.parents[1].signal("STOP");
    tokio::time::sleep(WHILE).await;
    load.end("a parent is frozen").await;
    lab.parents[1].signal("CONT");
    lab.all_parents_up().await;

    let load = Load::start(&lab, "/partition", 1);
    tokio::time::sleep(Duration::from_millis(300)).await;
    lab::link("parent0", "down");
    tokio::time::sleep(WHILE).await;
    load.end("a parent is cut off").await;
    lab::link("parent0", "up");
    lab.all_parents_up().await;

    let load = Load::start(&lab, "/slow", 1);
    for _ in 0..STOPS {
        lab.parents[0].signal("STOP");
        tokio::time::sleep(STOP).await;
        lab.parents[0].signal("CONT");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    load.end_of("a parent is slow", STOP * STOPS).await;
}

pub(crate) async fn the_origin_is_asked_by_a_few_when_all_parents_are_gone() {
    const BUDGET: usize = 5;
    let mut lab =
        Lab::start(|edge| edge.table("tier", &format!("direct_per_second = {BUDGET}"))).await;
    for parent in 0..PARENTS {
        lab.parents[parent].kill();
    }
    lab.no_parent_up().await;
    let before = lab.origin.total();
    let began = Instant::now();
    let mut refused = 0;
    let mut asking = Vec::new();
    for edge in 0..EDGES {
        for number in 0..30 {
            asking.push(lab.ask(edge, &format!("/direct/{edge}/{number}")).await);
        }
    }
    for client in &mut asking {
        match client.answer().await.status {
            200 => {}
            503 => refused += 1,
            status => panic!("{status}"),
        }
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("few") + 1;
    let asked = lab.origin.total() - before;
    let most = EDGES * BUDGET * (1 + seconds);
    told(
        "no parent is left",
        &format!(
            "{} requests, {asked} at the origin, at most {most}, {refused} refused",
            asking.len()
        ),
    );
    assert!(
        asked <= most && asked >= EDGES * BUDGET,
        "{asked} of {most}"
    );
    assert_eq!(asked + refused, asking.len());
}

pub(crate) async fn an_origin_that_flaps_puts_no_parent_out() {
    let lab = Lab::start(|edge| edge).await;
    let mut failed = 0;
    for round in 0..20 {
        lab.origin.fail(round % 2 == 0);
        for edge in [0, 3, 7] {
            let answer = lab.get(edge, &format!("/flap/{round}/{edge}")).await;
            assert_eq!(answer.status == 503, round % 2 == 0, "{answer:?}");
            failed += usize::from(answer.status == 503);
        }
    }
    for edge in 0..EDGES {
        assert_eq!(lab.turns(edge).await, 0.0, "edge {edge}");
    }
    told(
        "an origin flaps",
        &format!("{failed} failures passed on, no parent out"),
    );
}
