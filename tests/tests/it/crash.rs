//! A node that is killed again and again while it stores and purges: no wrong body, nothing purged comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use larder_tests::{Node, Origin, Reply, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Rounds unless `LARDER_KILL_ROUNDS` says otherwise.
const ROUNDS: u64 = 3;
const TAGS: usize = 8;
const TARGETS_PER_TAG: u64 = 8;
const CLIENTS: u64 = 4;
const LENGTHS: [usize; 4] = [300, 9_000, 70_000, 400_000];

/// What the test knows of the world.
#[derive(Default)]
struct World {
    /// What the origin answers with: it rises before each purge.
    current: [AtomicU64; TAGS],
    /// What was current when the last acknowledged purge was sent.
    purged: [AtomicU64; TAGS],
    over: AtomicBool,
    answers: AtomicU64,
    from_disk: AtomicU64,
    purges: AtomicU64,
}

fn content(target: &str, generation: u64, length: usize) -> Vec<u8> {
    let line = format!("{target} {generation}\n").into_bytes();
    line.into_iter().cycle().take(length).collect()
}

/// `/TAG/NUMBER`, of a length that depends on the number.
fn parts(target: &str) -> (usize, usize) {
    let mut parts = target
        .split('/')
        .skip(1)
        .map(|it| it.parse::<usize>().unwrap_or(0));
    let (tag, number) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    (tag % TAGS, LENGTHS[number % LENGTHS.len()])
}

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// One request on a connection of its own; none where the node is not there, or goes meanwhile.
async fn ask(address: SocketAddr, request: String) -> Option<(String, Vec<u8>)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(answer)
    };
    let answer = timeout(Duration::from_secs(10), exchange).await.ok()??;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8(answer[..end].to_vec()).ok()?;
    Some((head.to_lowercase(), answer[end + 4..].to_vec()))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find_map(|(found, value)| (found == name).then_some(value))
}

async fn get(world: &World, address: SocketAddr, target: &str) {
    let (tag, length) = parts(target);
    let before = world.purged[tag].load(Ordering::SeqCst);
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let Some((head, body)) = ask(address, request).await else {
        return;
    };
    let announced = field(&head, "content-length").and_then(|it| it.parse().ok());
    if !head.starts_with("http/1.1 200") || announced != Some(body.len()) {
        // Cut by the kill.
        return;
    }
    let generation = field(&head, "x-generation").and_then(|it| it.parse().ok());
    let generation: u64 = generation.expect("every answer has one");
    assert!(
        body == content(target, generation, length),
        "{target} has another body"
    );
    assert!(
        generation >= before,
        "{target}: what was purged is back: {generation} after {before}\n{head}"
    );
    world.answers.fetch_add(1, Ordering::Relaxed);
    if head.contains("detail=disk") {
        world.from_disk.fetch_add(1, Ordering::Relaxed);
    }
}

async fn browse(world: Arc<World>, address: SocketAddr, seed: u64) {
    let mut numbers = Numbers(seed);
    while !world.over.load(Ordering::Relaxed) {
        let (tag, number) = (numbers.below(TAGS as u64), numbers.below(TARGETS_PER_TAG));
        get(&world, address, &format!("/{tag}/{number}")).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn purge(world: Arc<World>, admin: SocketAddr, token: &'static str, seed: u64) {
    let mut numbers = Numbers(seed);
    while !world.over.load(Ordering::Relaxed) {
        let tag = usize::try_from(numbers.below(TAGS as u64)).unwrap_or(0);
        let generation = world.current[tag].fetch_add(1, Ordering::SeqCst) + 1;
        let body = format!(r#"{{"tags":["t{tag}"]}}"#);
        let length = body.len();
        let request = format!(
            "POST /v1/purges HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = ask(admin, request).await;
        if answer.is_some_and(|(head, _)| head.starts_with("http/1.1 200")) {
            world.purged[tag].fetch_max(generation, Ordering::SeqCst);
            world.purges.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(5 + numbers.below(40))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_killed_under_load_serves_no_wrong_byte_and_nothing_that_was_purged() {
    let rounds = std::env::var("LARDER_KILL_ROUNDS").ok();
    let rounds = rounds.and_then(|it| it.parse().ok()).unwrap_or(ROUNDS);
    let world = Arc::new(World::default());
    let shared = Arc::clone(&world);
    let origin = Origin::start(move |seen| {
        let (tag, length) = parts(&seen.target);
        let generation = shared.current[tag].load(Ordering::SeqCst);
        Reply::fresh(600, content(&seen.target, generation, length))
            .with("X-Generation", &generation.to_string())
            .with("Surrogate-Key", &format!("t{tag}"))
    })
    .await;
    let settings = Settings::origins(&[&origin.url()])
        .table("memory", "size = \"24MiB\"")
        .table("memory", "object_max = \"100KiB\"")
        .table("log", "access = \"off\"")
        .site("disk = \"always\"")
        .disk("32MiB");
    let mut node = Node::start(settings).await;
    let (address, admin, token) = (node.address(), node.admin(), node.token());

    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..CLIENTS {
        tasks.spawn(browse(Arc::clone(&world), address, client));
    }
    tasks.spawn(purge(Arc::clone(&world), admin, token, 99));
    let mut numbers = Numbers(rounds);
    for _ in 0..rounds {
        let running = Duration::from_millis(150 + numbers.below(500));
        tokio::time::sleep(running).await;
        node.kill_and_restart(|_| {}).await;
        for tag in 0..TAGS {
            for number in 0..TARGETS_PER_TAG {
                get(&world, address, &format!("/{tag}/{number}")).await;
            }
        }
    }
    world.over.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (answers, from_disk) = (count(&world.answers), count(&world.from_disk));
    let purges = count(&world.purges);
    assert!(
        answers > 0 && from_disk > 0 && purges > 0,
        "nothing happened: {answers} answers, {from_disk} from disk, {purges} purges"
    );
    note(&format!(
        "{rounds} kills, {answers} answers checked, {from_disk} of them from disk, {purges} purges acknowledged"
    ));
}

#[expect(clippy::print_stderr, reason = "for who runs more rounds by hand")]
fn note(text: &str) {
    eprintln!("{text}");
}
