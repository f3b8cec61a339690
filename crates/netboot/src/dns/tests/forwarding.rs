//! What goes upstream, what is taken for an answer, and how long it is kept.

use std::sync::Arc;

use hickory_proto::rr::Record;
use hickory_proto::rr::rdata::{A, CNAME, SOA};

use super::super::cache::{Cache, Known, Limits};
use super::super::forward::{Answer, Asked, Entropy, Question, Verdict};
use super::*;

const ENTROPY: Entropy = Entropy {
    id: 0x1234,
    case: [0b0101_0101; 32],
};
const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn question_of(message: &Message, transport: Transport) -> Question {
    match respond(&message.to_vec().unwrap(), &zone(), true, transport, NOW) {
        Reply::Forward(question) => question,
        other => panic!("{other:?}"),
    }
}

fn question() -> Question {
    question_of(&query("mirror.example.org.", RecordType::A), Transport::Udp)
}

fn record(ttl: u32, data: RData) -> Record {
    Record::from_rdata(Name::from_str("mirror.example.org.").unwrap(), ttl, data)
}

fn soa(minimum: u32) -> RData {
    let name = Name::from_str("ns.example.org.").unwrap();
    RData::SOA(SOA::new(name.clone(), name, 1, 1, 1, 1, minimum))
}

/// An upstream server's answer to `asked`, changed by `change`.
fn said(asked: &Asked, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::from_vec(&asked.bytes).unwrap();
    message.metadata.message_type = MessageType::Response;
    message.metadata.recursion_available = true;
    change(&mut message);
    message.to_vec().unwrap()
}

