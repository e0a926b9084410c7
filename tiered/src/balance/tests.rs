use super::*;

const NEVER: Duration = Duration::ZERO;

fn peer(weight: u32) -> Peer {
    Peer {
        weight,
        role: Role::Primary,
        fitness: Fitness::Up {
            since: Moment::default(),
        },
        under_way: 0,
        room: Room::Free,
        identity: 0,
    }
}

fn peers(weights: &[u32]) -> Vec<Peer> {
    let weights = weights.iter().zip(1..);
    weights
        .map(|(&weight, identity)| Peer {
            identity,
            ..peer(weight)
        })
        .collect()
}

fn draw(number: u64) -> Draw {
    Draw {
        key: number,
        random: number,
        trials: Trials::Unwanted,
    }
}

fn at(seconds: u64) -> Moment {
    Moment(Duration::from_secs(seconds))
}

/// How often each peer is chosen.
fn shares(balancer: &mut Balancer, peers: &[Peer], draws: u64, now: Moment) -> Vec<u64> {
    let mut shares = vec![0; peers.len()];
    for number in 0..draws {
        let chosen = balancer.choose(peers, Tried::default(), draw(number), now);
        shares[chosen.unwrap()] += 1;
    }
    shares
}

fn balancer(manner: Manner, peers: &[Peer]) -> Balancer {
    Balancer::new(manner, NEVER, peers.len())
}

#[track_caller]
fn chosen(peers: &[Peer], tried: &[usize]) -> Option<usize> {
    let mut noted = Tried::default();
    for &peer in tried {
        noted.add(peer);
    }
    balancer(Manner::First, peers).choose(peers, noted, draw(1), at(0))
}

#[test]
fn round_robin_goes_by_weights_and_does_not_bunch() {
    let peers = peers(&[5, 1, 1]);
    let mut balancer = balancer(Manner::RoundRobin, &peers);
    let order: Vec<_> = (0..7)
        .filter_map(|number| balancer.choose(&peers, Tried::default(), draw(number), at(0)))
        .collect();
    assert_eq!(order, [0, 0, 1, 0, 2, 0, 0]);
    assert_eq!(shares(&mut balancer, &peers, 700, at(0)), [500, 100, 100]);
}

#[test]
fn least_connections_prefers_who_has_less_to_do() {
    let mut peers = peers(&[1, 1, 1]);
    peers[0].under_way = 10;
    let mut balancer = balancer(Manner::LeastConnections, &peers);
    let shares = shares(&mut balancer, &peers, 3_000, at(0));
    assert_eq!(shares[0], 0, "it loses against either of the two others");
    assert!(shares[1].abs_diff(shares[2]) < 600, "{shares:?}");
}

#[test]
fn least_connections_measures_by_weight() {
    let mut peers = peers(&[1, 4]);
    peers[0].under_way = 2;
    peers[1].under_way = 7;
    let mut balancer = balancer(Manner::LeastConnections, &peers);
    assert_eq!(shares(&mut balancer, &peers, 10, at(0)), [0, 10]);
}

#[test]
fn a_key_goes_to_one_peer_and_moves_only_with_it() {
    let all = peers(&[1, 1, 2, 1]);
    let mut one = all.clone();
    one[1].fitness = Fitness::Out;
    let mut balancer = balancer(Manner::Hash, &all);
    let mut moved = 0;
    for number in 0..10_000 {
        let mut choose = |peers| {
            let chosen = balancer.choose(peers, Tried::default(), draw(number), at(0));
            chosen.unwrap()
        };
        let (before, after) = (choose(&all), choose(&one));
        if before == 1 {
            moved += 1;
            assert_ne!(after, 1);
        } else {
            assert_eq!(before, after);
        }
    }
    assert!((1_800..2_200).contains(&moved), "a fifth: {moved}");
    let shares = shares(&mut balancer, &all, 10_000, at(0));
    assert!((3_800..4_200).contains(&shares[2]), "{shares:?}");
}

#[test]
fn backups_stand_back_until_nobody_else_is_fit() {
    let mut peers = peers(&[1, 1, 1]);
    peers[0].role = Role::Backup;
    assert_eq!(chosen(&peers, &[]), Some(1));
    peers[1].fitness = Fitness::Out;
    assert_eq!(chosen(&peers, &[]), Some(2));
    peers[2].fitness = Fitness::Out;
    assert_eq!(chosen(&peers, &[]), Some(0));
    peers[0].fitness = Fitness::Out;
    assert_eq!(chosen(&peers, &[]), Some(0), "nobody is fit: all are asked");
    assert_eq!(chosen(&peers, &[0]), Some(1));
    assert_eq!(chosen(&peers, &[0, 1, 2]), None);
}

#[test]
fn who_is_barred_is_not_asked_in_need_either() {
    let mut peers = peers(&[1]);
    peers[0].fitness = Fitness::Barred;
    assert_eq!(chosen(&peers, &[]), None);
}

#[test]
fn who_is_full_is_chosen_only_to_wait_for() {
    let mut peers = peers(&[1, 1, 1]);
    peers[2].role = Role::Backup;
    peers[0].room = Room::Full;
    assert_eq!(chosen(&peers, &[]), Some(1));
    peers[1].room = Room::Full;
    assert_eq!(chosen(&peers, &[]), Some(0), "a backup is not for overload");
}

#[test]
fn a_trial_takes_a_request_that_has_another_way() {
    let mut peers = peers(&[1, 1]);
    peers[1].fitness = Fitness::Trial;
    let mut balancer = balancer(Manner::RoundRobin, &peers);
    let mut choose = |trials| {
        let draw = Draw { trials, ..draw(1) };
        balancer.choose(&peers, Tried::default(), draw, at(0))
    };
    assert_eq!(choose(Trials::Unwanted), Some(0));
    assert_eq!(choose(Trials::Welcome), Some(1));
}

#[test]
fn who_came_back_starts_slowly() {
    let mut peers = peers(&[1, 1]);
    peers[1].fitness = Fitness::Up { since: at(100) };
    let mut balancer = Balancer::new(Manner::RoundRobin, Duration::from_secs(10), 2);
    #[rustfmt::skip]
    let rows = [
        //  now  share of 110 …
        (at(100), 10, "a tenth at once"),
        (at(105), 37, "half its weight half way: a third"),
        (at(110), 55, "all of it at the end"),
    ];
    for (now, expected, what) in rows {
        balancer.owed = vec![0; 2];
        let shares = shares(&mut balancer, &peers, 110, now);
        assert_eq!(shares[1], expected, "{what}");
    }
}
