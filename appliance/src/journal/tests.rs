//! The journal is closed, cut off and opened again.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use super::*;

/// Set for the child of [`what_was_acknowledged_survives_a_kill`]: the file that it writes.
const CHILD: &str = "HARDWAY_JOURNAL_TEST";

fn machine(name: &str, value: &str) -> Write {
    Write::Machine(name.into(), value.into())
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let journal = Journal::open(&path).unwrap();
    journal.append(vec![Write::Timeline(
        "node1".into(),
        0,
        b"\"first\"".to_vec(),
    )]);
    let writes = vec![
        machine("node1", "1"),
        machine("node1", "2"),
        Write::Timeline("node1".into(), 1, b"\"second\"".to_vec()),
        Write::DropTimeline("node1".into(), 0),
        Write::Meta("key".into(), b"1".to_vec()),
    ];
    journal.commit(writes).wait().await.unwrap();
    let contents = journal.read().unwrap();
    drop(journal);

    let reopened = reopen(&path).read().unwrap();
    assert_eq!(reopened, contents);
    assert_eq!(reopened.machines["node1"], b"2");
    assert_eq!(reopened.timelines["node1"].keys().collect::<Vec<_>>(), [&1]);
    assert_eq!(reopened.meta["key"], b"1");
}

#[tokio::test]
async fn what_nobody_waits_for_is_written_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let journal = Journal::open(&path).unwrap();
    journal.append(vec![machine("node1", "1")]);
    drop(journal);
    assert_eq!(reopen(&path).read().unwrap().machines["node1"], b"1");
}

#[tokio::test]
async fn a_forgotten_machine_takes_its_timeline_along() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&folder.path().join("journal.redb")).unwrap();
    let line = |name: &str| Write::Timeline(name.into(), 3, b"1".to_vec());
    let writes = vec![
        machine("a", "1"),
        line("a"),
        line("b"),
        Write::ForgetMachine("a".into()),
    ];
    journal.commit(writes).wait().await.unwrap();
    let contents = journal.read().unwrap();
    assert!(contents.machines.is_empty());
    assert_eq!(contents.timelines.keys().collect::<Vec<_>>(), ["b"]);
}

/// A power cut at any moment leaves the file as some moment of its writing had it: copies are taken
/// while commits go on, and each one opens with at least what was acknowledged before the copy.
#[tokio::test]
async fn a_copy_taken_between_commits_opens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    let journal = Journal::open(&path).unwrap();
    for round in 0..20_u64 {
        let writes = vec![
            machine("node1", &round.to_string()),
            machine("filler", &"x".repeat(5000)),
        ];
        journal.commit(writes).wait().await.unwrap();
        let copy = folder.path().join(format!("copy-{round}.redb"));
        std::fs::copy(&path, &copy).unwrap();
        let seen = Journal::open(&copy).unwrap().read().unwrap();
        assert_eq!(seen.machines["node1"], round.to_string().into_bytes());
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill() {
    if let Some(path) = std::env::var_os(CHILD) {
        return write_until_killed(Path::new(&path));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.redb");
    for round in 1..=3_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "journal::tests::what_was_acknowledged_survives_a_kill",
                "--nocapture",
            ])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let acknowledged = |line: std::io::Result<String>| {
            let line = line.unwrap();
            line.split("acknowledged ")
                .nth(1)
                .map(|number| number.parse::<u64>().unwrap())
        };
        let mut numbers = output.lines().filter_map(acknowledged);
        let last = numbers.by_ref().nth(10 * round as usize).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let last = numbers.last().unwrap_or(last);

        let contents = reopen(&path).read().unwrap();
        let kept: u64 = std::str::from_utf8(&contents.machines["node1"])
            .unwrap()
            .parse()
            .unwrap();
        // A commit whose acknowledgement was not printed any more may be there as well.
        assert!(
            kept == last || kept == last + 1,
            "round {round}: {last} acknowledged, {kept} kept"
        );
    }
}

fn write_until_killed(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let journal = reopen(path);
    let contents = journal.read().unwrap();
    let before = contents
        .machines
        .get("node1")
        .map(|value| std::str::from_utf8(value).unwrap());
    let mut number: u64 = before.map_or(0, |text| text.parse().unwrap());
    loop {
        number += 1;
        let writes = vec![
            machine("node1", &number.to_string()),
            machine("filler", &"x".repeat(3000)),
        ];
        runtime.block_on(journal.commit(writes).wait()).unwrap();
        println!("acknowledged {number}");
    }
}

/// Opens a file that another handle of this process may be about to let go: the writing thread closes
/// it after the last handle is gone.
fn reopen(path: &Path) -> Journal {
    loop {
        match Journal::open(path) {
            Err(error) if format!("{error:#}").contains("already open") => std::thread::yield_now(),
            outcome => return outcome.unwrap(),
        }
    }
}
