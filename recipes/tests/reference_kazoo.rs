//! Together with kazoo, in both roles, on Apache's server.

#[path = "harness/mod.rs"]
mod harness;

use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use zk_recipes::{
    Barrier, DoubleBarrier, Election, Group, GroupFormat, Lock, LockFormat, ReadWriteLock,
    RwFormat, Semaphore, SemaphoreFormat,
};

use crate::harness::{World, children, soon, until, until_children};

pub(crate) use harness::apache as servers;

/// A process that does with kazoo what it is told, one thing at a time. It ends with this value.
struct Peer {
    _child: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Peer {
    fn start(world: &World) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peer/kazoo_peer.py");
        // Debian's, which has kazoo, whatever else is on the path.
        let mut child = Command::new("/usr/bin/python3")
            .arg(script)
            .arg(format!("{}{}", world.addr(), world.chroot))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("python3 runs");
        let commands = child.stdin.take().expect("it is piped");
        let answers = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Self {
            _child: child,
            commands,
            answers,
        }
    }

    async fn tell(&mut self, command: Value) {
        let line = format!("{command}\n");
        self.commands
            .write_all(line.as_bytes())
            .await
            .expect("it reads");
    }

    async fn answer(&mut self) -> Value {
        let line = soon("kazoo answers", self.answers.next_line()).await;
        let line = line.expect("it can be read").expect("kazoo lives");
        let answer: Value = serde_json::from_str(&line).expect("it is JSON");
        assert!(answer.get("error").is_none(), "{answer}");
        answer.get("ok").cloned().unwrap_or_default()
    }

    async fn ask(&mut self, command: Value) -> Value {
        self.tell(command).await;
        self.answer().await
    }

    /// Whether it gets a lock at once.
    async fn tries(&mut self, kind: &str, path: &str, extra: &Value) -> bool {
        let name = format!("{kind} {path} {extra}");
        let command = json!({
            "do_": "acquire", "kind": kind, "path": path, "name": name, "blocking": false,
        });
        let got = self.ask(merged(command, extra)).await == true;
        if got {
            self.ask(json!({"do_": "release", "name": name})).await;
        }
        got
    }
}

/// A command with further arguments.
fn merged(mut command: Value, arguments: &Value) -> Value {
    if let (Some(command), Some(arguments)) = (command.as_object_mut(), arguments.as_object()) {
        command.extend(arguments.clone());
    }
    command
}

#[tokio::test]
async fn locks_wait_for_each_other_as_the_table_says() {
    let world = World::start().await;
    let zk = world.client().await;
    let mut kazoo = Peer::start(&world);
    let extra = json!({"extra_lock_patterns": ["-lock-"]});
    // Format, and whether kazoo waits for it: as it is, and with the pattern.
    for (format, waits, waits_with_pattern) in [
        (LockFormat::Curator, false, true),
        (LockFormat::Kazoo, true, true),
        (LockFormat::Bridge, true, true),
    ] {
        let path = format!("/{format:?}");
        let lock = Lock::new(&zk, &path).format(format).identity("ours");
        let guard = soon("free", lock.acquire()).await.unwrap();
        assert_eq!(
            !kazoo.tries("lock", &path, &json!({})).await,
            waits,
            "{format:?}"
        );
        assert_eq!(
            !kazoo.tries("lock", &path, &extra).await,
            waits_with_pattern,
            "{format:?}"
        );
        assert!(!waits || !kazoo.tries("read", &path, &json!({})).await);
        guard.release().await.unwrap();
        // Kazoo holds, ours waits, whatever its format; and gets its turn.
        for kind in ["lock", "read", "write"] {
            let held = json!({"do_": "acquire", "kind": kind, "path": path, "name": kind});
            assert_eq!(kazoo.ask(held).await, true);
            assert!(
                lock.try_acquire().await.unwrap().is_none(),
                "{format:?} {kind}"
            );
            let waiting = tokio::spawn({
                let lock = lock.clone();
                async move { lock.acquire().await }
            });
            let count = if format == LockFormat::Bridge { 3 } else { 2 };
            until_children(&zk, &path, count).await;
            assert!(!waiting.is_finished());
            kazoo.ask(json!({"do_": "release", "name": kind})).await;
            soon("our turn", waiting)
                .await
                .unwrap()
                .unwrap()
                .release()
                .await
                .unwrap();
            until_children(&zk, &path, 0).await;
        }
        // Ours holds, kazoo waits, and gets its turn.
        let arguments = if waits { json!({}) } else { extra.clone() };
        let guard = lock.acquire().await.unwrap();
        let own = children(&zk, &path).await.len();
        let command = json!({"do_": "acquire", "kind": "lock", "path": path, "name": "turn"});
        let command = merged(command, &arguments);
        kazoo.tell(command).await;
        until_children(&zk, &path, own + 1).await;
        guard.release().await.unwrap();
        assert_eq!(kazoo.answer().await, true);
        assert!(lock.try_acquire().await.unwrap().is_none());
        kazoo.ask(json!({"do_": "release", "name": "turn"})).await;
        assert!(lock.try_acquire().await.unwrap().is_some());
    }
    // Who is in line, as kazoo sees it.
    let guard = Lock::new(&zk, "/who")
        .format(LockFormat::Kazoo)
        .identity("ours")
        .acquire()
        .await;
    let seen = kazoo
        .ask(json!({"do_": "contenders", "kind": "lock", "path": "/who"}))
        .await;
    assert_eq!(seen, json!(["ours"]));
    drop(guard);
}

