//! What is sent again after a loss, and what is not.

use super::super::{AskedAgain, Outcome, Output, Request, Transfer};

const NONE: [u16; 0] = [];

/// A transfer of ten thousand blocks, with its options acknowledged.
fn transfer(window: u16) -> Transfer {
    let request = Request {
        file: "snponly.efi".into(),
        block_size: Some(512),
        timeout: None,
        wants_size: false,
        window_size: Some(window),
    };
    let mut transfer = Transfer::new(&request, 512 * 10_000 - 1);
    assert!(matches!(transfer.poll(0), Output::Send(_)));
    transfer.handle(&[0, 4, 0, 0], 0);
    transfer
}

/// The blocks that are sent at `now`.
fn sent(transfer: &mut Transfer, now: u64) -> Vec<u16> {
    let mut blocks = Vec::new();
    while let Output::SendBlock { block, .. } = transfer.poll(now) {
        blocks.push(block);
    }
    blocks
}

/// The blocks that are sent when the client acknowledges one.
fn answer(transfer: &mut Transfer, block: u16, now: u64) -> Vec<u16> {
    let [high, low] = block.to_be_bytes();
    transfer.handle(&[0, 4, high, low], now);
    sent(transfer, now)
}

/// The moment of the next repetition.
fn deadline(transfer: &mut Transfer, now: u64) -> u64 {
    match transfer.poll(now) {
        Output::Wait(until) => until,
        other => panic!("{other:?}"),
    }
}

fn blocks(range: std::ops::RangeInclusive<u16>) -> Vec<u16> {
    range.collect()
}

#[test]
fn a_gap_is_repaired_from_where_it_is() {
    let mut transfer = transfer(4);
    assert_eq!(sent(&mut transfer, 0), blocks(1..=4));
    assert_eq!(answer(&mut transfer, 2, 1), blocks(3..=6), "3 was lost");
    assert_eq!(answer(&mut transfer, 6, 2), blocks(7..=10));
    // The first block of a window was lost: the acknowledgement is the one before.
    assert_eq!(answer(&mut transfer, 6, 3), blocks(7..=10));
    // Of a client that says so for every block that follows the gap.
    assert_eq!(answer(&mut transfer, 6, 3), NONE);
    assert_eq!(answer(&mut transfer, 10, 4), blocks(11..=14));
}

#[test]
fn a_lost_acknowledgement_costs_one_block() {
    let mut transfer = transfer(16);
    assert_eq!(sent(&mut transfer, 0), blocks(1..=16));
    let now = deadline(&mut transfer, 0);
    assert_eq!(sent(&mut transfer, now), [16], "what does the client lack?");
    assert_eq!(
        answer(&mut transfer, 16, now + 1),
        blocks(17..=32),
        "nothing"
    );
}

#[test]
fn a_lost_end_of_a_window_costs_the_end() {
    let mut transfer = transfer(16);
    assert_eq!(sent(&mut transfer, 0), blocks(1..=16));
    let now = deadline(&mut transfer, 0);
    assert_eq!(sent(&mut transfer, now), [16]);
    assert_eq!(answer(&mut transfer, 13, now + 1), blocks(14..=29));
    assert_eq!(answer(&mut transfer, 29, now + 2), blocks(30..=45));
}

#[test]
fn a_client_that_does_not_say_what_it_lacks_gets_the_window() {
    let mut transfer = transfer(4);
    assert_eq!(sent(&mut transfer, 0), blocks(1..=4));
    let now = deadline(&mut transfer, 0);
    assert_eq!(sent(&mut transfer, now), [4]);
    let now = deadline(&mut transfer, now);
    assert_eq!(sent(&mut transfer, now), blocks(1..=4));
}

/// Its acknowledgements inside a window say nothing of a loss.
#[test]
fn a_client_that_acknowledges_every_block_is_recognised() {
    let mut transfer = transfer(4);
    assert_eq!(sent(&mut transfer, 0), blocks(1..=4));
    let mut repeated = 0;
    for block in 1..=1000 {
        let sent = answer(&mut transfer, block, block.into());
        repeated += sent.iter().filter(|sent| **sent < block + 4).count();
    }
    assert_eq!(repeated, 6, "of its first two acknowledgements");
}

