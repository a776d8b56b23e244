//! Any opcode and any body: decoding never panics, and what decodes survives a round trip.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use zk_proto::OpCode;
use zk_proto::jute::{Encode as _, Reader};
use zk_proto::request::Request;

fuzz_target!(|input: &[u8]| {
    // The first byte picks the opcode, so that no input is wasted on one that does not exist.
    let Some((pick, body)) = input.split_first() else {
        return;
    };
    let op = OpCode::ALL[usize::from(*pick) % OpCode::ALL.len()];
    let frame = Bytes::copy_from_slice(body);
    let shared = Request::decode(op, &mut Reader::shared(&frame));
    let copied = Request::decode(op, &mut Reader::new(body));
    assert_eq!(
        shared, copied,
        "a copy and a slice of the frame decode alike"
    );
    let Ok(request) = shared else { return };
    assert_eq!(request.op(), op);

    let wire = request.to_bytes();
    assert_eq!(wire.len(), request.encoded_len());
    let mut reader = Reader::shared(&wire);
    assert_eq!(Request::decode(op, &mut reader).as_ref(), Ok(&request));
    assert!(reader.is_empty(), "a record reads all that it wrote");
});
