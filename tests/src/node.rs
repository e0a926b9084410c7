//! The node under test: the real program as a child process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::binary::ensure_binary;
use crate::client::Client;
use crate::metrics::Metrics;
use crate::ports::free_port;
use crate::response::Response;
use crate::settings::Settings;
use crate::transcript;

/// How often it is looked whether a node that was sent `STOP` stands still, and how long after the last look.
const STOP_LOOKS: u32 = 10_000;
const STOP_PAUSE: Duration = Duration::from_millis(1);
/// How often it is looked, with such pauses, whether a node that shall end by itself has.
const END_LOOKS: u32 = 1_000;
/// How long a node may take until it is ready, and how long until it has gone.
const PATIENCE: Duration = Duration::from_secs(10);

const TOKEN: &str = "a-token-for-the-tests-of-32-chars";

/// A running node. It is killed when it is dropped.
#[derive(Debug)]
pub struct Node {
    child: Child,
    address: SocketAddr,
    admin: SocketAddr,
    folder: TempDir,
    stdout: Lines,
    stderr: Lines,
    /// How far the node's wall clock is ahead.
    ahead: Duration,
    args: Vec<String>,
}

/// How nodes answer hits in this run of tests, where a test does not say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Way {
    /// In front of the pipeline.
    Short,
    /// By the pipeline, like everything else: with `LARDER_TESTS_WAY=long`.
    Long,
}

impl Way {
    /// The one of this run.
    #[must_use]
    pub fn of_hits() -> Self {
        match std::env::var_os("LARDER_TESTS_WAY") {
            Some(way) if way == "long" => Self::Long,
            _ => Self::Short,
        }
    }
}

