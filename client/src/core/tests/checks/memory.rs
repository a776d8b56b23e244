use super::super::super::{Load, Time};
use super::super::world::Fact;
use super::Check;

/// N6: the core holds no more than what waits, what was withdrawn of late, and a few requests of its
/// own; what it wants written at once is limited.
///
/// # Source
/// `client-api.md` §6 "bounds"; §14 N6.
#[derive(Debug, Default)]
pub(super) struct Memory {
    in_flight_max: Load,
}

/// Requests beyond twice those that somebody waits for: withdrawn ones that were not looked at yet,
/// and the client's own.
const SLACK: usize = 200;
/// Bytes that one transmission may leave to be written: its limit, and one frame.
const OUTPUT_MAX: usize = 64 * 1024 + FRAME_MAX;
/// Bytes of the longest request there is.
const FRAME_MAX: usize = 1024;

impl Check for Memory {
    fn see(&mut self, _now: Time, fact: &Fact<'_>) -> Result<(), String> {
        if let Fact::Planned(plan) = fact {
            self.in_flight_max = Load {
                requests: plan.in_flight_max,
                bytes: plan.in_flight_bytes_max,
            };
        }
        let Fact::Turned {
            load,
            in_flight,
            unresolved,
            output,
        } = fact
        else {
            return Ok(());
        };
        if load.requests > 2 * unresolved + SLACK {
            return Err(format!("{load:?} for {unresolved} requests"));
        }
        let max = self.in_flight_max;
        if in_flight.requests > max.requests || in_flight.bytes > max.bytes + FRAME_MAX {
            return Err(format!("{in_flight:?} in flight, of {max:?}"));
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
