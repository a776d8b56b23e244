//! Makes a script that shows a difference as short as it can.

use super::play::Difference;
use super::script::{Act, Script};

/// Leaves out what can be left out: first steps, in ever smaller parts, then single requests.
/// `fails` plays a script on fresh servers, at most `budget` times.
pub fn shrink(
    script: &Script,
    found: Difference,
    budget: usize,
    mut fails: impl FnMut(&Script) -> Option<Difference>,
) -> (Script, Difference) {
    let (mut best, mut difference) = (script.clone(), found);
    if let Some(step) = difference.step {
        best.steps.truncate(step + 1);
    }
    let mut left = budget;
    let mut try_out = |candidate: Script, best: &mut Script, difference: &mut Difference| {
        if left == 0 {
            return false;
        }
        left -= 1;
        let Some(found) = fails(&candidate) else {
            return false;
        };
        if let Some(step) = found.step {
            best.steps = candidate.steps.into_iter().take(step + 1).collect();
        } else {
            *best = candidate;
        }
        *difference = found;
        true
    };
    let mut part = best.steps.len().div_ceil(2);
    while part > 0 {
        let mut start = 0;
        while start < best.steps.len() {
            let mut candidate = best.clone();
            let end = (start + part).min(candidate.steps.len());
            candidate.steps.drain(start..end);
            if !try_out(candidate, &mut best, &mut difference) {
                start += part;
            }
        }
        part /= 2;
    }
    let mut step = 0;
    while step < best.steps.len() {
        let mut ask = 0;
        while let Some(candidate) = without(&best, step, ask) {
            if !try_out(candidate, &mut best, &mut difference) {
                ask += 1;
            }
        }
        step += 1;
    }
    (best, difference)
}

/// The script without one request of a batch.
fn without(script: &Script, step: usize, ask: usize) -> Option<Script> {
    let mut candidate = script.clone();
    match &mut candidate.steps.get_mut(step)?.act {
        Act::Send(asks) if asks.len() > 1 && ask < asks.len() => {
            asks.remove(ask);
            Some(candidate)
        }
        Act::Send(_) | Act::Last(_) | Act::Bytes(_) | Act::Resume { .. } | Act::Close => None,
    }
}
