//! Writes the corpora that the fuzz targets start from: the golden vectors, in each target's form.

use std::fs;
use std::path::Path;

use serde_json::Value;
use zk_proto::OpCode;

const FILES: [&str; 8] = [
    "connect", "create", "data", "multi", "watches", "auth-acl", "session", "ensemble",
];

fn main() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut count = 0;
    for file in FILES {
        let text = fs::read_to_string(here.join(format!("../vectors/{file}.json")))
            .expect("the vectors lie next to this crate");
        let frames: Vec<Value> = serde_json::from_str(&text).expect("a vector file is JSON");
        for (index, frame) in frames.iter().enumerate() {
            let name = format!("{file}-{index:03}");
            for (target, seed) in seeds(frame) {
                let folder = here.join("corpus").join(target);
                fs::create_dir_all(&folder).expect("a folder for the corpus");
                fs::write(folder.join(format!("{name}-{count}")), seed).expect("a seed is written");
                count += 1;
            }
        }
    }
    println!("{count} seeds in {}", here.join("corpus").display());
}

/// What a frame is worth to each target, behind the byte that picks what it is taken for.
fn seeds(frame: &Value) -> Vec<(&'static str, Vec<u8>)> {
    let wire = unhex(frame["hex"].as_str().expect("hex"));
    let from_client = frame["direction"] == "c2s";
    let behind = |pick: u8, bytes: &[u8]| [&[pick], bytes].concat();
    // Frames are cut in two in their middle.
    let half = u8::try_from(wire.len() / 2).unwrap_or(u8::MAX);
    let mut seeds = vec![("frames", behind(0, &behind(half, &wire)))];
    let payload = &wire[4..];
    let op = OpCode::ALL.iter().position(|op| frame["op"] == op.name());
    match (frame["op"].as_str(), op) {
        (Some("connect"), _) => seeds.push(("frames", behind(2 - u8::from(from_client), payload))),
        (Some("notification"), _) => seeds.push(("frames", behind(3, &payload[16..]))),
        (_, Some(op)) => {
            let pick = u8::try_from(op).expect("opcodes are few");
            let (target, header, of_header) = if from_client {
                ("requests", 8, 4)
            } else {
                ("responses", 16, 5)
            };
            seeds.push((target, behind(pick, &payload[header..])));
            seeds.push(("frames", behind(of_header, payload)));
        }
        _ => {}
    }
    if let Some(path) = frame["decoded"]["body"]["path"].as_str() {
        seeds.push((
            "frames",
            behind(7, &[path.as_bytes(), &[0xff], path.as_bytes()].concat()),
        ));
    }
    seeds
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(byte).collect()
}
