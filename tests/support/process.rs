//! The service as a process of its own, in a folder of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::waiting::PATIENCE;
use super::{Person, now, sign};

/// Between two looks at a process that is to end.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);
/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_entrenous");

/// A running service; killed when dropped.
pub struct Server {
    child: Child,
    pub url: String,
    folder: Arc<TempDir>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    errors: Arc<Mutex<String>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Server {
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Self::start_in(folder, arguments.iter().map(|argument| (*argument).to_owned()).collect())
    }

    /// In a folder that something was put into.
    #[must_use]
    pub fn in_folder(folder: TempDir) -> Self {
        Self::start_in(Arc::new(folder), vec![])
    }

    /// One of several nodes with the same stores; all sign in with one key.
    #[must_use]
    pub fn start_node(log: &str, views: Option<&str>) -> Self {
        Self::start_node_with(log, views, &[])
    }

    #[must_use]
    pub fn start_node_with(log: &str, views: Option<&str>, more: &[&str]) -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        std::fs::write(folder.path().join("token.key"), "the one key of all nodes of this test").expect("a key");
        let mut arguments = vec!["--log".to_owned(), log.to_owned()];
        arguments.extend(views.into_iter().flat_map(|views| ["--views".to_owned(), views.to_owned()]));
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        Self::start_in(folder, arguments)
    }

    /// With variables of its environment, each time that it is started.
    #[must_use]
    pub fn start_in_environment(folder: TempDir, environment: &[(&str, String)]) -> Self {
        Self::start_so(Arc::new(folder), vec![], environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
    }

    fn start_in(folder: Arc<TempDir>, arguments: Vec<String>) -> Self {
        Self::start_so(folder, arguments, vec![])
    }

    fn start_so(folder: Arc<TempDir>, arguments: Vec<String>, environment: Vec<(String, String)>) -> Self {
        let mut command = Command::new(BINARY);
        command.envs(environment.clone());
        command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path()).args(&arguments);
        if !arguments.contains(&"--send-rate".to_owned()) {
            command.args(["--send-rate", "0"]);
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the service starts");
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut greeting).expect("a greeting");
        let mut stderr = child.stderr.take().expect("its log");
        let errors = Arc::new(Mutex::new(String::new()));
        let reader = thread::spawn({
            let errors = Arc::clone(&errors);
            move || {
                let mut buffer = [0; 4_096];
                while let Ok(read @ 1..) = stderr.read(&mut buffer) {
                    errors.lock().expect("not poisoned").push_str(&String::from_utf8_lossy(&buffer[..read]));
                }
            }
        });
        let url = greeting.split_whitespace().find(|word| word.starts_with("http://")).map(|url| url.trim_end_matches([',', '.']).to_owned());
        let url = url.unwrap_or_else(|| panic!("no address in {greeting:?}: {}", errors.lock().expect("not poisoned")));
        Self { child, url, folder, arguments, environment, errors, reader: Some(reader) }
    }

    #[must_use]
    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    #[must_use]
    pub fn secret(&self) -> Vec<u8> {
        std::fs::read(self.data().join("token.key")).expect("the key of development mode")
    }

    /// Somebody with a token; registered by their first request.
    #[must_use]
    pub fn person(&self, id: &str) -> Person {
        self.person_with(id, &json!({}))
    }

    #[must_use]
    pub fn person_with(&self, id: &str, more: &Value) -> Person {
        let mut claims = json!({ "sub": id, "name": id, "exp": now() + 3_600 });
        claims.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        Person::new(id, sign(&self.secret(), &claims), &self.url)
    }

    #[must_use]
    pub fn admin(&self) -> Person {
        self.person_with("admin", &json!({ "roles": ["admin"] }))
    }

    /// People who are registered.
    pub async fn people<const N: usize>(&self, ids: [&str; N]) -> [Person; N] {
        let people = ids.map(|id| self.person(id));
        for person in &people {
            person.ask("{ me { id } }").await;
        }
        people
    }

    /// How many events the log has.
    #[must_use]
    pub fn events(&self) -> usize {
        self.event_lines().len()
    }

    /// The log, by the command line.
    #[must_use]
    pub fn event_lines(&self) -> Vec<Value> {
        let output = Command::new(BINARY).args(["events", "--data"]).arg(self.data()).output().expect("the log");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    /// One measure, by its name and labels as they are written; 0 where nothing was measured.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = reqwest::get(format!("{}/metrics", self.url)).await.expect("an answer").text().await.expect("measures");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// What the service told its operator so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.errors.lock().expect("not poisoned").clone()
    }

    /// SIGKILL, in the middle of whatever it does.
    pub fn kill(&mut self) {
        let _already_ended = self.child.kill();
        let _reaped = self.child.wait();
    }

    /// Sends a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill").success());
    }

    /// Waits for the process to end.
    pub fn wait(&mut self) -> ExitStatus {
        let status = self.ended().unwrap_or_else(|| panic!("it does not end: {}", self.log()));
        if let Some(reader) = self.reader.take() {
            reader.join().expect("its log to its end");
        }
        status
    }

    /// Tells it to stop, and waits until it has done so in order.
    pub fn stop(&mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// The same service in the same folder, after a kill or a stop.
    #[must_use]
    pub fn again(mut self) -> Self {
        self.kill();
        Self::start_so(Arc::clone(&self.folder), self.arguments.clone(), self.environment.clone())
    }

    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.data().join(name)
    }

    /// Looks again and again until it has ended; none where it does not in time.
    fn ended(&mut self) -> Option<ExitStatus> {
        let looks = PATIENCE.as_millis() / BETWEEN_LOOKS.as_millis();
        (0..looks).find_map(|_| {
            thread::park_timeout(BETWEEN_LOOKS);
            self.child.try_wait().expect("a process of this one")
        })
    }
}

impl Drop for Server {
    #[expect(clippy::print_stderr, reason = "a test that fails shows what its services told")]
    fn drop(&mut self) {
        let outcome = self.child.try_wait();
        self.kill();
        if thread::panicking() {
            eprintln!("{} ({outcome:?}) told its operator:\n{}", self.url, self.log());
        }
    }
}

/// Runs the binary to its end, which must come.
pub fn run(arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new("timeout").args(["300", BINARY]).args(arguments).stdin(Stdio::null()).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.success(), text(output.stdout), text(output.stderr))
}