/// How a program ended, and what it said.
#[derive(Clone, Debug)]
pub struct Exit {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

/// Lines that a thread collects from a pipe.
#[derive(Debug)]
struct Lines {
    collected: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Node {
    /// Starts a node with the defaults of [`Settings`] in front of an origin.
    pub async fn before(origin_url: &str) -> Self {
        Self::start(Settings::origins(&[origin_url])).await
    }

    /// Starts a node with a configuration file.
    pub async fn start(settings: Settings) -> Self {
        let folder = folder();
        let (address, admin) = (loopback(), loopback());
        let text = settings.text(address, admin, &folder.path().join("admin-token"));
        let file = folder.path().join("larder.toml");
        fs::write(&file, text).expect("a writable folder");
        let args = ["run".into(), "--config".into(), file.display().to_string()];
        Self::launch(folder, address, admin, &args).await
    }

    /// Starts a node with flags only, as a newcomer does. The addresses and the token file are
    /// added to them, and `--no-disk`: tests that run side by side share no volume.
    pub async fn with_flags(flags: &[&str]) -> Self {
        let flags: Vec<&str> = flags.iter().copied().chain(["--no-disk"]).collect();
        Self::with_flags_and_disk(&flags).await
    }

    /// Starts a node with flags, whatever they say of disks. The user's cache directory is the folder of the node.
    pub async fn with_flags_and_disk(flags: &[&str]) -> Self {
        let folder = folder();
        let (address, admin) = (loopback(), loopback());
        let mut args = vec!["run".to_owned()];
        args.extend(flags.iter().map(|&flag| flag.to_owned()));
        args.extend(["--listen".into(), address.to_string()]);
        args.extend(["--admin".into(), admin.to_string()]);
        let token = folder.path().join("admin-token").display().to_string();
        args.extend(["--admin-token-file".into(), token]);
        Self::launch(folder, address, admin, &args).await
    }

    async fn launch(
        folder: TempDir,
        address: SocketAddr,
        admin: SocketAddr,
        args: &[String],
    ) -> Self {
        let mut node = Self::spawned(folder, address, admin, args);
        node.wait_ready().await;
        node.wait_recovered().await;
        node
    }

    fn spawned(folder: TempDir, address: SocketAddr, admin: SocketAddr, args: &[String]) -> Self {
        fs::write(folder.path().join("clock"), "0").expect("a writable folder");
        let mut child = spawn(folder.path(), args);
        let stdout = Lines::collect(child.stdout.take());
        let stderr = Lines::collect(child.stderr.take());
        let ahead = Duration::ZERO;
        Self {
            child,
            address,
            admin,
            folder,

            stdout,
            stderr,
            ahead,
            args: args.to_vec(),
        }
    }

    /// Starts a node with a configuration file, and does not wait until it is ready.
    #[must_use]
    pub fn begin(settings: &Settings) -> Self {
        let folder = folder();
        let (address, admin) = (loopback(), loopback());
        let text = settings.text(address, admin, &folder.path().join("admin-token"));
        let file = folder.path().join("larder.toml");
        fs::write(&file, text).expect("a writable folder");
        let args = ["run".into(), "--config".into(), file.display().to_string()];
        Self::spawned(folder, address, admin, &args)
    }

    /// Writes the configuration file anew: nothing happens until the node reads it.
    pub fn configure(&self, settings: &Settings) {
        let token = self.folder.path().join("admin-token");
        self.configure_as(&settings.text(self.address, self.admin, &token));
    }

    /// Writes this text into the configuration file.
    pub fn configure_as(&self, text: &str) {
        fs::write(self.folder.path().join("larder.toml"), text).expect("a writable folder");
    }

    /// Writes the configuration file anew, and has the node read it.
    pub async fn reload(&self, settings: &Settings) -> Response {
        self.configure(settings);
        self.api("POST", "/v1/reload", "").await
    }

    /// Kills the process (SIGKILL).
    pub fn kill(&mut self) {
        self.child.kill().expect("the process can be killed");
        self.child.wait().expect("the process ends");
        self.said_all();
    }

    /// Everything that the process has said before it ended is there from now on.
    fn said_all(&mut self) {
        self.stdout.end();
        self.stderr.end();
        for line in self.stdout.all() {
            transcript::enter(&["said", &line]);
        }
    }

    /// Has the process end by itself, so that it says what it still has to say, if it does so soon.
    fn end(&mut self) {
        let sent = Command::new("kill")
            .args(["-s", "TERM", &self.id().to_string()])
            .status();
        drop(sent);
        let mut looks = 0..END_LOOKS;
        while self.is_running() && looks.next().is_some() {
            thread::sleep(STOP_PAUSE);
        }
    }

    /// Starts the process that was killed as it was started, and does not wait until it is ready.
    pub fn begin_again(&mut self) {
        self.child = spawn(self.folder.path(), &self.args);
        self.stdout = Lines::collect(self.child.stdout.take());
        self.stderr = Lines::collect(self.child.stderr.take());
    }

    /// Kills the process, as a crash would, and starts it again in the same folder. `meanwhile` is done in between.
    pub async fn kill_and_restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.child.kill().expect("it runs");
        self.restart(meanwhile).await;
    }

    /// Stops the process in order, and starts it again in the same folder. `meanwhile` is done in between.
    pub async fn stop_and_restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.signal("TERM");
        self.restart(meanwhile).await;
    }

