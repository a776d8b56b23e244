//! The golden vectors, parsed.

use bytes::Bytes;
use serde_json::Value;

/// Every file of frames, and how many it holds.
const FILES: [(&str, &str, usize); 8] = [
    ("connect", include_str!("../../vectors/connect.json"), 68),
    ("create", include_str!("../../vectors/create.json"), 108),
    ("data", include_str!("../../vectors/data.json"), 200),
    ("multi", include_str!("../../vectors/multi.json"), 28),
    ("watches", include_str!("../../vectors/watches.json"), 85),
    ("auth-acl", include_str!("../../vectors/auth-acl.json"), 64),
    ("session", include_str!("../../vectors/session.json"), 41),
    ("ensemble", include_str!("../../vectors/ensemble.json"), 47),
];

/// One captured frame.
pub(crate) struct Frame {
    /// Unique name, for messages.
    pub(crate) name: String,
    /// Whether a client sent it.
    pub(crate) from_client: bool,
    /// Name of the opcode, or one of the special kinds.
    pub(crate) op: String,
    /// The bytes, with the length in front.
    pub(crate) wire: Bytes,
    /// What the bytes say.
    pub(crate) decoded: Value,
    /// Whether `decoded` encodes to `wire`.
    pub(crate) is_canonical: bool,
}

impl Frame {
    /// The bytes behind the length.
    pub(crate) fn payload(&self) -> Bytes {
        self.wire.slice(4..)
    }
}

/// Every captured frame, file by file.
pub(crate) fn frames() -> Vec<Frame> {
    let mut frames = Vec::new();
    for (file, text, count) in FILES {
        let entries: Vec<Value> = serde_json::from_str(text).expect("a vector file is JSON");
        assert_eq!(entries.len(), count, "frames in {file}.json");
        frames.extend(entries.iter().map(frame));
    }
    frames
}

/// The facts that are not frames.
pub(crate) fn derived() -> Value {
    serde_json::from_str(include_str!("../../vectors/derived.json")).expect("derived.json is JSON")
}

/// Bytes in lower-case hexadecimal, as the vectors write them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn frame(entry: &Value) -> Frame {
    let text = |key: &str| entry[key].as_str().expect("a string").to_owned();
    Frame {
        name: text("name"),
        from_client: match entry["direction"].as_str() {
            Some("c2s") => true,
            Some("s2c") => false,
            other => panic!("direction {other:?}"),
        },
        op: text("op"),
        wire: unhex(&text("hex")),
        decoded: entry["decoded"].clone(),
        is_canonical: entry["canonical"].as_bool().expect("a bool"),
    }
}

fn unhex(text: &str) -> Bytes {
    assert!(text.len().is_multiple_of(2), "half a byte in {text}");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(byte).collect()
}