#[tokio::test]
async fn readers_and_writers_are_those_of_kazoo() {
    let world = World::start().await;
    let zk = world.client().await;
    let mut kazoo = Peer::start(&world);
    let lock = ReadWriteLock::new(&zk, "/rw").format(RwFormat::Kazoo);
    let none = json!({});
    let reader = lock.read().await.unwrap();
    assert!(kazoo.tries("read", "/rw", &none).await);
    assert!(!kazoo.tries("write", "/rw", &none).await);
    reader.release().await.unwrap();
    let writer = lock.write().await.unwrap();
    assert!(!kazoo.tries("read", "/rw", &none).await);
    let reader = writer.downgrade().await.unwrap();
    assert!(kazoo.tries("read", "/rw", &none).await);
    assert!(!kazoo.tries("write", "/rw", &none).await);
    reader.release().await.unwrap();
    kazoo
        .ask(json!({"do_": "acquire", "kind": "read", "path": "/rw", "name": "r"}))
        .await;
    assert!(lock.try_write().await.unwrap().is_none());
    assert!(lock.try_read().await.unwrap().is_some());
    kazoo.ask(json!({"do_": "release", "name": "r"})).await;
    kazoo
        .ask(json!({"do_": "acquire", "kind": "write", "path": "/rw", "name": "w"}))
        .await;
    assert!(lock.try_read().await.unwrap().is_none());
    kazoo.ask(json!({"do_": "release", "name": "w"})).await;
    until_children(&zk, "/rw", 0).await;
    assert!(lock.try_write().await.unwrap().is_some());
}

#[tokio::test]
async fn leases_are_shared_with_kazoo() {
    let world = World::start().await;
    let zk = world.client().await;
    let mut kazoo = Peer::start(&world);
    let slots = Semaphore::new(&zk, "/s", 2).format(SemaphoreFormat::Kazoo);
    let one = slots.acquire().await.unwrap();
    let acquire = |name: &str, blocking: bool| json!({"do_": "acquire", "kind": "semaphore", "path": "/s", "name": name, "blocking": blocking, "max_leases": 2});
    assert_eq!(kazoo.ask(acquire("a", true)).await, true);
    assert!(slots.try_acquire().await.unwrap().is_none());
    assert_eq!(kazoo.ask(acquire("b", false)).await, false);
    let waiting = tokio::spawn({
        let slots = slots.clone();
        async move { slots.acquire().await }
    });
    kazoo.ask(json!({"do_": "release", "name": "a"})).await;
    let two = soon("our turn", waiting).await.unwrap().unwrap();
    one.release().await.unwrap();
    assert_eq!(kazoo.ask(acquire("c", true)).await, true);
    two.release().await.unwrap();
    kazoo.ask(json!({"do_": "release", "name": "c"})).await;
    until_children(&zk, "/s", 0).await;
}