    async fn restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.wait_exit().await;
        meanwhile(self.folder.path());
        self.child = spawn(self.folder.path(), &self.args);
        self.stdout = Lines::collect(self.child.stdout.take());
        self.stderr = Lines::collect(self.child.stderr.take());
        self.wait_ready().await;
        self.wait_recovered().await;
    }

    /// Waits until everything that is on the disks is found.
    async fn wait_recovered(&self) {
        let end = Instant::now() + PATIENCE;
        while Client::connect(self.admin)
            .await
            .get("/readyz")
            .await
            .text()
            != "ready\n"
        {
            assert!(
                Instant::now() < end,
                "the disks are not back after {PATIENCE:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the node says that it is ready.
    pub async fn wait_ready(&mut self) {
        let end = Instant::now() + PATIENCE;
        while !self.is_ready().await {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!(
                    "the node ended with {status}:\n{}",
                    self.stderr().join("\n")
                );
            }
            assert!(
                Instant::now() < end,
                "the node is not ready after {PATIENCE:?}:\n{}",
                self.stderr().join("\n"),
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until clients can connect, whether or not the node says that it is ready.
    pub async fn wait_listening(&self) {
        let end = Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(self.address).await.is_err() {
            assert!(Instant::now() < end, "{}", self.stderr().join("\n"));
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn is_ready(&self) -> bool {
        if tokio::net::TcpStream::connect(self.admin).await.is_err() {
            return false;
        }
        let mut client = Client::connect(self.admin).await;
        client
            .ask("GET", "/readyz", &[("Connection", "close")])
            .await;
        client
            .answer_to("GET")
            .await
            .is_some_and(|answer| answer.status == 200)
    }

    /// Where clients ask.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the operator asks.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The bearer token of the admin listener.
    #[must_use]
    pub fn token(&self) -> &'static str {
        TOKEN
    }

    /// The folder in which the node runs.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A new connection.
    pub async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Asks on a connection of its own.
    pub async fn get(&self, target: &str) -> Response {
        self.client().await.get(target).await
    }

    /// Asks, with fields, on a connection of its own.
    pub async fn get_with(&self, target: &str, fields: &[(&str, &str)]) -> Response {
        self.client().await.get_with(target, fields).await
    }

    /// Asks with any method on a connection of its own.
    pub async fn request(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Response {
        self.client().await.request(method, target, fields).await
    }

    /// Sends bytes on a connection of its own; the answer, if one comes before the end.
    pub async fn exchange(&self, bytes: impl AsRef<[u8]>) -> Option<Response> {
        let mut client = self.client().await;
        client.send(bytes).await;
        client.answer_to("GET").await
    }

    /// Moves the node's wall clock on. The next look at the clock, on any thread, sees it.
    pub fn advance(&mut self, duration: Duration) {
        self.ahead += duration;
        let new = self.folder.path().join("clock.new");
        // A rename is atomic, so the node never reads half a number.
        fs::write(&new, self.ahead.as_millis().to_string()).expect("a writable folder");
        fs::rename(new, self.folder.path().join("clock")).expect("a writable folder");
    }

    /// The lines of standard output so far.
    #[must_use]
    pub fn stdout(&self) -> Vec<String> {
        self.stdout.all()
    }

    /// The lines of standard error so far.
    #[must_use]
    pub fn stderr(&self) -> Vec<String> {
        self.stderr.all()
    }

    /// The access log so far: standard output, each line a JSON object.
    #[must_use]
    pub fn log_lines(&self) -> Vec<Value> {
        self.log_lines_since(0)
    }

    /// How many lines the access log has.
    #[must_use]
    pub fn log_length(&self) -> usize {
        lock(&self.stdout.collected).len()
    }

    /// The lines of the access log behind the first `before`.
    #[must_use]
    pub fn log_lines_since(&self, before: usize) -> Vec<Value> {
        let parse = |line: &String| {
            serde_json::from_str(line).unwrap_or_else(|_| panic!("not a line of JSON: {line}"))
        };
        let lines = lock(&self.stdout.collected);
        lines.iter().skip(before).map(parse).collect()
    }

    /// Scrapes the metrics.
    pub async fn metrics(&self) -> Metrics {
        let answer = Client::connect(self.admin).await.get("/metrics").await;
        assert_eq!(answer.status, 200);
        Metrics::parse(&answer.text())
    }

    /// Scrapes the metrics until `condition` holds: a request is counted when it has ended, which
    /// may be after the client has read the answer.
    pub async fn metrics_when(&self, condition: impl Fn(&Metrics) -> bool) -> Metrics {
        let end = Instant::now() + PATIENCE;
        loop {
            let metrics = self.metrics().await;
            if condition(&metrics) {
                return metrics;
            }
            assert!(
                Instant::now() < end,
                "still not so after {PATIENCE:?}: {metrics:?}"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Sends a signal by its name without `SIG`, such as `TERM`. After `STOP`, nothing of it runs any more.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.id().to_string()])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "the node has gone"
        );
        // A thread on another core stops a moment later: it may have sent something meanwhile.
        let mut looks = 0..STOP_LOOKS;
        while name == "STOP" && !self.is_stopped() {
            assert!(looks.next().is_some(), "the node does not stop");
            thread::sleep(STOP_PAUSE);
        }
    }

    /// Whether all of its threads are stopped; those of a process that has gone are.
    fn is_stopped(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id()));
        tasks.into_iter().flatten().flatten().all(|task| {
            // The state stands behind the name, which may have any characters (proc(5)).
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            matches!(state, None | Some('T' | 'Z' | 'X'))
        })
    }

    /// Whether the process lives.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until the process has ended by itself.
    pub async fn wait_exit(&mut self) -> ExitStatus {
        let status = wait(&mut self.child).await.expect("the node ends in time");
        self.said_all();
        status
    }

    /// Has the node's wall clock stand at these milliseconds since 1970.
    pub fn stop_the_clock(&self, millis: u64) {
        // In place of the file as a whole: nobody reads half of it.
        let (new, clock) = (
            self.folder.path().join("stopped"),
            self.folder.path().join("clock"),
        );
        fs::write(&new, format!("@{millis}")).expect("a writable folder");
        fs::rename(new, clock).expect("a writable folder");
    }

    /// Has hits answered by the pipeline from now on, like everything else.
    pub fn take_the_long_way(&self) {
        fs::write(long_way(self.folder.path()), "").expect("a writable folder");
    }

    /// Has hits answered in front of the pipeline again.
    pub fn take_the_short_way(&self) {
        fs::remove_file(long_way(self.folder.path())).expect("the long way was taken");
    }

    /// Bytes of memory that the process occupies (`VmRSS`).
    #[must_use]
    pub fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("procfs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok())
            .expect("a number of kB")
            << 10
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if transcript::wanted() && self.is_running() {
            self.end();
        }
        // Both fail only when the process has gone already.
        drop(self.child.kill());
        drop(self.child.wait());
        if transcript::wanted() {
            self.said_all();
        }
        if thread::panicking() {
            let last: Vec<String> = self.stderr().into_iter().rev().take(20).rev().collect();
            panic_note(&last.join("\n"));
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the test runner shows it below the failed test"
)]
fn panic_note(text: &str) {
    eprintln!("standard error of the node:\n{text}");
}

fn spawn(folder: &Path, args: &[String]) -> Child {
    if Way::of_hits() == Way::Long {
        fs::write(long_way(folder), "").expect("a writable folder");
    }
    Command::new(ensure_binary())
        .args(args)
        .env("LARDER_TEST_CLOCK", folder.join("clock"))
        .env("LARDER_TEST_LONG_WAY", long_way(folder))
        .env("XDG_STATE_HOME", folder)
        .env("XDG_CACHE_HOME", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// The file that closes the short way of hits while it is there. On [`Way::Long`], it is there from the start.
fn long_way(folder: &Path) -> PathBuf {
    folder.join("long-way")
}

/// Runs the program with these arguments until it ends.
///
/// # Panics
///
/// When it does not end within ten seconds.
pub async fn run_to_exit(args: &[&str], folder: &Path) -> Exit {
    let mut child = Command::new(ensure_binary())
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let stdout = collect_text(child.stdout.take());
    let stderr = collect_text(child.stderr.take());
    let Some(status) = wait(&mut child).await else {
        drop(child.kill());
        panic!("`larder {}` still runs after {PATIENCE:?}", args.join(" "));
    };
    let text = |reader: thread::JoinHandle<String>| reader.join().expect("a reader");
    Exit {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

async fn wait(child: &mut Child) -> Option<ExitStatus> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().expect("a child") {
            return Some(status);
        }
        sleep(Duration::from_millis(5)).await;
    }
    None
}

fn folder() -> TempDir {
    let folder = TempDir::new().expect("a temporary folder");
    let token: PathBuf = folder.path().join("admin-token");
    fs::write(&token, TOKEN).expect("a writable folder");
    make_private(&token);
    folder
}

fn make_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file");
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

impl Lines {
    fn collect(pipe: Option<impl Read + Send + 'static>) -> Self {
        let collected = Arc::<Mutex<Vec<String>>>::default();
        let pipe = BufReader::new(pipe.expect("a pipe"));
        let lines = Arc::clone(&collected);
        let reader = thread::spawn(move || {
            for line in pipe.split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                lock(&lines).push(line);
            }
        });
        Self {
            collected,
            reader: Some(reader),
        }
    }

    fn all(&self) -> Vec<String> {
        lock(&self.collected).clone()
    }

    /// Waits for the last line of a process that has ended.
    fn end(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("a reader");
        }
    }
}

fn lock(lines: &Mutex<Vec<String>>) -> std::sync::MutexGuard<'_, Vec<String>> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}

fn collect_text(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    let mut pipe = pipe.expect("a pipe");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        drop(pipe.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
