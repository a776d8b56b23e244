//! Owners, and who runs them: whoever brings work does it, unless somebody is at it already.
//!
//! ```text
//!  connection task ─leave─► core ─leave─► log, apply      then: help()
//!  log thread ──────leave─► core ─leave─► apply           then: help()
//!  their own threads: deadlines, and what was left to them
//! ```
//!
//! A thread that hands work to another and then waits for the outcome has the other one woken, and
//! itself woken in turn: on a machine with few cores that costs more than the work. So the state of
//! an owner is not bound to a thread but to a *seat*, which one thread has at a time. Who leaves
//! work in a mailbox tries to take the seat and acts; who finds the seat taken leaves, for whoever
//! has it looks into the mailbox once more after getting up.
//!
//! A turn is bounded, and so is the number of turns a helper takes; what is left then is for the
//! owner's own thread. That thread also sees to deadlines.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::{Mutex, MutexGuard};

use super::apply::ApplyStage;
use super::core::CoreStage;
use super::fail_stop::{FailStop, PanicWatch, StopCause};
use super::mailbox::{Mailbox, Taken};

/// Turns that a helper takes before the owners' own threads go on: enough for a write to go all the
/// way, few enough that a connection is not kept from its own work for long.
const TURNS_MAX: usize = 4;

/// What owns a part of the server's state.
pub(crate) trait Stage {
    /// What is asked of it.
    type Item;
    /// Name of its thread.
    const NAME: &'static str;

    /// Acts on all that was asked, and on what is due.
    fn turn(&mut self, items: &mut Vec<Self::Item>) -> Result<(), StopCause>;

    /// When it must have a turn though nothing is asked of it.
    fn deadline(&self) -> Option<Instant>;
}

/// An owner with its mailbox.
pub(crate) struct Owner<S: Stage> {
    mailbox: Arc<Mailbox<S::Item>>,
    /// Empty once it has failed or stopped. Boxed, as a turn takes it out and puts it back: a stage
    /// has some kilobytes in place.
    seat: Mutex<Option<Box<Seat<S>>>>,
    fail_stop: Arc<FailStop>,
    /// What happens while the seat is held by one who finds nothing to do.
    #[cfg(test)]
    found_nothing: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

struct Seat<S: Stage> {
    stage: S,
    /// Reused from turn to turn.
    items: Vec<S::Item>,
}

impl<S: Stage> Owner<S> {
    pub(crate) fn new(stage: S, mailbox: Arc<Mailbox<S::Item>>, fail_stop: &Arc<FailStop>) -> Self {
        let items = Vec::new();
        mailbox.arm(stage.deadline());
        Self {
            mailbox,
            seat: Mutex::new(Some(Box::new(Seat { stage, items }))),
            fail_stop: Arc::clone(fail_stop),
            #[cfg(test)]
            found_nothing: Mutex::new(None),
        }
    }

    /// Takes a turn if something is asked and nobody is at it; false if there was nothing to do.
    ///
    /// # Ordering
    ///
    /// Who leaves something and then finds the seat taken relies on whoever has it to look into the
    /// mailbox after giving it up. After a turn the caller does, by helping again; here it is done
    /// when there was no turn.
    fn help(&self) -> bool {
        loop {
            if !self.mailbox.may_be_helped() {
                self.mailbox.wake();
                return false;
            }
            let Some(mut seat) = self.seat.try_lock() else {
                return false;
            };
            let Some(at_work) = seat.as_mut() else {
                return false;
            };
            if self.mailbox.take_now(&mut at_work.items) {
                self.turn(&mut seat);
                return true;
            }
            #[cfg(test)]
            if let Some(happens) = self.found_nothing.lock().take() {
                happens();
            }
            drop(seat);
            if self.mailbox.is_empty() {
                return false;
            }
        }
    }

    /// Sees to deadlines and to what others left, until the mailbox is closed; `help` is called
    /// after each turn.
    fn attend(&self, help: impl Fn()) {
        loop {
            let taken = self.mailbox.wait();
            let mut seat = self.seat.lock();
            let Some(at_work) = seat.as_mut() else {
                return;
            };
            // A helper may have been faster.
            let has_items = self.mailbox.take_now(&mut at_work.items);
            match taken {
                Taken::Closed if !has_items => {
                    *seat = None;
                    return;
                }
                Taken::Items if !has_items => continue,
                Taken::Items | Taken::Deadline | Taken::Closed => self.turn(&mut seat),
            }
            drop(seat);
            help();
        }
    }