fn taken(asked: &Asked, change: impl FnOnce(&mut Message)) -> Answer {
    match asked.judge(&said(asked, change)) {
        Verdict::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_question_goes_out_under_an_id_and_in_a_case_of_its_own() {
    let asked = question().ask(ENTROPY);
    let message = Message::from_vec(&asked.bytes).unwrap();
    assert_eq!(message.metadata.id, 0x1234);
    assert!(message.metadata.recursion_desired && !message.metadata.checking_disabled);
    let name = message.queries[0].name.to_string();
    assert_eq!(name.to_lowercase(), "mirror.example.org.");
    assert_ne!(name, "mirror.example.org.");
    let edns = message.edns.unwrap();
    assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (1232, false));
}

#[test]
fn only_the_answer_to_the_question_is_one() {
    let asked = question().ask(ENTROPY);
    let answer = |message: &mut Message| {
        message.answers.push(record(300, RData::A(A(ADDRESS))));
    };
    let good = said(&asked, answer);
    assert!(matches!(asked.judge(&good), Verdict::Answer(_)));
    let judged = |at: usize, value: u8| {
        let mut changed = good.clone();
        changed[at] = value;
        asked.judge(&changed)
    };
    assert_eq!(judged(1, 0x35), Verdict::Foreign, "another id");
    assert_eq!(judged(2, 0x01), Verdict::Foreign, "a question");
    assert_eq!(judged(2, 0xa1), Verdict::Foreign, "another operation");
    assert_eq!(judged(13, b'X'), Verdict::Foreign, "another name");
    let other_case = judged(13, good[13] ^ 0x20);
    assert_eq!(other_case, Verdict::AskByTcp, "another case");
    assert_eq!(judged(2, 0x83), Verdict::AskByTcp, "truncated");
    assert_eq!(judged(3, 0x82), Verdict::Refused, "failed");
    assert_eq!(judged(3, 0x85), Verdict::Refused, "refused");
    assert_eq!(judged(7, 9), Verdict::Refused, "records cut off");
    assert_eq!(asked.judge(&good[..11]), Verdict::Foreign);
    assert_eq!(asked.judge(&good[..20]), Verdict::Foreign);
    assert_eq!(asked.judge(&asked.bytes), Verdict::Foreign, "an echo");
    let mut by_tcp = good.clone();
    by_tcp[13] ^= 0x20;
    assert!(matches!(asked.judge_tcp(&by_tcp), Verdict::Answer(_)));
    by_tcp[2] |= 2;
    assert_eq!(asked.judge_tcp(&by_tcp), Verdict::Refused);
}

#[test]
fn a_client_gets_the_answer_as_if_it_had_asked_itself() {
    let question = question();
    let answer = taken(&question.ask(ENTROPY), |message| {
        message.metadata.authoritative = true;
        message.metadata.authentic_data = true;
        message.answers.push(record(300, RData::A(A(ADDRESS))));
    });
    let told = Message::from_vec(&answer.message_for(&question, 100)).unwrap();
    assert_eq!(told.metadata.id, 7);
    assert!(told.metadata.recursion_available && told.metadata.recursion_desired);
    assert!(!told.metadata.authoritative && !told.metadata.authentic_data);
    assert_eq!(told.queries[0].name.to_string(), "mirror.example.org.");
    assert_eq!(
        (told.answers[0].ttl, &told.answers[0].data),
        (200, &RData::A(A(ADDRESS)))
    );
    assert_eq!(told.edns, None, "it did not speak EDNS");

    let mut with_edns = query("MIRROR.example.org.", RecordType::A);
    with_edns.edns = Some(Edns::new());
    let other = question_of(&with_edns, Transport::Udp);
    let told = Message::from_vec(&answer.message_for(&other, 0)).unwrap();
    assert_eq!(told.queries[0].name.to_string(), "MIRROR.example.org.");
    assert_eq!(told.edns.map(|edns| edns.max_payload()), Some(1232));
    assert_eq!(other.key(), question.key());
}

#[test]
fn long_answers_are_truncated_by_udp_only() {
    let crowd = |message: &mut Message| {
        for _ in 0..50 {
            message.answers.push(record(300, RData::A(A(ADDRESS))));
        }
    };
    let ask = query("mirror.example.org.", RecordType::A);
    let by = |transport| {
        let question = question_of(&ask, transport);
        let answer = taken(&question.ask(ENTROPY), crowd);
        Message::from_vec(&answer.message_for(&question, 0)).unwrap()
    };
    let udp = by(Transport::Udp);
    assert!(udp.metadata.truncation && udp.answers.is_empty() && udp.queries.len() == 1);
    let tcp = by(Transport::Tcp);
    assert!(!tcp.metadata.truncation && tcp.answers.len() == 50);
}

#[test]
fn answers_last_as_long_as_their_records_say() {
    let alias = || RData::CNAME(CNAME(Name::from_str("other.example.org.").unwrap()));
    let address = || RData::A(A(ADDRESS));
    let lasts = |change: &dyn Fn(&mut Message)| taken(&question().ask(ENTROPY), change).lifetime();
    let answers = |records: &[(u32, RData)]| {
        lasts(&|message| {
            message.answers = records
                .iter()
                .map(|(ttl, data)| record(*ttl, data.clone()))
                .collect();
        })
    };
    assert_eq!(answers(&[(300, address()), (60, address())]), 60);
    assert_eq!(answers(&[(30, alias()), (600, address())]), 30);
    assert_eq!(answers(&[(0, address())]), 0);
    assert_eq!(answers(&[(1 << 31, address())]), 0);
    assert_eq!(answers(&[(1 << 30, address())]), 86_400);
    assert_eq!(answers(&[(300, alias())]), 0, "no SOA: not to be kept");
    assert_eq!(answers(&[]), 0, "a referral, or nothing");
    let negative = |code, ttl, minimum, aliased: bool| {
        lasts(&|message| {
            message.metadata.response_code = code;
            if aliased {
                message.answers.push(record(40, alias()));
            }
            message.authorities.push(record(ttl, soa(minimum)));
        })
    };
    assert_eq!(negative(ResponseCode::NXDomain, 900, 300, false), 300);
    assert_eq!(negative(ResponseCode::NXDomain, 200, 300, false), 200);
    assert_eq!(negative(ResponseCode::NoError, 900, 300, false), 300);
    assert_eq!(negative(ResponseCode::NXDomain, 900, 300, true), 40);
    assert_eq!(
        negative(ResponseCode::NXDomain, 90_000, 90_000, false),
        3600
    );
}

#[test]
fn the_cache_forgets_in_time_and_stays_within_its_bounds() {
    let limits = Limits {
        entries: 3,
        bytes: 10_000,
    };
    let mut cache = Cache::new(limits);
    let question = question();
    let answer = Arc::new(taken(&question.ask(ENTROPY), |message| {
        message.answers.push(record(60, RData::A(A(ADDRESS))));
    }));
    let key = question.key();
    cache.insert(key.clone(), Some(Arc::clone(&answer)), NOW);
    let known = |age| Some(Known::Answer(Arc::clone(&answer), age));
    assert_eq!(cache.get(&key, NOW + 59_999), known(59));
    assert_eq!(cache.get(&key, NOW + 60_000), None);
    assert_eq!(cache.get(&key, NOW - 1), None, "the clock was set back");
    cache.insert(key.clone(), None, NOW);
    assert_eq!(cache.get(&key, NOW + 4999), Some(Known::Failed));
    assert_eq!(cache.get(&key, NOW + 5000), None);
    assert_eq!(cache.size().0, 1);

    for number in 0..10_u64 {
        let other = query(&format!("m{number}.example.org."), RecordType::A);
        let key = question_of(&other, Transport::Udp).key();
        cache.insert(key, Some(Arc::clone(&answer)), NOW + number);
    }
    assert_eq!(cache.size().0, 3);
    assert_eq!(cache.get(&key, NOW), None, "what ends first makes room");
    let mut tiny = Cache::new(Limits {
        bytes: 50,
        ..limits
    });
    tiny.insert(key, Some(answer), NOW);
    assert_eq!(tiny.size(), (0, 0));
}

proptest! {
    /// A server's answer with any bytes changed is judged, and what is taken can be passed on.
    #[test]
    fn no_damaged_answer_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut: prop::sample::Index,
        age: u32,
    ) {
        let question = question();
        let asked = question.ask(ENTROPY);
        let mut bytes = said(&asked, |message| {
            message.answers.push(record(60, RData::A(A(ADDRESS))));
            message.authorities.push(record(60, soa(30)));
        });
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        for verdict in [asked.judge(&bytes), asked.judge_tcp(&bytes)] {
            if let Verdict::Answer(answer) = verdict {
                let told = answer.message_for(&question, age);
                prop_assert!(told.len() <= 512);
                prop_assert_eq!(&told[..2], &[0, 7]);
            }
        }
    }
}
