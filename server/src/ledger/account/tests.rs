//! Charges and seats: taken on all accounts or none, shared, given back.

use super::*;

const ALICE: CallerKey = CallerKey::Uid(1000);
const SEATS: SeatLimits = SeatLimits { connections: 16, requests: 16, streams: 1 };

#[test]
fn a_charge_is_taken_on_all_accounts_or_none_and_given_back() {
    let ledger = Ledger::new(1600, SEATS);
    let (alice, bob) = (ledger.caller(ALICE), ledger.caller(CallerKey::Uid(1001)));
    let connection = alice.connection();
    let mut charge = connection.charge(300).unwrap();
    let used = || [connection.usage(), alice.usage(), ledger.usage()].map(|usage| usage.used);
    assert_eq!(used(), [300; 3]);
    let error = charge.grow(101).unwrap_err();
    assert_eq!((error.share, error.limit, error.used), (Share::Connection, 400, 300));
    assert_eq!(used(), [300; 3]);

    let more: Vec<_> = (0..5).map(|_| alice.connection().charge(100).unwrap()).collect();
    let error = alice.connection().charge(1).unwrap_err();
    assert_eq!((error.share, error.limit, error.total), (Share::Caller(ALICE), 800, 1600));
    assert!(bob.charge(700).is_ok(), "one caller's memory is not another's");
    drop(more);
    let half = charge.split(100);
    charge.shrink(50);
    assert_eq!((charge.bytes(), used()), (50, [150; 3]));
    drop((half, charge));
    assert_eq!(used(), [0; 3]);
    assert_eq!(ledger.usage().peak, 1500);
}

#[test]
fn the_reserve_is_roots() {
    let ledger = Ledger::new(1600, SEATS);
    let callers = [ALICE, CallerKey::Uid(1001)].map(|key| ledger.caller(key));
    let _first = callers[0].charge(800).unwrap();
    let error = callers[1].charge(800).unwrap_err();
    assert_eq!((error.share, error.limit), (Share::Agent, 1500));
    let _second = callers[1].charge(700).unwrap();
    assert!(ledger.caller(CallerKey::Uid(0)).charge(100).is_ok());
    let _own = ledger.own("health", 50).charge(50).unwrap();
    assert!(ledger.own("health", 50).charge(51).is_err());
}

#[test]
fn a_caller_has_one_account_as_long_as_it_is_used() {
    let ledger = Ledger::new(1600, SEATS);
    let charge = ledger.caller(ALICE).connection().charge(10).unwrap();
    assert_eq!(ledger.caller(ALICE).usage().used, 10, "the charge keeps the account");
    assert_eq!(charge.account().key(), Some(ALICE));
    assert_eq!(charge.account().caller().usage().used, 10);
    drop(charge);
    let address = CallerKey::Address([127, 0, 0, 1].into());
    ledger.caller(address);
    let _kept = ledger.caller(ALICE);
    assert_eq!(ledger.callers_usage().len(), 1, "what nobody holds is forgotten");
}

#[test]
fn a_charge_can_change_hands() {
    let ledger = Ledger::new(1600, SEATS);
    let (alice, bob) = (ledger.caller(ALICE), ledger.caller(CallerKey::Uid(1001)));
    let mut charge = alice.charge(500).unwrap();
    charge.transfer(&bob).unwrap();
    assert_eq!((alice.usage().used, bob.usage().used), (0, 500));
    let full = alice.charge(800).unwrap();
    assert!(charge.transfer(&alice).is_err());
    assert_eq!(charge.account().key(), Some(CallerKey::Uid(1001)));
    drop(full);
    assert_eq!(ledger.usage().used, 500);
}

#[test]
fn many_threads_never_take_more_than_there_is() {
    let ledger = Ledger::new(16_000, SEATS);
    std::thread::scope(|scope| {
        for uid in 1..5 {
            let ledger = &ledger;
            scope.spawn(move || {
                let account = ledger.caller(CallerKey::Uid(uid)).connection();
                for round in 0..2000 {
                    let held: Vec<_> = (0..9).map(|_| account.charge(round % 997)).collect();
                    assert!(account.usage().used <= 4000);
                    drop(held);
                }
            });
        }
    });
    assert_eq!(ledger.usage().used, 0);
    assert!(ledger.usage().peak <= 15_000);
}

#[test]
fn one_caller_cannot_take_every_seat() {
    use SeatKind::{Connection, Request, Stream};
    let ledger = Ledger::new(1600, SEATS);
    let (alice, bob) = (ledger.caller(ALICE), ledger.caller(CallerKey::Uid(1001)));
    let sit = |account: &Account, kind, most| -> Vec<_> {
        (0..most).map_while(|_| account.sit(kind).ok()).collect()
    };
    let hers = sit(&alice.connection(), Request, 100);
    assert_eq!(hers.len(), 8);
    let refused = alice.sit(Request).unwrap_err().to_string();
    assert_eq!(refused, "caller uid:1000 has all of its 8 requests at once (max_requests is 16)");
    let his = sit(&bob, Request, 100);
    assert_eq!(his.len(), 7, "one is kept for root");
    let refused = bob.sit(Request).unwrap_err().to_string();
    assert_eq!(refused, "the limit of 16 requests at once is reached (max_requests)");
    assert!(ledger.caller(CallerKey::Uid(0)).sit(Request).is_ok());
    assert_eq!(ledger.seats(Request), (15, 16));
    assert_eq!(sit(&alice, Connection, 1).len(), 1, "each kind has seats of its own");
    assert_eq!(sit(&alice, Stream, 2).len(), 1, "where there is one seat anybody may have it");
    drop((hers, his));
    assert_eq!(ledger.seats(Request).0, 0);
    assert!(ledger.own("health", 1).sit(Request).is_ok(), "nobody's seat is not counted");
    assert_eq!(ledger.seats(Request).0, 0);
}
