//! Verdicts, checkpoints and proofs as an operator asks for them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use entrenous::audit::checkpoint::CheckpointSigner;
use entrenous::audit::statement::{Proven, Statement};
use serde_json::{Value, json};

use super::signer;
use crate::support::Server;
use crate::support::process::{BINARY, run};

#[tokio::test]
async fn a_verdict_stands_though_nobody_reads_it() {
    let mut server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    alice.sent(&bob, "un").await;
    server.stop();
    let code = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(BINARY);
        command.args(arguments).arg("--data").arg(server.data()).stdin(Stdio::null()).stdout(writer).stderr(Stdio::null());
        command.status().expect("it runs").code()
    };
    for (command, file, change) in [
        (&["projections", "verify"][..], "views.db", "update messages set text = 'autre chose'"),
        (&["verify"], "events.db", "update events set actor = 'mallory' where position = 3"),
    ] {
        assert_eq!(code(command), Some(0), "{command:?}");
        rusqlite::Connection::open(server.file(file)).expect("a file").execute_batch(change).expect("changed");
        assert_eq!(code(command), Some(1), "{command:?}");
    }
}

fn succeeds(arguments: &[&str]) -> String {
    let (ok, out, error) = run(arguments);
    assert!(ok && error.is_empty(), "{arguments:?}: {out}{error}");
    out
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_and_proofs_are_made_beside_the_service_and_checked_elsewhere() {
    let server = Server::start();
    let [alice, bob] = server.people(["alice", "bob"]).await;
    let id = alice.sent(&bob, "un").await;
    let data = server.data().to_str().expect("UTF-8");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let file = |name: &str, text: &str| write(elsewhere.path(), name, text);
    let early = file("early", &signer().verifier().to_string());
    let (ok, out, error) = run(&["prove", "--data", data, "--since", &early]);
    assert!(!ok && out.is_empty() && error.contains("the key that signed the checkpoint is not here"), "{error}");
    assert!(!server.file("checkpoint.key").exists(), "none is made for it");
    let (ok, verifier, told) = run(&["checkpoint", "--data", data, "--verifier"]);
    assert!(ok && told == format!("{}: a new key of checkpoints was made here\n", server.file("checkpoint.key").display()), "{told}");
    let verifier = verifier.trim();
    let first = file("first", &succeeds(&["checkpoint", "--data", data]));
    assert!(succeeds(&["verify", "--data", data, "--checkpoint", &first]).contains("(3 events): equal"));
    alice.sent(&bob, "deux").await;
    assert!(succeeds(&["verify", "--data", data, "--checkpoint", &first]).contains("(3 events): extended since"));

    let inclusion = file("inclusion", &succeeds(&["prove", "--data", data, "--event", &id]));
    let consistency = file("consistency", &succeeds(&["prove", "--data", data, "--since", &first]));
    let nowhere = elsewhere.path().join("nothing").to_str().expect("UTF-8").to_owned();
    assert!(succeeds(&["verify", "--data", &nowhere, "--verifier", verifier, "--proof", &inclusion]).contains(&id));
    assert!(succeeds(&["verify", "--data", &nowhere, "--verifier", verifier, "--proof", &consistency]).contains("of 4 events goes on from that of 3"));
    let export = file("export.jsonl", &succeeds(&["events", "--data", data]));
    assert!(succeeds(&["verify", "--data", &nowhere, "--verifier", verifier, "--export", &export, "--checkpoint", &first]).contains("extended since"));

    let fails = |arguments: &[&str], said: &str| {
        let (ok, out, error) = run(arguments);
        assert!(!ok && format!("{out}{error}").contains(said), "{arguments:?}: {out}{error}");
    };
    let text = fs::read_to_string(&inclusion).expect("a proof");
    let mut forged: Value = serde_json::from_str(&text).expect("JSON");
    forged["inclusion"]["event"]["data"]["text"] = json!("autre chose");
    let forged = file("forged", &forged.to_string());
    fails(&["verify", "--data", &nowhere, "--verifier", verifier, "--proof", &forged], "not the one of the proof");
    let lines = fs::read_to_string(&export).expect("an export");
    let altered = file("altered.jsonl", &lines.replace("\"senderNumber\":1", "\"senderNumber\":9"));
    fails(&["verify", "--data", &nowhere, "--verifier", verifier, "--export", &altered, "--checkpoint", &first], "DIFFERS");
    let signed = fs::read_to_string(&first).expect("a checkpoint");
    for (name, mailed) in [("longer", format!("{signed}\n\n")), ("returns", signed.replace('\n', "\r\n") + "\r\n")] {
        let mailed = file(name, &mailed);
        assert!(succeeds(&["verify", "--data", data, "--checkpoint", &mailed]).contains("(3 events): extended since"), "{name}");
        let proof = succeeds(&["prove", "--data", data, "--since", &mailed]);
        assert_eq!(proof, fs::read_to_string(&consistency).expect("a proof"), "{name}");
    }
    let other = file("other", &signed.replace("\n3\n", "\n4\n"));
    fails(&["verify", "--data", data, "--checkpoint", &other], "its signature does not fit");
    let stranger = CheckpointSigner::new(&[9; 32]).verifier().to_string();
    fails(&["verify", "--data", data, "--verifier", &stranger, "--checkpoint", &first], "not signed by this key");
    fails(&["verify", "--data", &nowhere, "--checkpoint", &first], "--verifier is needed");
    fails(&["prove", "--data", data, "--event", "01a21ad9-9555-76a1-b83a-20a968a79b5f"], "the log has no event");
    let mode = fs::metadata(server.file("checkpoint.key")).expect("the key").permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);

    let proven = Statement::parse(&text).expect("a proof").check(&verifier.parse().expect("a key")).expect("proven");
    assert!(matches!(proven, Proven::Inclusion { event, checkpoint } if event.id.to_string() == id && checkpoint.size == 4));
}
