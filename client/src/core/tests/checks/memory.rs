use super::super::super::Time;
use super::super::world::Fact;
use super::Check;

/// N6: the core holds no more than what waits, what was withdrawn of late, and a few requests of its
/// own; what it wants written at once is limited.
///
/// # Source
/// `client-api.md` §6 "bounds"; §14 N6.
#[derive(Debug, Default)]
pub(super) struct Memory;

/// Requests beyond twice those that somebody waits for: withdrawn ones that were not looked at yet,
/// and the client's own.
const SLACK: usize = 200;
/// Bytes that one transmission may leave to be written: its limit, and one frame.
const OUTPUT_MAX: usize = 64 * 1024 + 1024;

impl Check for Memory {
    fn see(&mut self, _now: Time, fact: &Fact<'_>) -> Result<(), String> {
        let Fact::Turned {
            load,
            unresolved,
            output,
        } = fact
        else {
            return Ok(());
        };
        if load.requests > 2 * unresolved + SLACK {
            return Err(format!("{load:?} for {unresolved} requests"));
        }
        if *output > OUTPUT_MAX {
            return Err(format!("{output} bytes to be written"));
        }
        if load.requests == 0 && load.bytes != 0 {
            return Err(format!("{load:?}"));
        }
        Ok(())
    }
}
