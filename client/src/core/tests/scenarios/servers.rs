//! Which server is dialed, and which attempt is given up.

use super::*;

#[test]
fn read_only_server_that_leaves_at_once_is_not_dialed_without_a_pause() {
    let mut bench = Bench::new();
    for session in 1..100 {
        bench.dial();
        bench.grant(session, true);
        bench.lose();
    }
    let elapsed = bench.now.since_start();
    assert!(elapsed > Duration::from_mins(1), "{elapsed:?}");
}

#[test]
fn read_only_server_is_taken_only_when_every_other_was_tried() {
    let mut bench = Bench::of(3);
    for attempt in 1..=3 {
        bench.dial();
        let actions = bench.grant(attempt, true);
        let is_connected = actions.iter().any(is_connected);
        assert_eq!(is_connected, attempt == 3, "attempt {attempt}: {actions:?}");
    }
}

#[test]
fn attempt_at_a_server_that_left_the_list_is_given_up_for_one_that_is_in_it() {
    for has_connected in [false, true] {
        let mut bench = Bench::of(3);
        bench.handle(Event::Tick);
        if has_connected {
            bench.handle(Event::Dialed);
        }
        let new = Server::new("new", 9);
        let actions = bench.handle(Event::SetServers(vec![new.clone()]));
        assert!(is_hung_up(&actions), "{actions:?}");
        assert_eq!(dialed(&mut bench), Some(new));
    }
}

#[test]
fn attempt_at_a_server_that_stays_in_the_list_goes_on() {
    let mut bench = Bench::of(1);
    let tried = dialed(&mut bench).unwrap();
    let servers = vec![Server::new("new", 9), tried];
    let actions = bench.handle(Event::SetServers(servers));
    assert!(actions.is_empty(), "{actions:?}");
    bench.handle(Event::Dialed);
    assert!(bench.grant(1, false).iter().any(is_connected));
}

#[test]
fn answer_to_a_look_up_of_a_name_that_is_not_asked_for_any_more_is_dropped() {
    let mut bench = Bench::new();
    let name = Server::service("zk");
    let records = [ServiceRecord {
        priority: 0,
        weight: 1,
        host: "old".to_owned(),
        port: 1,
    }];
    bench.handle(Event::SetServers(vec![name.clone()]));
    assert_eq!(dialed(&mut bench), Some(name.clone()));
    // The same name again disturbs neither the look-up nor the attempt at what was found.
    assert!(!is_hung_up(
        &bench.handle(Event::SetServers(vec![name.clone()]))
    ));
    bench.handle(Event::Found(records.to_vec()));
    assert!(!is_hung_up(
        &bench.handle(Event::SetServers(vec![name.clone()]))
    ));
    bench.lose_to(AttemptErrorKind::Io);
    bench.now = bench.now.max(bench.core.next_deadline());
    assert_eq!(dialed(&mut bench), Some(name));
    let new = Server::new("new", 9);
    assert!(is_hung_up(
        &bench.handle(Event::SetServers(vec![new.clone()]))
    ));
    let actions = bench.handle(Event::Found(records.to_vec()));
    assert!(actions.is_empty(), "{actions:?}");
    // From now on, each time.
    for _ in 0..3 {
        bench.now = bench.now.max(bench.core.next_deadline());
        assert_eq!(dialed(&mut bench), Some(new.clone()));
        bench.lose_to(AttemptErrorKind::Io);
    }
}
