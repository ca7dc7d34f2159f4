//! What the benchmarks of the whole service share: the service as a process, and clients that ask it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use entrenous::cli::now;
use entrenous::http::authentication::{TokenClaims, TokenSigner};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const CLIENTS: usize = 64;
const SECRET: &str = "a secret of at least thirty-two bytes";
pub const LOADED: Duration = Duration::from_secs(6);

pub fn user(n: usize) -> String {
    format!("user{n}")
}

/// The service, with a token for each of its users.
pub struct Service {
    child: Child,
    pub address: String,
    pub tokens: Arc<HashMap<String, String>>,
}

impl Service {
    /// With further arguments of `serve`.
    pub fn start(users: usize, arguments: &[impl AsRef<OsStr>]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_entrenous"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--send-rate", "0", "--user-limit", "100000", "--token-secret", SECRET]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the service starts");
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().expect("its output")).read_line(&mut greeting).expect("a greeting");
        let address = greeting.split_whitespace().find_map(|word| word.strip_prefix("http://")).expect("an address").trim_end_matches([',', '.']).to_owned();
        let (signer, iat) = (TokenSigner::new(SECRET.as_bytes()), now().0 / 1_000_000);
        let token = |sub: &str| signer.sign(&TokenClaims { sub, name: None, roles: &[], iat, exp: iat + 3_600, iss: None, aud: None });
        let tokens = Arc::new((0..users).map(user).map(|user| (user.clone(), token(&user))).collect());
        Self { child, address, tokens }
    }

    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What a load measured; times in milliseconds.
pub struct Measured {
    pub rate: f64,
    pub p50: f64,
    pub p99: f64,
}

/// Clients that each ask again as soon as they are answered.
pub async fn load(service: &Service, request: impl Fn(usize) -> (String, Value) + Send + Sync + 'static) -> Measured {
    let tokens = Arc::clone(&service.tokens);
    load_at(&service.address, move |n| {
        let (user, body) = request(n);
        (format!("authorization: Bearer {}\r\n", tokens[&user]), body)
    })
    .await
}

/// The same at any address, with a header line and a body each.
pub async fn load_at(address: &str, request: impl Fn(usize) -> (String, Value) + Send + Sync + 'static) -> Measured {
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let request = Arc::new(request);
    let started = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (stop, next, request, address) = (Arc::clone(&stop), Arc::clone(&next), Arc::clone(&request), address.to_owned());
            tokio::spawn(async move {
                let mut client = Client::connect(&address).await;
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let n = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("a count");
                    let (header, body) = request(n);
                    let body = body.to_string();
                    let asked = Instant::now();
                    client.ask(&header, &body).await;
                    times.push(asked.elapsed());
                }
                times
            })
        })
        .collect();
    tokio::time::sleep(LOADED).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await.expect("no wrong answer"));
    }
    let elapsed = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    Measured { rate: times.len() as f64 / elapsed, p50: at(0.50), p99: at(0.99) }
}

/// The least that speaks HTTP/1.1, so that the load costs the service's cores little.
pub struct Client {
    stream: tokio::io::BufReader<TcpStream>,
    pub body: Vec<u8>,
}

impl Client {
    pub async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a socket");
        stream.set_nodelay(true).expect("set");
        Self { stream: tokio::io::BufReader::new(stream), body: Vec::new() }
    }

    pub async fn ask(&mut self, header: &str, body: &str) {
        let length = body.len();
        let request = format!("POST /graphql HTTP/1.1\r\nhost: localhost\r\n{header}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes()).await.expect("sent");
        let (mut line, mut length) = (String::new(), 0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).await.expect("a header");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).await.expect("a body");
        let wrong = self.body.windows(8).any(|part| part == b"\"errors\"") || self.body.windows(6).any(|part| part == b"\"code\"");
        assert!(!wrong, "{}", String::from_utf8_lossy(&self.body));
    }
}