#[tokio::test]
async fn candidates_of_both_lead_in_turn() {
    let world = World::start().await;
    let zk = world.client().await;
    let mut kazoo = Peer::start(&world);
    for format in [LockFormat::Kazoo, LockFormat::Bridge] {
        let path = format!("/{format:?}");
        let election = Election::new(&zk, &path).format(format);
        election
            .run_once(|leadership| {
                let (zk, path, kazoo) = (&zk, &path, &mut kazoo);
                async move {
                    let own = children(zk, path).await.len();
                    kazoo
                        .tell(json!({"do_": "elect", "path": path, "name": "kazoo"}))
                        .await;
                    until_children(zk, path, own + 1).await;
                    assert!(leadership.is_held());
                }
            })
            .await
            .unwrap();
        assert_eq!(kazoo.answer().await, true);
        soon("our turn", election.run_once(async |_| ()))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn barriers_are_those_of_kazoo() {
    let world = World::start().await;
    let zk = world.client().await;
    let mut kazoo = Peer::start(&world);
    let barrier = Barrier::new(&zk, "/b");
    barrier.set().await.unwrap();
    assert_eq!(
        kazoo
            .ask(json!({"do_": "barrier", "path": "/b", "do": "wait", "timeout": 0.1}))
            .await,
        false
    );
    kazoo
        .tell(json!({"do_": "barrier", "path": "/b", "do": "wait", "timeout": 20}))
        .await;
    barrier.lift().await.unwrap();
    assert_eq!(kazoo.answer().await, true);
    kazoo
        .ask(json!({"do_": "barrier", "path": "/b", "do": "create"}))
        .await;
    assert!(barrier.is_up().await.unwrap());
    let waiting = tokio::spawn(async move { barrier.wait().await });
    until("it waits", async || zk.stats().watches > 0).await;
    kazoo
        .ask(json!({"do_": "barrier", "path": "/b", "do": "remove"}))
        .await;
    soon("it goes on", waiting).await.unwrap().unwrap();
}

#[tokio::test]
async fn rounds_have_members_of_both() {
    let world = World::start().await;
    let zk = world.client().await;
    let mut kazoo = Peer::start(&world);
    for round in 0..6 {
        let barrier = DoubleBarrier::new(&zk, "/round", 2);
        let enter = json!({"do_": "double", "path": "/round", "name": format!("{round}"), "count": 2, "do": "enter"});
        let leave = json!({"do_": "double", "path": "/round", "name": format!("{round}"), "count": 2, "do": "leave"});
        let entering = tokio::spawn(async move { barrier.enter().await });
        if round % 2 == 0 {
            // Ours first.
            until_children(&zk, "/round", 1).await;
        }
        kazoo.ask(enter).await;
        let entered = soon("both are there", entering).await.unwrap().unwrap();
        kazoo.tell(leave).await;
        soon("both leave", entered.leave_within(Duration::from_secs(20)))
            .await
            .unwrap();
        kazoo.answer().await;
        until_children(&zk, "/round", 0).await;
    }
}

#[tokio::test]
async fn parties_have_members_of_both() {
    let world = World::start().await;
    let zk = world.client().await;
    let mut kazoo = Peer::start(&world);
    for (format, shallow) in [
        (GroupFormat::Party, false),
        (GroupFormat::ShallowParty, true),
    ] {
        let path = format!("/{format:?}");
        let group = Group::new(&zk, &path).format(format);
        let ours = group.join("ours", "");
        soon("it is there", ours.ready()).await.unwrap();
        let party = |do_| json!({"do_": "party", "path": path, "name": "theirs", "shallow": shallow, "do": do_});
        kazoo.ask(party("join")).await;
        assert_eq!(kazoo.ask(party("list")).await, json!(["ours", "theirs"]));
        let members = group.members();
        until("both are there", async || {
            members
                .now()
                .iter()
                .map(|member| member.id.as_str())
                .eq(["ours", "theirs"])
        })
        .await;
        kazoo.ask(party("leave")).await;
        until("one is there", async || members.now().len() == 1).await;
        ours.close().await;
    }
}