    /// Takes a turn. If it fails or panics, the seat stays empty and the server stops: law L7.
    fn turn(&self, seat: &mut MutexGuard<'_, Option<Box<Seat<S>>>>) {
        let Some(mut at_work) = seat.take() else {
            return;
        };
        let _watch = PanicWatch::new(S::NAME, &self.fail_stop);
        match at_work.stage.turn(&mut at_work.items) {
            Ok(()) => {
                // Whoever took the turn: the owner's thread sees to it.
                self.mailbox.arm(at_work.stage.deadline());
                **seat = Some(at_work);
            }
            Err(cause) => self.fail_stop.fail(cause),
        }
    }
}

/// The owners that are helped.
pub(crate) struct Owners<C: Stage = CoreStage, A: Stage = ApplyStage> {
    pub(crate) core: Owner<C>,
    pub(crate) apply: Owner<A>,
}

impl<C: Stage, A: Stage> Owners<C, A> {
    /// Does what was left in the mailboxes, as far as nobody else is at it. For everybody who left
    /// something there; holds no lock of the caller.
    pub(crate) fn help(&self) {
        for _ in 0..TURNS_MAX {
            let core = self.core.help();
            let apply = self.apply.help();
            if !core && !apply {
                return;
            }
        }
        self.core.mailbox.wake();
        self.apply.mailbox.wake();
    }

    /// The core's own thread.
    pub(crate) fn attend_core(&self) {
        self.core.attend(|| self.help());
    }

