//! The log is written, cut off anywhere, and read again.

use hardway_model::identity::MacAddress;

use super::*;

fn lease(last: u8, expires: u64) -> Lease {
    let mac = MacAddress([2, 0, 0, 0, 0, last]);
    let value = serde_json::json!({
        "address": Ipv4Addr::new(10, 77, 0, last), "mac": mac, "expires": expires,
    });
    serde_json::from_value(value).unwrap()
}

fn open(path: &Path) -> Table {
    Leases::open(path, Vec::new()).unwrap().table().clone()
}

#[test]
fn the_last_lease_of_an_address_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.log");
    let leases = Leases::open(&path, Vec::new()).unwrap();
    leases.commit(&[lease(1, 10), lease(2, 10)]).unwrap();
    leases.commit(&[lease(1, 20)]).unwrap();
    let expected = by_address([lease(1, 20), lease(2, 10)]);
    assert_eq!(*leases.table(), expected);
    assert_eq!(open(&path), expected);
    // Once more, from the rewritten file.
    assert_eq!(open(&path), expected);
}

#[test]
fn leases_of_an_older_appliance_are_taken_over_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.log");
    let taken = Leases::open(&path, vec![lease(1, 10)]).unwrap();
    assert_eq!(*taken.table(), by_address([lease(1, 10)]));
    let again = Leases::open(&path, vec![lease(1, 5), lease(2, 5)]).unwrap();
    assert_eq!(*again.table(), by_address([lease(1, 10)]));
}

/// A power cut leaves any prefix of the last write, and the zeros or nothing behind it.
#[test]
fn a_log_cut_off_anywhere_has_every_whole_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.log");
    let leases = Leases::open(&path, Vec::new()).unwrap();
    let stored = vec![lease(1, 10), lease(2, 20), lease(3, 30)];
    leases.commit(&stored).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let end = whole.iter().position(|byte| *byte == 0).unwrap();
    let lines: Vec<usize> = (0..end).filter(|index| whole[*index] == b'\n').collect();
    let copy = folder.path().join("copy.log");
    for cut in 0..=end {
        // The line's end is no part of what the checksum is of.
        let complete = lines.iter().filter(|line| cut >= **line).count();
        let expected = by_address(stored[..complete].iter().cloned());
        let mut zeroed = whole.clone();
        zeroed[cut..].fill(0);
        for bytes in [&zeroed, &whole[..cut].to_vec()] {
            std::fs::write(&copy, bytes).unwrap();
            assert_eq!(
                read(File::open(&copy).unwrap()).unwrap(),
                expected,
                "cut at {cut}"
            );
        }
    }
}

#[test]
fn a_damaged_line_costs_its_own_lease_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.log");
    let leases = Leases::open(&path, Vec::new()).unwrap();
    let stored = vec![lease(1, 10), lease(2, 20), lease(3, 30)];
    leases.commit(&stored).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let second = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 20;
    bytes[second] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(open(&path), by_address([lease(1, 10), lease(3, 30)]));
}

/// Until a new file that is being written is there.
fn wait_for_the_new_file(log: &Log) {
    let is_written = |rewriting: &Rewriting| rewriting.written.is_finished();
    while !log.rewriting.as_ref().is_none_or(is_written) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_log_grows_past_its_zeros_and_is_rewritten_when_it_has_grown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.log");
    let table = RwLock::new(Table::new());
    let mut log = Log::create(&path, &Table::new()).unwrap();
    let many: Vec<Lease> = (0..9_000).map(|count| lease(count as u8, count)).collect();
    let mut largest = 0;
    for _ in 0..6 {
        wait_for_the_new_file(&log);
        assert_eq!(log.commit(&many, &table).unwrap().leases, 9_000);
        largest = largest.max(log.end);
        let read = read(File::open(&path).unwrap()).unwrap();
        assert_eq!(read, *table.read().unwrap());
    }
    assert!(largest > SMALL, "{largest}");
    assert!(log.end < largest && log.initial > 0, "{}", log.end);
}

#[test]
fn leases_that_come_while_the_log_is_rewritten_are_in_the_new_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.log");
    let table = RwLock::new(Table::new());
    let mut log = Log::create(&path, &Table::new()).unwrap();
    let many: Vec<Lease> = (0..20_000)
        .map(|count| lease((count % 100) as u8, count))
        .collect();
    log.commit(&many, &table).unwrap();
    let grown = log.end;
    for last in 200..210 {
        log.commit(&[lease(last, 1)], &table).unwrap();
    }
    wait_for_the_new_file(&log);
    log.commit(&[lease(210, 1)], &table).unwrap();
    assert!(log.end < grown / 10 && log.rewriting.is_none());
    let stored = read(File::open(&path).unwrap()).unwrap();
    assert_eq!(stored, *table.read().unwrap());
    assert_eq!(stored.len(), 111);
}

/// There is a folder where the new file is to be.
#[test]
fn a_log_that_cannot_be_rewritten_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.log");
    std::fs::create_dir(path.with_extension("next")).unwrap();
    let table = RwLock::new(Table::new());
    let mut log = Log::create(&path, &Table::new()).unwrap();
    let many: Vec<Lease> = (0..20_000).map(|count| lease(count as u8, count)).collect();
    for _ in 0..4 {
        log.commit(&many, &table).unwrap();
        wait_for_the_new_file(&log);
    }
    assert!(log.initial > SMALL);
    let stored = read(File::open(&path).unwrap()).unwrap();
    assert_eq!(stored, *table.read().unwrap());
}

/// What a failed write left on the disk is not known, so the next commit starts a new file.
#[test]
fn a_failed_write_is_an_error_and_the_next_commit_is_whole_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases.log");
    let table = RwLock::new(Table::new());
    let mut log = Log::create(&path, &Table::new()).unwrap();
    log.commit(&[lease(1, 10)], &table).unwrap();
    log.file = File::open(&path).unwrap();
    log.commit(&[lease(2, 10)], &table).unwrap_err();
    assert_eq!(*table.read().unwrap(), by_address([lease(1, 10)]));
    log.commit(&[lease(3, 10)], &table).unwrap();
    let expected = by_address([lease(1, 10), lease(3, 10)]);
    assert_eq!(read(File::open(&path).unwrap()).unwrap(), expected);
}
