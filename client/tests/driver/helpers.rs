//! What takes several requests, some of which a server refuses.

use std::time::Duration;

use tokio::time::Instant;
use zk_client::ErrorKind;
use zk_proto::{ErrorCode, OpCode};

use crate::script::connected;

#[tokio::test(start_paused = true)]
async fn every_failure_of_a_listing_is_told() {
    let (script, client) = connected().await;
    script.lock().children = vec!["b", "c", "d"];
    let mut tree = client.list_tree("/a");
    assert_eq!(tree.next().await.unwrap().unwrap(), "/a");
    script.lock().refusals = vec![
        (OpCode::GetChildren, ErrorCode::NoAuth),
        (OpCode::GetChildren, ErrorCode::ThrottledOp),
    ];
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    while let Some(item) = tree.next().await {
        match item {
            Ok(path) => found.push(path),
            Err(err) => failed.push((err.kind(), err.path().unwrap_or_default().to_owned())),
        }
    }
    assert_eq!(found, ["/a/d"]);
    let wanted = [
        (ErrorKind::NoAuth, "/a/b".to_owned()),
        (ErrorKind::Throttled, "/a/c".to_owned()),
    ];
    assert_eq!(failed, wanted);
}

#[tokio::test(start_paused = true)]
async fn observer_of_a_session_goes_on_until_that_is_over() {
    let (script, client) = connected().await;
    let session = client.session().await.unwrap();
    script
        .lock()
        .refusals
        .push((OpCode::GetData, ErrorCode::ThrottledOp));
    let (mut states, mut lists) = (session.observe("/a"), session.observe_children("/a"));
    assert!(states.next().await.unwrap().unwrap().is_some());
    assert!(lists.next().await.unwrap().unwrap().is_some());
    assert!(script.lock().refusals.is_empty());
    script.lock().is_expired = true;
    script.cut();
    let error = states.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionExpired);
    assert!(states.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn path_of_which_somebody_deletes_a_part_is_made_again() {
    let (script, client) = connected().await;
    let missing = [
        (OpCode::Exists, ErrorCode::NoNode),
        (OpCode::Create2, ErrorCode::NodeExists),
        (OpCode::Create2, ErrorCode::NoNode),
    ];
    script.lock().refusals = missing.to_vec();
    client.ensure_path("/a/b").await.unwrap();
    script.lock().refusals = [&[(OpCode::Create2, ErrorCode::NoNode)], &missing[..]].concat();
    client.create("/a/b/c", "").parents().await.unwrap();
    assert!(script.lock().refusals.is_empty());

    // And not for ever.
    let timeout = Duration::from_millis(200);
    let builder = script.builder().op_timeout(timeout);
    let client = builder.connect().await.unwrap();
    script.lock().refusals = missing.repeat(10_000);
    let begun = Instant::now();
    let error = client.ensure_path("/a/b").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.path(), Some("/a/b"));
    assert!(begun.elapsed() < timeout * 2, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn errors_of_what_is_about_several_paths_or_none_name_none() {
    let (script, client) = connected().await;
    let refusal = ErrorCode::ThrottledOp;
    script.lock().refusals = vec![(OpCode::Multi, refusal), (OpCode::Reconfig, refusal)];
    let transaction = client.transaction().create("/a", "");
    let error = transaction.await.unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Throttled, None));
    let reconfig = client.reconfig().joining("server.4=zk-4:2888:3888;2181");
    let error = reconfig.await.unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Throttled, None));
}
