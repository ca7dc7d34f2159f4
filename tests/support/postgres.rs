//! A private PostgreSQL: one cluster for all tests of a process, started by the first that asks, and
//! clusters of one test for those that kill or freeze it. None outlives the process, however that ends:
//! each is kept by a shell that reads orders from a pipe, and destroys it when the pipe closes.
//!
//! `ENTRENOUS_TEST_POSTGRES=postgres://…` names another server for everything but the killing. It is
//! reached without TLS, and its user needs `createdb`.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::thread;

use entrenous::cli::new_id;
use tokio_postgres::{Client, NoTls};

use super::waiting::until;

/// The variable that names another server.
const ELSEWHERE: &str = "ENTRENOUS_TEST_POSTGRES";

/// Whether the tests have a server of their own: another one's settings cannot be changed.
#[must_use]
pub fn is_private() -> bool {
    env::var_os(ELSEWHERE).is_none()
}

/// A fresh database. Its sessions are ended and it is dropped when this is.
pub struct Database {
    server: String,
    name: String,
}

impl Database {
    pub async fn create() -> Self {
        let server = tokio::task::spawn_blocking(|| match env::var(ELSEWHERE) {
            Ok(url) => url,
            Err(_) => shared().url(),
        });
        let server = server.await.expect("a server");
        let name = format!("entrenous_{}", new_id().simple());
        connect(&server).await.batch_execute(&format!("create database {name}")).await.expect("a database");
        Self { server, name }
    }

    /// Where it is: `postgres://…`.
    #[must_use]
    pub fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    /// A connection to it, for looking behind the service.
    pub async fn client(&self) -> Client {
        connect(&self.url()).await
    }
}

impl Drop for Database {
    /// Waits only where nobody else would clean up: a private cluster goes as a whole.
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let Ok((client, connection)) = tokio_postgres::connect(&server, NoTls).await else { return };
                tokio::spawn(connection);
                let _gone_or_left = client.batch_execute(&format!("drop database if exists {name} with (force)")).await;
            });
        });
        if !is_private() {
            let _gone_or_left = dropping.join();
        }
    }
}

/// Connects without TLS.
pub async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// The same address with another database in it.
fn with_database(url: &str, name: &str) -> String {
    let (url, options) = url.split_once('?').map_or((url, String::new()), |(url, options)| (url, format!("?{options}")));
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find('/').map_or(url.len(), |at| authority + at);
    format!("{}/{name}{options}", &url[..end])
}

fn shared() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(Postgres::private_server)
}

/// A cluster of its own: durable settings, no password, its folder and processes gone when this is dropped.
pub struct Postgres {
    keeper: Mutex<Keeper>,
    folder: PathBuf,
    port: u16,
}

/// The shell that has the cluster, and the two ends of its pipes.
struct Keeper {
    shell: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Its arguments: the folder, the server's programs, the port. It goes on when nobody reads its answers. A
/// stopped process hears nothing but SIGKILL and SIGCONT, so what is frozen is thawed before it is stopped.
const KEEPER: &str = r#"
folder=$1 programs=$2 port=$3
trap '' PIPE
cd "$folder" && exec 2>>"$folder/keeper.log"

make() {
  "$programs/initdb" --pgdata=data --username=entrenous --auth=trust --encoding=UTF8 --no-sync "$@" </dev/null >&2
}
make_sorted_as_people_do() {
  make --locale=C --locale-provider=icu --icu-locale=en || { rm -rf data; make --locale=C; }
}
configure() {
  cat >>data/postgresql.conf <<END
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$folder'
fsync = on
synchronous_commit = on
max_connections = 300
shared_buffers = 64MB
wal_level = minimal
max_wal_senders = 0
log_min_messages = warning
lc_messages = 'C'
END
}
control() {
  "$programs/pg_ctl" --pgdata=data --silent --wait --log=server.log "$@" </dev/null >&2
}
family() { # the postmaster and its children
  read -r parent <data/postmaster.pid || return
  echo "$parent"
  for process in /proc/[0-9]*; do
    read -r _ _ _ its_parent _ <"$process/stat" && [ "$its_parent" = "$parent" ] && echo "${process#/proc/}"
  done
}
send() { # SIGNAL
  for process in $(family); do kill -"$1" "$process"; done
  true # one may have ended meanwhile
}
freeze() { # twice: the first round may have met the postmaster in the middle of a fork
  send STOP
  send STOP
}

while read -r order; do
  case $order in
    make) make_sorted_as_people_do && configure && control start ;;
    start) control start ;;
    stop) send CONT; control --mode=immediate stop ;;
    freeze) freeze ;;
    thaw) send CONT ;;
  esac
  case $? in
    0) echo done ;;
    *) echo failed ;;
  esac
done
if [ -f data/postmaster.pid ]; then
  send CONT
  control --mode=immediate --timeout=10 stop || send KILL
fi
cd / && rm -rf "$folder"
"#;

impl Postgres {
    /// A cluster for one test: about a second, during which the caller's thread waits.
    #[must_use]
    pub fn private_server() -> Self {
        let folder = tempfile::Builder::new().prefix("entrenous-postgres-").tempdir().expect("a folder").keep();
        let port = free_port();
        let mut shell = Command::new("sh");
        shell.args(["-c", KEEPER, "postgres-keeper"]).arg(&folder).arg(programs()).arg(port.to_string());
        // The server refuses to run as root.
        if fs::metadata(&folder).expect("a folder").uid() == 0 {
            let (user, group) = unprivileged();
            chown(&folder, Some(user), Some(group)).expect("a folder of the server's user");
            shell.uid(user).gid(group);
        }
        // A group of its own: what the terminal sends to the tests is not for it.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = shell.spawn().expect("a shell");
        let (orders, answers) = (shell.stdin.take(), BufReader::new(shell.stdout.take().expect("its answers")));
        let server = Self { keeper: Mutex::new(Keeper { shell, orders, answers }), folder, port };
        server.order("make");
        server
    }

