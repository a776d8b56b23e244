//! A `zoo.cfg`, a dynamic file and a `myid` of any bytes: reading them never panics, and every
//! refusal has words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use zk_server::config::{Config, Properties, Sources, Strictness};

fuzz_target!(|input: &[u8]| {
    // Three files, apart by a byte that is in none of them.
    let mut parts = input.split(|&byte| byte == 0xff);
    let main = parts.next().unwrap_or_default();
    let dynamic = parts.next();
    let my_id = parts.next();
    for strictness in [Strictness::Normal, Strictness::Strict, Strictness::Off] {
        let main = match Properties::parse("zoo.cfg", main, strictness) {
            Ok(main) => main,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let dynamic = dynamic.and_then(|file| Properties::parse("dynamic", file, strictness).ok());
        let resolved = Config::resolve(Sources {
            main: &main,
            dynamic: dynamic.as_ref().map(|file| (7, file)),
            environment: &[],
            my_id: my_id.map(|content| ("myid", content)),
            strictness,
        });
        match resolved {
            Ok(resolved) => {
                assert!(
                    resolved.config.session_timeout.start()
                        <= resolved.config.session_timeout.end()
                );
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});