    /// The own thread of what applies.
    pub(crate) fn attend_apply(&self) {
        self.apply.attend(|| self.help());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::faults::Faults;

    /// Counts what it is asked.
    #[derive(Default)]
    struct Sum {
        count: usize,
    }

    impl Stage for Sum {
        type Item = usize;
        const NAME: &'static str = "sum";

        fn turn(&mut self, items: &mut Vec<usize>) -> Result<(), StopCause> {
            self.count += items.drain(..).sum::<usize>();
            Ok(())
        }

        fn deadline(&self) -> Option<Instant> {
            None
        }
    }

    fn owner(faults: &Faults) -> Owner<Sum> {
        let mailbox = Arc::new(Mailbox::with_faults(usize::MAX, faults.clone()));
        Owner::new(Sum::default(), mailbox, &Arc::new(FailStop::new()))
    }

    /// What is left while the seat is held by one who found nothing to do must be done by that one.
    #[test]
    fn who_found_nothing_looks_again_after_giving_up_the_seat() {
        let owner = Arc::new(owner(&Faults::default()));
        let other = Arc::clone(&owner);
        *owner.found_nothing.lock() = Some(Box::new(move || {
            other.mailbox.leave([1]);
            assert!(!other.help(), "the seat is taken");
        }));
        while owner.help() {}
        assert!(owner.mailbox.is_empty());
        let seat = owner.seat.lock();
        assert_eq!(seat.as_ref().map(|seat| seat.stage.count), Some(1));
    }

    #[test]
    fn whatever_is_left_is_done_when_all_who_left_it_have_helped() {
        const THREADS: usize = 4;
        const EACH: usize = 20_000;
        let owner = owner(&Faults::default());
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        owner.mailbox.leave([1]);
                        while owner.help() {}
                    }
                });
            }
        });
        let seat = owner.seat.lock();
        let done = seat.as_ref().map(|seat| seat.stage.count);
        assert_eq!(done, Some(THREADS * EACH));
    }

    /// Passes on what it is asked, one less each time, until nothing is left of it.
    struct Passes {
        to: Arc<Mailbox<usize>>,
        ended: Arc<AtomicUsize>,
    }

    impl Stage for Passes {
        type Item = usize;
        const NAME: &'static str = "passes";

        fn turn(&mut self, items: &mut Vec<usize>) -> Result<(), StopCause> {
            for item in items.drain(..) {
                if item == 0 {
                    self.ended.fetch_add(1, Ordering::Relaxed);
                } else {
                    self.to.leave([item - 1]);
                }
            }
            Ok(())
        }

        fn deadline(&self) -> Option<Instant> {
            None
        }
    }

    /// As core and apply do: each leaves work to the other, more often than a helper has turns, and
    /// nobody comes later to find what was forgotten.
    #[test]
    fn nothing_that_owners_leave_to_each_other_is_forgotten_when_helpers_go() {
        const HOPS: usize = 3 * TURNS_MAX + 1;
        const ROUNDS: usize = 2_000;
        let (core, apply) = (Arc::new(Mailbox::new(10)), Arc::new(Mailbox::new(10)));
        let ended = Arc::new(AtomicUsize::new(0));
        let fail_stop = Arc::new(FailStop::new());
        let owner = |mine: &Arc<Mailbox<usize>>, other: &Arc<Mailbox<usize>>| {
            let (to, ended) = (Arc::clone(other), Arc::clone(&ended));
            Owner::new(Passes { to, ended }, Arc::clone(mine), &fail_stop)
        };
        let owners = Owners {
            core: owner(&core, &apply),
            apply: owner(&apply, &core),
        };
        let is_done = |round| {
            let late = Instant::now() + Duration::from_secs(30);
            while ended.load(Ordering::Relaxed) < 2 * round && Instant::now() < late {
                thread::yield_now();
            }
            ended.load(Ordering::Relaxed) == 2 * round
        };
        let forgotten = thread::scope(|scope| {
            scope.spawn(|| owners.attend_core());
            scope.spawn(|| owners.attend_apply());
            let forgotten = (1..=ROUNDS).find(|&round| {
                thread::scope(|scope| {
                    for mailbox in [&core, &apply] {
                        let owners = &owners;
                        scope.spawn(move || {
                            mailbox.leave([HOPS]);
                            owners.help();
                        });
                    }
                });
                !is_done(round)
            });
            core.close();
            apply.close();
            forgotten
        });
        assert_eq!(forgotten, None, "the round in which something was left");
    }

    #[test]
    fn nobody_helps_who_is_paused_and_its_thread_goes_on_when_it_may() {
        let faults = Faults::default();
        let owner = owner(&faults);
        thread::scope(|scope| {
            scope.spawn(|| owner.attend(|| {}));
            faults.pause();
            owner.mailbox.leave([1]);
            assert!(!owner.help());
            faults.resume();
            while owner
                .seat
                .lock()
                .as_ref()
                .is_none_or(|seat| seat.stage.count == 0)
            {
                thread::yield_now();
            }
            owner.mailbox.close();
        });
    }

    #[test]
    fn a_deadline_that_a_helper_brings_about_is_kept_by_the_thread() {
        /// Wants a turn a moment after it was asked for anything.
        #[derive(Default)]
        struct Alarm {
            at: Option<Instant>,
            rang: bool,
        }
        impl Stage for Alarm {
            type Item = ();
            const NAME: &'static str = "alarm";

            fn turn(&mut self, items: &mut Vec<()>) -> Result<(), StopCause> {
                let now = Instant::now();
                self.rang |= self.at.is_some_and(|at| at <= now);
                let is_asked = items.drain(..).count() > 0;
                self.at = is_asked.then(|| now + Duration::from_millis(5));
                Ok(())
            }

            fn deadline(&self) -> Option<Instant> {
                self.at
            }
        }
        for _ in 0..100 {
            let mailbox = Arc::new(Mailbox::new(10));
            let owner = Owner::new(Alarm::default(), mailbox, &Arc::new(FailStop::new()));
            thread::scope(|scope| {
                scope.spawn(|| owner.attend(|| {}));
                owner.mailbox.leave([()]);
                while owner.help() {}
                while owner
                    .seat
                    .lock()
                    .as_ref()
                    .is_some_and(|seat| !seat.stage.rang)
                {
                    thread::yield_now();
                }
                owner.mailbox.close();
            });
        }
    }

    #[test]
    fn l7_nobody_takes_the_seat_of_one_that_panicked() {
        struct Fails;
        impl Stage for Fails {
            type Item = ();
            const NAME: &'static str = "fails";

            fn turn(&mut self, _: &mut Vec<()>) -> Result<(), StopCause> {
                panic!("on purpose")
            }

            fn deadline(&self) -> Option<Instant> {
                None
            }
        }
        let fail_stop = Arc::new(FailStop::new());
        let mailbox = Arc::new(Mailbox::new(10));
        let owner = Owner::new(Fails, mailbox, &fail_stop);
        owner.mailbox.leave([(), ()]);
        thread::scope(|scope| {
            let helper = scope.spawn(|| owner.help());
            helper.join().expect_err("it panicked");
        });
        assert!(fail_stop.stopping().is_cancelled());
        owner.mailbox.leave([()]);
        assert!(!owner.help());
    }
}
