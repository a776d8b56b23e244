//! Handshakes and requests of real clients against what the reference answered.

use zk_proto::connect::ConnectResponse;
use zk_proto::header::ReplyHeader;
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::{Bytes, ErrorCode, SessionId, Zxid};

use super::auth::{Identities, Schemes};
use super::handshake::{Decision, Handshake, Resumed, ServerFacts, ServingMode};
use super::request::{Class, Fault, Incoming, Read, auth_answer};
use crate::session::TimeoutBounds;
use crate::watch::catch_up;

/// A frame of a client and the frame that answered it, both with the length in front.
struct Exchange {
    name: String,
    request: Bytes,
    response: Option<Bytes>,
}

fn exchanges(json: &str) -> Vec<Exchange> {
    let json: serde_json::Value = serde_json::from_str(json).unwrap();
    let frames = json["frames"].as_array().unwrap();
    let exchange = |frame: &serde_json::Value| Exchange {
        name: frame["name"].as_str().unwrap().to_owned(),
        request: from_hex(frame["request"].as_str().unwrap()),
        response: frame["response"].as_str().map(from_hex),
    };
    frames.iter().map(exchange).collect()
}

fn from_hex(hex: &str) -> Bytes {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

#[test]
fn handshakes_are_answered_as_the_reference_does() {
    for exchange in exchanges(include_str!("../../vectors/conn/handshakes.json")) {
        let Exchange {
            name,
            request,
            response,
        } = exchange;
        let is_read_only = name.contains("readonly-mode");
        let facts = ServerFacts {
            mode: if is_read_only {
                ServingMode::ReadOnly
            } else {
                ServingMode::Full
            },
            last_zxid: Zxid::new(if is_read_only { 0x4_0000_0008 } else { 0x100 }),
            bounds: TimeoutBounds::new(2000, None, None).unwrap(),
            has_local_sessions: is_read_only && !name.contains("global-session"),
            has_tokens: true,
        };
        // The id that was given out, or whether the session was found, is the reference's to say.
        let granted = response.as_ref().and_then(|frame| {
            let response = ConnectResponse::decode(&mut Reader::new(&frame[4..])).ok()?;
            (response.timeout_ms > 0).then_some(response.session_id)
        });
        let handshake = Handshake::decode(&request.slice(4..)).unwrap();
        let asked = handshake.session();
        let answer = match handshake.decide(&facts) {
            Decision::Close(_) => None,
            Decision::Refuse { frame, .. } => Some(frame),
            Decision::Create(awaiting) => {
                assert_eq!(asked, SessionId::NONE);
                Some(awaiting.created(granted.unwrap()))
            }
            Decision::Resume(awaiting) => match awaiting.looked_up(granted.is_some()) {
                Resumed::Serve(frame) | Resumed::Refuse(frame) => Some(frame),
                Resumed::Close(_) => None,
            },
        };
        assert_eq!(answer, response, "{name}");
    }
}

#[test]
fn requests_are_classified_as_the_reference_answers_them() {
    let mut faults = 0;
    let mut auths = 0;
    for exchange in exchanges(include_str!("../../vectors/conn/requests.json")) {
        let Exchange {
            name,
            request,
            response,
        } = exchange;
        let peer = "127.0.0.1".parse().unwrap();
        let own = Identities::of_peer(peer);
        let is_enforced = name.contains("enforced-auth");
        let wanted = if is_enforced {
            vec!["sasl".into()]
        } else {
            Vec::new()
        };
        let mode = if name.contains("readonly-mode") {
            ServingMode::ReadOnly
        } else {
            ServingMode::Full
        };
        let incoming = Incoming::decode(&request.slice(4..)).unwrap();
        let incoming = incoming.allowed_for(&own, &wanted).allowed_in(mode, true);
        let Some(response) = response else {
            // The reference executes it, to the harm of the session; here it is none of a client's.
            assert!(name.contains("createsession-from-client"), "{name}");
            assert_eq!(
                incoming.class,
                Class::Read(Read::Fault(Fault::UNIMPLEMENTED))
            );
            continue;
        };
        let header = ReplyHeader::decode(&mut Reader::new(&response[4..])).unwrap();
        let xid = incoming.reply_xid();
        assert_eq!(header.xid, xid, "{name}");
        match incoming.class {
            Class::Read(Read::Fault(fault)) => {
                faults += 1;
                let answer = fault.answer(xid, header.zxid).bytes;
                // The reference may send the rest of a body behind an error.
                assert_eq!(answer[4..], response[4..20], "{name}");
            }
            Class::Read(Read::SetWatches(lists)) => {
                let outcome = catch_up(lists, &mut |_| None);
                assert_eq!(outcome.error, header.error(), "{name}");
            }
            Class::Auth(packet) => {
                auths += 1;
                let outcome = Schemes::standard().authenticate(&packet, peer, &own);
                assert_eq!(auth_answer(xid, &outcome).bytes, response, "{name}");
            }
            Class::Read(_) | Class::Write(_) | Class::Sasl(_) => {
                let of_decoding = [
                    Some(ErrorCode::MarshallingError),
                    Some(ErrorCode::Unimplemented),
                    Some(ErrorCode::NotReadOnly),
                ];
                assert!(!of_decoding.contains(&header.error()), "{name}");
            }
        }
    }
    assert!(faults >= 14 && auths >= 5, "{faults} faults, {auths} auths");
}
