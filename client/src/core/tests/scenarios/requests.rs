//! Requests that wait, or that nobody waits for.

use super::*;

#[test]
fn requests_that_nobody_waits_for_do_not_pile_up_while_disconnected() {
    let mut bench = Bench::new();
    for _ in 0..10_000 {
        let ticket = Ticket::default();
        let request = request(&sync(), Some(ticket.clone()));
        bench.handle(Event::Submit(request));
        ticket.0.set(true);
    }
    let load = bench.core.load();
    assert!(load.requests <= 128, "{load:?}");
}

#[test]
fn a_few_requests_wait_for_others_behind_many_and_for_nothing_behind_few() {
    let mut bench = Bench::new();
    bench.dial();
    bench.grant(1, false);
    bench.sent();
    let ask = |bench: &mut Bench, count: usize| {
        for _ in 0..count {
            let request = request(&sync(), Some(Ticket::default()));
            bench.handle(Event::Submit(request));
        }
    };
    let answer = |bench: &mut Bench, xids: std::ops::RangeInclusive<i32>| {
        for xid in xids {
            let path = Some("/".into());
            bench.reply(Xid::new(xid), 1, 0, &SyncResponse { path }.to_bytes());
        }
    };
    ask(&mut bench, 31);
    assert_eq!(bench.sent().0.len(), 31);
    ask(&mut bench, 1);
    assert_eq!(bench.sent().0.len(), 1);
    // An eighth of them makes a write.
    ask(&mut bench, 3);
    assert_eq!(bench.sent().0.len(), 0);
    ask(&mut bench, 1);
    assert_eq!(bench.sent().0.len(), 4);
    // One waits no longer than until the pipeline is short.
    ask(&mut bench, 1);
    answer(&mut bench, 1..=4);
    assert_eq!(bench.sent().0.len(), 0);
    answer(&mut bench, 5..=5);
    assert_eq!(bench.sent().0.len(), 1);
}

#[test]
fn requests_that_nobody_waits_for_make_room_as_soon_as_there_is_none() {
    let mut bench = Bench::new();
    let tickets = [Ticket::default(), Ticket::default()];
    for ticket in &tickets {
        let request = request(&sync(), Some(ticket.clone()));
        bench.handle(Event::Submit(request));
    }
    tickets[0].0.set(true);
    bench.handle(Event::Crowded);
    assert_eq!(bench.core.load().requests, 1);
    // Not at every refusal.
    tickets[1].0.set(true);
    bench.handle(Event::Crowded);
    assert_eq!(bench.core.load().requests, 1);
    bench.now = bench.now + Duration::from_millis(10);
    bench.handle(Event::Crowded);
    assert_eq!(bench.core.load().requests, 0);
}

#[test]
fn what_was_let_go_of_is_sent_again_for_as_long_as_it_has_time() {
    for is_late in [false, true] {
        let mut bench = Bench::new();
        bench.dial();
        bench.grant(1, false);
        bench.handle(Event::Submit(Request {
            resend: true,
            timeout: Duration::from_secs(5),
            ..request(&sync(), None)
        }));
        assert_eq!(bench.sent().0, [OpCode::Sync]);
        if is_late {
            bench.now = bench.now + Duration::from_secs(5);
            bench.handle(Event::Tick);
        }
        bench.lose();
        if !is_late {
            assert!(bench.core.next_deadline() <= bench.now + Duration::from_secs(5));
        }
        bench.dial();
        bench.grant(1, false);
        let wanted = if is_late { vec![] } else { vec![OpCode::Sync] };
        assert_eq!(bench.sent().0, wanted);
    }
}