/// A window that was sent twice is acknowledged twice; heeding that would send the next one twice, too,
/// and so on to the end.
#[test]
fn what_was_sent_twice_does_not_double_what_follows() {
    let mut transfer = transfer(4);
    assert_eq!(sent(&mut transfer, 0), blocks(1..=4));
    assert_eq!(answer(&mut transfer, 4, 1), blocks(5..=8));
    assert_eq!(answer(&mut transfer, 4, 1), blocks(5..=8), "a delayed copy");
    assert_eq!(answer(&mut transfer, 8, 2), blocks(9..=12));
    assert_eq!(answer(&mut transfer, 8, 2), NONE, "of the second 5 to 8");
    assert_eq!(answer(&mut transfer, 12, 3), blocks(13..=16));
}

#[test]
fn a_client_whose_own_timer_ran_out_is_answered_at_once() {
    let mut transfer = transfer(1);
    assert_eq!(sent(&mut transfer, 0), [1]);
    assert_eq!(answer(&mut transfer, 1, 1), [2]);
    assert_eq!(answer(&mut transfer, 1, 2), NONE, "a copy on the way");
    assert_eq!(answer(&mut transfer, 1, 90), [2]);
}

#[test]
fn an_acknowledgement_of_what_was_sent_before_a_repetition_counts() {
    let mut transfer = transfer(4);
    assert_eq!(sent(&mut transfer, 0), blocks(1..=4));
    // Both arrive before anything is sent again.
    transfer.handle(&[0, 4, 0, 2], 1);
    assert_eq!(answer(&mut transfer, 4, 1), blocks(5..=8));
    assert_eq!(answer(&mut transfer, 2, 1), NONE, "delayed");
    assert_eq!(answer(&mut transfer, 9, 1), NONE, "never sent");
}

#[test]
fn the_next_repetition_follows_what_answers_take() {
    let mut transfer = transfer(1);
    assert_eq!(deadline_after(&mut transfer, 0), 100);
    for block in 1..=50 {
        let now = u64::from(block) * 100;
        answer(&mut transfer, block, now);
    }
    let after = deadline_after(&mut transfer, 5000);
    assert!(
        (350..=400).contains(&after),
        "four times 100 ms, not {after}"
    );
}

fn deadline_after(transfer: &mut Transfer, now: u64) -> u64 {
    sent(transfer, now);
    deadline(transfer, now) - now
}

#[test]
fn a_request_that_comes_again_is_a_copy_while_the_client_is_heard() {
    let mut transfer = transfer(1);
    assert_eq!(transfer.asked_again(0), AskedAgain::Copy, "it took options");
    assert_eq!(sent(&mut transfer, 5000), [1]);
    assert_eq!(answer(&mut transfer, 1, 5000), [2]);
    assert_eq!(transfer.asked_again(5999), AskedAgain::Copy);
    assert_eq!(transfer.asked_again(6000), AskedAgain::Anew);
    assert_eq!(answer(&mut transfer, 1, 6000), [2], "no progress");
    assert_eq!(transfer.asked_again(6001), AskedAgain::Copy);

    let request = Request {
        file: "undionly.kpxe".into(),
        block_size: None,
        timeout: None,
        wants_size: false,
        window_size: None,
    };
    let mut fresh = Transfer::new(&request, 600);
    assert_eq!(sent(&mut fresh, 0), [1]);
    assert_eq!(fresh.asked_again(0), AskedAgain::Unanswered);
    assert_eq!(fresh.asked_again(9000), AskedAgain::Unanswered);
}

#[test]
fn a_closed_port_ends_it() {
    let mut broken = transfer(4);
    sent(&mut broken, 0);
    answer(&mut broken, 4, 1);
    broken.hang_up();
    assert_eq!(
        broken.poll(1),
        Output::Done(Outcome::HungUp { bytes: 2048 })
    );

    // Some ROMs start what they have without acknowledging its last block.
    let request = Request {
        file: "undionly.kpxe".into(),
        block_size: None,
        timeout: None,
        wants_size: false,
        window_size: None,
    };
    let mut whole = Transfer::new(&request, 600);
    assert_eq!(sent(&mut whole, 0), [1]);
    assert_eq!(answer(&mut whole, 1, 1), [2]);
    whole.hang_up();
    assert_eq!(
        whole.poll(1),
        Output::Done(Outcome::Complete { bytes: 600 })
    );
}