    /// A database of it that is there from the beginning.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://entrenous@127.0.0.1:{}/postgres", self.port)
    }

    /// The same by its Unix socket.
    #[must_use]
    pub fn socket_url(&self) -> String {
        format!("postgres://entrenous@{}:{}/postgres", self.folder.display().to_string().replace('/', "%2F"), self.port)
    }

    /// Ends every process of it at once, as a crash would: the next start recovers from the log of writes.
    pub fn stop_immediate(&self) {
        self.order("stop");
    }

    /// Starts it again, at the same address, and waits until it answers.
    pub fn start(&self) {
        self.order("start");
    }

    /// Stops every process of it where it is: connections stay open, and nobody answers.
    pub fn freeze(&self) {
        self.order("freeze");
    }

    /// Lets it go on after `freeze`.
    pub fn thaw(&self) {
        self.order("thaw");
    }

    fn order(&self, order: &str) {
        let mut keeper = self.keeper.lock().expect("not poisoned");
        writeln!(keeper.orders.as_mut().expect("there until it is dropped"), "{order}").expect("the keeper listens");
        let mut answer = String::new();
        keeper.answers.read_line(&mut answer).expect("an answer");
        assert_eq!(answer, "done\n", "{order}: {}", self.log());
    }

    /// What it told its operator.
    fn log(&self) -> String {
        ["keeper.log", "server.log"].map(|file| fs::read_to_string(self.folder.join(file)).unwrap_or_default()).concat()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Ok(keeper) = self.keeper.get_mut() {
            drop(keeper.orders.take());
            let _gone = keeper.shell.wait();
        }
    }
}

/// Below the ports that systems give to clients: one of those could hold it while the server is down.
fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let tries = (0..100).map(|_| 20_000 + u16::try_from(new_id().as_u128() % 12_000).expect("a remainder of 12,000"));
    tries.into_iter().find(is_free).expect("a free port")
}

/// The folder of the server's programs: on the path, or the newest that Debian installed.
fn programs() -> PathBuf {
    let on_path = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect::<Vec<_>>();
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path());
    let mut versions: Vec<(u32, PathBuf)> = installed.filter_map(|folder| Some((folder.file_name()?.to_str()?.parse().ok()?, folder.join("bin")))).collect();
    versions.sort_by(|one, other| other.cmp(one));
    let is_whole = |folder: &Path| ["initdb", "pg_ctl", "postgres"].iter().all(|program| folder.join(program).is_file());
    let found = on_path.into_iter().chain(versions.into_iter().map(|(_, folder)| folder)).find(|folder| is_whole(folder));
    found.unwrap_or_else(|| panic!("no PostgreSQL server on PATH or under /usr/lib/postgresql: install one, or name one in {ELSEWHERE}"))
}

/// The user and group that the server runs as when root runs the tests.
fn unprivileged() -> (u32, u32) {
    let id = |option: &str, user: &str| {
        let output = Command::new("id").args([option, user]).output().expect("id");
        String::from_utf8_lossy(&output.stdout).trim().parse().ok()
    };
    let of = |user: &&str| Some((id("-u", user)?, id("-g", user)?));
    ["postgres", "nobody"].iter().find_map(of).expect("a user who is not root")
}

#[test]
fn a_database_is_put_into_an_address() {
    for (url, expected) in [
        ("postgres://me@host:1/a?sslmode=disable", "postgres://me@host:1/b?sslmode=disable"),
        ("postgres://me@host", "postgres://me@host/b"),
        ("postgres://me@%2Ftmp%2Fx:1/a", "postgres://me@%2Ftmp%2Fx:1/b"),
    ] {
        assert_eq!(with_database(url, "b"), expected);
    }
}

#[tokio::test]
async fn each_database_is_empty_and_gone_with_its_owner() {
    let (one, other) = (Database::create().await, Database::create().await);
    one.client().await.batch_execute("create table here (n bigint); insert into here values (1)").await.expect("a table");
    assert!(other.client().await.batch_execute("select from here").await.is_err());
    let url = one.url();
    drop(one);
    until("it is gone", async || tokio_postgres::connect(&url, NoTls).await.is_err()).await;
}

#[tokio::test]
async fn a_cluster_of_one_test_keeps_what_was_committed_when_it_is_killed_and_waits_when_it_is_frozen() {
    let server = Postgres::private_server();
    let folder = server.folder.clone();
    let client = connect(&server.socket_url()).await;
    let settings = client.query_one("select current_setting('fsync') || current_setting('synchronous_commit')", &[]).await.expect("settings");
    assert_eq!(settings.get::<_, String>(0), "onon");
    client.batch_execute("create table kept (n bigint); insert into kept values (1)").await.expect("committed");
    server.stop_immediate();
    assert!(client.batch_execute("select 1").await.is_err());
    server.start();
    let client = connect(&server.url()).await;
    server.freeze();
    let mut asking = std::pin::pin!(client.query_one("select count(*) from kept", &[]));
    assert!(tokio::time::timeout(std::time::Duration::from_millis(100), &mut asking).await.is_err());
    server.thaw();
    assert_eq!(asking.await.expect("a row").get::<_, i64>(0), 1);
    server.freeze();
    drop(server);
    assert!(!folder.exists());
}
