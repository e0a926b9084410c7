//! Which way requests go: once to the origin for each object, to the parents that names tell, and never in a circle.

use std::time::Duration;

use tokio::time::Instant;

use crate::dns::Dns;
use crate::lab::{EDGES, Lab, edge_url};
use crate::told;

/// How long names may take to be followed: their records live for a second.
const FOLLOWED: Duration = Duration::from_secs(20);

/// Every edge asks for every object at once.
pub(crate) async fn one_request_for_each_object() {
    const OBJECTS: usize = 50;
    let lab = Lab::start(|edge| edge).await;
    let targets: Vec<String> = (0..OBJECTS)
        .map(|number| format!("/object/{number}"))
        .collect();
    let mut asking = Vec::new();
    for edge in 0..EDGES {
        for target in &targets {
            asking.push(lab.ask(edge, target).await);
        }
    }
    for (client, target) in asking.iter_mut().zip(targets.iter().cycle()) {
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.text()), (200, target.clone()));
    }
    let asked = lab.origin.total();
    told(
        "objects asked for by every edge at once",
        &format!("{OBJECTS}, requests at the origin {asked}"),
    );
    assert_eq!(asked, OBJECTS);
}

/// The parents are found by SRV records, and found elsewhere when those change.
pub(crate) async fn parents_are_followed_through_srv_records(dns: &Dns) {
    dns.tell(&[(0, 1)]);
    let lab =
        Lab::start(|edge| edge.table("tier", "parents = [\"dns+srv://_larder._tcp.parents.lab\"]"))
            .await;
    assert_eq!(
        lab.parent_that_answered(&lab.get(0, "/dns/before").await),
        0
    );
    dns.tell(&[(1, 1)]);
    let took = until_asked(&lab, 1, "srv").await;
    // Nobody at all is taken for a mistake.
    dns.tell(&[]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(lab.parent_that_answered(&lab.get(0, "/dns/after").await), 1);
    told(
        "SRV records change",
        &format!("the other parent is asked after {took:?}, and an empty answer changes nothing"),
    );
}

/// The parent is found by a name whose address changes, while connections to the old one are open and well.
pub(crate) async fn a_parent_is_followed_through_its_addresses(dns: &Dns) {
    dns.move_to(0);
    let lab =
        Lab::start(|edge| edge.table("tier", "parents = [\"http://moving.parents.lab:8080\"]"))
            .await;
    assert_eq!(lab.parent_that_answered(&lab.get(0, "/a/before").await), 0);
    dns.move_to(1);
    let took = until_asked(&lab, 1, "a").await;
    told(
        "the address of a parent changes",
        &format!("the other one is asked after {took:?}"),
    );
}

async fn until_asked(lab: &Lab, parent: usize, prefix: &str) -> Duration {
    let began = Instant::now();
    for round in 0.. {
        let answer = lab.get(0, &format!("/{prefix}/{round}")).await;
        assert_eq!(answer.status, 200);
        if lab.parent_that_answered(&answer) == parent {
            break;
        }
        assert!(began.elapsed() < FOLLOWED, "the old parent is still asked");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    began.elapsed()
}

pub(crate) async fn three_nodes_in_a_circle_end_at_the_origin() {
    let lab = Lab::of_edges(3, |number, edge| {
        let next = edge_url((number + 1) % 3);
        edge.table("tier", "role = \"parent\"")
            .table("tier", &format!("parents = [\"{next}\"]"))
    })
    .await;
    for edge in 0..3 {
        for round in 0..10 {
            let target = format!("/circle/{edge}/{round}");
            let answer = lab.get(edge, &target).await;
            assert_eq!((answer.status, answer.text()), (200, target));
        }
    }
    let asked = lab.origin.total();
    told(
        "three nodes in a circle",
        &format!("30 requests, {asked} at the origin"),
    );
    assert_eq!(asked, 30);
}
