//! Inputs that nobody would write, made of those that are kept in `tests/corpus`: what was stored, texts, cursors, and
//! the bytes of both transports. `ENTRENOUS_FUZZ_ROUNDS` makes it longer (`dev/fuzz`), `ENTRENOUS_FUZZ_SEED` repeats a run.
//! An input that fails is put into the corpus: keep it there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use entrenous::domain::text::{MessageText, TextRefusal};
use entrenous::event_log::codec;
use entrenous::event_log::keys::{Key, Unlocked};
use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::Server;
use crate::support::inside::Inside;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[expect(clippy::print_stdout, reason = "the test harness shows it of a test that fails")]
fn tell(what: &str) {
    println!("{what}");
}

/// A corpus, and what it is varied with.
struct Fuzz {
    name: &'static str,
    chance: TestRng,
    kept: Vec<Vec<u8>>,
    words: &'static [&'static str],
    rounds: usize,
}

impl Fuzz {
    fn of(name: &'static str, rounds: usize, words: &'static [&'static str]) -> Self {
        let number = |variable: &str| std::env::var(variable).ok().map(|value| value.parse::<u64>().expect("a number"));
        let seed = number("ENTRENOUS_FUZZ_SEED").unwrap_or_else(|| entrenous::cli::new_id().as_u64_pair().1);
        let rounds = number("ENTRENOUS_FUZZ_ROUNDS").map_or(rounds, |rounds| usize::try_from(rounds).expect("a number"));
        tell(&format!("{name}: ENTRENOUS_FUZZ_SEED={seed} ENTRENOUS_FUZZ_ROUNDS={rounds}"));
        let files: BTreeSet<PathBuf> = fs::read_dir(Self::folder(name)).expect("a corpus").map(|entry| entry.expect("a file").path()).collect();
        let kept: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).expect("an input")).collect();
        assert!(!kept.is_empty(), "{name} has a corpus");
        let seed: [u8; 32] = Sha256::digest(seed.to_be_bytes()).into();
        Self { name, chance: TestRng::from_seed(RngAlgorithm::ChaCha, &seed), kept, words, rounds }
    }

    fn folder(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name)
    }

    /// Everything that is kept, as it is, and then varied.
    fn inputs(&mut self) -> Vec<Vec<u8>> {
        let mut inputs = self.kept.clone();
        inputs.extend((0..self.rounds).map(|_| self.varied()).collect::<Vec<_>>());
        inputs
    }

    fn below(&mut self, most: usize) -> usize {
        usize::try_from(self.chance.next_u64() % most.max(1) as u64).expect("a number")
    }

    fn varied(&mut self) -> Vec<u8> {
        let mut input = self.any().clone();
        for _ in 0..=self.below(6) {
            let (at, other) = (self.below(input.len() + 1), self.below(input.len() + 1));
            let (from, to) = (at.min(other), at.max(other));
            match self.below(9) {
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = u8::try_from(self.below(256)).expect("a byte"),
                2 => _ = input.drain(from..to.min(from + 16)),
                3 => input.truncate(at),
                4 => {
                    let part = input[from..to.min(from + 64)].to_vec();
                    let often = 1 + self.below(4);
                    input.splice(at..at, part.repeat(often));
                }
                5 => {
                    let other = self.any();
                    let part = other[..other.len().min(300)].to_vec();
                    input.splice(at..at, part);
                }
                6 => {
                    let many = 1 << self.below(12);
                    input.splice(at..at, vec![b'a'; many]);
                }
                _ => {
                    let word = self.words[self.below(self.words.len())];
                    input.splice(at..at, word.bytes());
                }
            }
        }
        input
    }

    fn any(&mut self) -> &Vec<u8> {
        let at = self.below(self.kept.len());
        &self.kept[at]
    }

    /// Keeps an input that fails.
    fn keep(&self, input: &[u8]) -> PathBuf {
        let name = Sha256::digest(input).iter().take(8).fold(String::new(), |mut name, byte| {
            let _cannot_fail = write!(name, "{byte:02x}");
            name
        });
        let path = Self::folder(self.name).join(name);
        fs::write(&path, input).expect("kept");
        path
    }

    /// Tries each input by itself.
    fn each(mut self, holds: impl Fn(&[u8])) {
        for input in self.inputs() {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| holds(&input))) {
                tell(&format!("it fails with {}", self.keep(&input).display()));
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[test]
fn whatever_is_stored_is_read_or_refused() {
    const ID: Uuid = Uuid::from_u128(7);
    let words = &["\"shape\":2", "\"shape\":", "null", "[", "}", "\"text\":", "{\"key\":\"", "\\ud800", "1e999", "-1", "18446744073709551616", "\u{0}"];
    let key = || Key::new(*b"the key of every golden file ...");
    let open = |name: &str| if name == key().name() { Unlocked::Key(key()) } else { Unlocked::Unknown };
    let kinds = ["UserRegistered", "ProfileUpdated", "ContactableChanged", "UserErased", "MessageSent", "MessagesRead", "SectionConfigured", "UserBlocked"];
    Fuzz::of("codec", 20_000, words).each(|input| {
        let data = String::from_utf8_lossy(input);
        let _masked = codec::reveal(&data, ID, open);
        for kind in kinds {
            if let Ok(event) = codec::decode(kind, &data, ID, open) {
                let (written, again) = codec::encode(&event, ID, Some(&key()));
                assert_eq!((written, codec::decode(kind, &again, ID, open).expect("what was written")), (kind, event));
            }
        }
    });
}

#[test]
fn t_a_text_that_is_taken_is_taken_again_as_it_is() {
    let words = &[
        "\u{200d}",
        "\u{fe0f}",
        "👩",
        "🏳️",
        "#️⃣",
        "https://",
        "www.",
        ".fr/",
        "exemple.com",
        "@",
        "\u{301}",
        "\t",
        "\n",
        "\u{0}",
        "\u{202e}",
        "é",
        "：",
        "xn--",
        " ",
    ];
    Fuzz::of("text", 20_000, words).each(|input| {
        let written = String::from_utf8_lossy(input);
        match MessageText::parse(&written) {
            Ok(text) => {
                let text = text.as_str();
                assert!((1..=2_000).contains(&text.chars().count()) && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
                assert_eq!(MessageText::parse(text).expect("taken before").as_str(), text, "once is enough");
                assert_eq!(MessageText::parse(&format!("{written} \n")).expect("only trimmed").as_str(), text);
                assert!(MessageText::parse(&format!("{text} https://exemple.fr")).is_err(), "with an address it is none");
            }
            Err(TextRefusal::HasUrl | TextRefusal::HasEmoji) => {
                let longer = format!("{} a", written.trim_end());
                assert!(MessageText::parse(&longer).is_err(), "whatever stands behind it");
            }
            Err(_) => {}
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cursor_that_nobody_gave_is_bad_input_or_a_place() {
    let inside = Inside::start().await;
    let [ann, _, _] = [inside.sign_in("ann").await, inside.sign_in("bob").await, inside.sign_in("cleo").await];
    for to in ["bob", "cleo"] {
        inside.mutate(&ann, "sendMessage", json!({ "to": to, "text": "salut" }), "message { id }").await;
    }
    let mut fuzz = Fuzz::of("cursors", 3_000, &["=", "-", "_", "AAAA", "//", "\u{e9}", "w4k", "%00"]);
    let pages = "{ conversations(first: 9) { edges { cursor } } users(first: 9) { edges { cursor } } conversation(with: \"bob\") { messages(last: 9) { edges { cursor } } } }";
    let given = inside.ask(&ann, pages, json!({})).await;
    for edges in [&given["conversations"]["edges"], &given["users"]["edges"], &given["conversation"]["messages"]["edges"]] {
        let cursors = edges.as_array().expect("edges").iter().map(|edge| edge["cursor"].as_str().expect("a cursor").as_bytes().to_vec());
        fuzz.kept.extend(cursors);
    }
    for input in fuzz.inputs() {
        let cursor = Value::from(String::from_utf8_lossy(&input));
        let query = format!(
            "{{ a: conversations(first: 2, after: {cursor}) {{ edges {{ cursor }} }} b: users(last: 2, before: {cursor}) {{ edges {{ cursor }} }}
              c: conversation(with: \"bob\") {{ messages(first: 2, after: {cursor}) {{ edges {{ cursor }} }} }} }}"
        );
        let Some(answer) = inside.try_respond(&ann, &query).await else { continue };
        for error in answer["errors"].as_array().into_iter().flatten() {
            let code = &error["extensions"]["code"];
            assert!(code == "BAD_USER_INPUT", "{answer}: {}", fuzz.keep(&input).display());
        }
    }
}

/// Says some bytes and nothing more, and hears everything until the other side ends, or begins a stream of events.
async fn exchange(address: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let mut answer = Vec::new();
    let (mut hearing, mut saying) = stream.split();
    let say = async {
        // Whoever is refused is not listened to any longer.
        let _cut_off = saying.write_all(bytes).await;
        let _cut_off = saying.shutdown().await;
    };
    let hear = async {
        let is_endless = |answer: &[u8]| answer.windows(17).any(|window| window == b"text/event-stream");
        while !is_endless(&answer) && hearing.read_buf(&mut answer).await.is_ok_and(|read| read > 0) {}
    };
    timeout(PATIENCE, async { tokio::join!(say, hear) }).await.ok()?;
    Some(answer)
}

/// With a token, and where the address is known.
fn addressed(input: &[u8], address: &str, token: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        bytes.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        for (word, meaning) in [(b"TOKEN".as_slice(), token), (b"HOST", address)] {
            if let Some(after) = rest.strip_prefix(word) {
                bytes.extend_from_slice(meaning.as_bytes());
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest);
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_over_a_connection_the_service_goes_on() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let words: &[&str] = &[
        "\r\n",
        "\r\n\r\n",
        "transfer-encoding: chunked\r\n",
        "content-length: 9\r\n",
        "ffffffff\r\n",
        "GET /graphql?query=",
        "{ me { id } }",
        "\"variables\":{",
        "%",
        "\u{0}",
        "upgrade: websocket\r\n",
        "expect: 100-continue\r\n",
        "HTTP/2.0",
        "accept: text/event-stream\r\n",
        "subscription { inbox { __typename } }",
    ];
    let mut fuzz = Fuzz::of("http", 1_500, words);
    let server_errors = b"HTTP/1.1 5";
    for some in fuzz.inputs().chunks(16) {
        let exchanges = some.iter().map(|input| {
            let (address, bytes) = (address.clone(), addressed(input, &address, &alice.token));
            tokio::spawn(async move { exchange(&address, &bytes).await })
        });
        for (input, answer) in some.iter().zip(exchanges.collect::<Vec<_>>()) {
            let answer = answer.await.expect("no panic").unwrap_or_else(|| panic!("it does not end: {}", fuzz.keep(input).display()));
            let is_well = !answer.windows(server_errors.len()).any(|window| window == server_errors);
            assert!(is_well, "{}: {}", String::from_utf8_lossy(&answer), fuzz.keep(input).display());
        }
        bob.ask("{ me { id } }").await;
    }
    assert!(!server.log().contains("panicked") && !server.log().contains(&alice.token), "{}", server.log());
}

/// A frame of a client, masked with nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | u8::try_from(short).expect("short")),
        long => {
            frame.push(0xFE);
            frame.extend(u16::try_from(long).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_comes_over_a_socket_the_service_goes_on() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    let words: &[&str] = &[
        "\"type\":\"subscribe\"",
        "\"type\":\"complete\"",
        "\"id\":\"1\"",
        "\"payload\":",
        "null",
        "{",
        "[",
        "\\u0000",
        "\n",
        "{\"type\":\"ping\"}",
        "inbox",
        "\"extensions\":{",
    ];
    let mut fuzz = Fuzz::of("socket", 1_500, words);
    let handshake = format!(
        "GET /graphql HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-protocol: graphql-transport-ws\r\n\r\n"
    );
    let inputs = fuzz.inputs();
    for (n, some) in inputs.chunks(16).enumerate() {
        let exchanges = some.iter().map(|input| {
            let messages = addressed(input, &address, &alice.token);
            let mut bytes = handshake.clone().into_bytes();
            // A message a line; now and then as a kind of frame that it is not.
            for (line, message) in messages.split(|byte| *byte == b'\n').enumerate() {
                let first = if n % 4 == 3 && line > 0 { message.first().copied().unwrap_or(0x88) } else { 0x81 };
                bytes.extend(frame(first, message));
            }
            bytes.extend(frame(0x88, &1_000_u16.to_be_bytes()));
            let address = address.clone();
            tokio::spawn(async move { exchange(&address, &bytes).await })
        });
        for (input, exchange) in some.iter().zip(exchanges.collect::<Vec<_>>()) {
            let answer = exchange.await.expect("no panic");
            assert!(answer.is_some_and(|answer| answer.starts_with(b"HTTP/1.1 101")), "{}", fuzz.keep(input).display());
        }
        bob.ask("{ me { id } }").await;
    }
    assert!(!server.log().contains("panicked") && !server.log().contains(&alice.token), "{}", server.log());
}
