//! What the reference was asked and what it answered, asked again here.

use zk_proto::response::{MultiResult, Response};

use super::*;
use crate::conn::auth::Identity;

/// A frame of a client and the one that answered it.
struct Exchange {
    name: String,
    xid: i32,
    op: OpCode,
    request: Bytes,
    response: Bytes,
    zxid: i64,
}

fn exchanges() -> Vec<Exchange> {
    let json = include_str!("../../../vectors/conn/requests.json");
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let exchange = |frame: &serde_json::Value| {
        let request = from_hex(frame["request"].as_str()?).slice(4..);
        let response = from_hex(frame["response"].as_str()?);
        let header = RequestHeader::decode(&mut Reader::new(&request)).ok()?;
        let (reply, _) = last_frame(&response);
        Some(Exchange {
            name: frame["name"].as_str()?.to_owned(),
            xid: header.xid.get(),
            op: header.op()?,
            request,
            zxid: reply.zxid.get(),
            response,
        })
    };
    json["frames"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(exchange)
        .collect()
}

fn from_hex(hex: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// Without what depends on the clock, and in an order where there is none.
fn comparable(op: OpCode, frame: &Bytes) -> (ReplyHeader, Option<Response>) {
    let (header, body) = last_frame(frame);
    if header.err != 0 {
        assert!(body.is_empty());
        return (header, None);
    }
    let mut response = Response::decode(op, &mut Reader::shared(&body)).unwrap();
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others have neither")]
    match &mut response {
        Response::Create2(r) => timeless(&mut r.stat),
        Response::Exists(r) => timeless(&mut r.stat),
        Response::GetData(r) => timeless(&mut r.stat),
        Response::SetData(r) => timeless(&mut r.stat),
        Response::GetAcl(r) => timeless(&mut r.stat),
        Response::SetAcl(r) => timeless(&mut r.stat),
        Response::GetChildren(r) => r.children.sort(),
        Response::GetChildren2(r) => {
            r.children.sort();
            timeless(&mut r.stat);
        }
        Response::GetEphemerals(r) => r.ephemerals.sort(),
        Response::WhoAmI(r) => r.client_info.sort_by_key(|info| info.auth_scheme.clone()),
        Response::Multi(r) => r.results.iter_mut().for_each(timeless_result),
        _ => {}
    }
    (header, Some(response))
}

fn timeless(stat: &mut Stat) {
    assert!(stat.ctime > 0 || stat.czxid == Zxid::ZERO);
    (stat.ctime, stat.mtime) = (0, 0);
}

fn timeless_result(result: &mut MultiResult) {
    match result {
        MultiResult::Create2(r) => timeless(&mut r.stat),
        MultiResult::SetData(r) => timeless(&mut r.stat),
        MultiResult::GetData(r) => timeless(&mut r.stat),
        MultiResult::GetChildren(r) => r.children.sort(),
        MultiResult::Create(_)
        | MultiResult::Delete
        | MultiResult::Check
        | MultiResult::Error(_) => {}
    }
}

fn replay(server: &mut Server, mut exchanges: Vec<Exchange>, before: impl Fn(&mut Server, i32)) {
    exchanges.sort_by_key(|exchange| exchange.xid);
    let xids = exchanges.iter().map(|exchange| exchange.xid);
    assert!(
        xids.eq(1..=i32::try_from(exchanges.len()).unwrap()),
        "none is missing"
    );
    for exchange in exchanges {
        before(server, exchange.xid);
        let (ours, _) = server.answer(&exchange.request);
        assert_eq!(ours.len(), exchange.response.len(), "{}", exchange.name);
        let theirs = comparable(exchange.op, &exchange.response);
        assert_eq!(comparable(exchange.op, &ours), theirs, "{}", exchange.name);
    }
}

/// The first connection of the Java client, up to where others begin to write in between.
#[test]
fn session_of_a_java_client_is_answered_as_the_reference_does() {
    const LAST_ZXID: i64 = 40;
    let mut server = Server::new(0x0100_002d_1e28_0000, false);
    let is_first = |exchange: &Exchange| {
        let is_java = exchange.name.starts_with("java-3.9.3/");
        let is_sasl = exchange.name.starts_with("java-3.9.3/sasl");
        let is_answered_elsewhere = matches!(exchange.op, OpCode::Auth | OpCode::CloseSession);
        is_java && !is_sasl && !is_answered_elsewhere && exchange.zxid <= LAST_ZXID
    };
    let first = exchanges().into_iter().filter(is_first).collect();
    replay(&mut server, first, |server, xid| {
        // In between, the client proved who it is.
        if xid == 64 {
            let bob = Identity::new("digest", "bob:ikIaKsbtGweaHnb/jKn7OHqbunM=");
            server.identities = server.identities.with([bob]);
        }
    });
    assert_eq!(server.tree.applied().get(), LAST_ZXID);
}

#[test]
fn quotas_are_answered_as_the_reference_does() {
    let mut server = Server::new(0x0100_002f_66f2_0000, true);
    let is_quota = |exchange: &Exchange| exchange.name.starts_with("raw/quota-");
    let quota = exchanges().into_iter().filter(is_quota).collect();
    replay(&mut server, quota, |_, _| {});
}
