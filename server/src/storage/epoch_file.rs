//! The two epoch files: promises that must outlive a crash.

use std::io;

use zk_core::wire::epoch::{self, BadEpochFile};
use zk_proto::{Epoch, Zxid};

use super::disk::{Disk, write_durably};
use super::layout::{Name, Role};

/// Why the epochs cannot be read or written. The server must not run on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpochError {
    /// The file could not be read or written.
    #[error("cannot use file {file}")]
    Disk {
        /// The file.
        file: Role,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file does not hold a number.
    #[error("file {file} is damaged")]
    Damaged {
        /// The file.
        file: Role,
        /// What it holds.
        #[source]
        source: BadEpochFile,
    },
    /// Files of different servers, or edited by hand.
    #[error("the accepted epoch, {} is less than the current epoch, {}", accepted.get(), current.get())]
    AcceptedBehindCurrent {
        /// In `acceptedEpoch`.
        accepted: Epoch,
        /// In `currentEpoch`.
        current: Epoch,
    },
    /// An epoch was to be replaced by an older one.
    #[error("epoch {} in {file} must not go back to {}", from.get(), to.get())]
    Backwards {
        /// The file.
        file: Role,
        /// What it holds.
        from: Epoch,
        /// What was to be written.
        to: Epoch,
    },
}

/// The epochs of a member, as they are on disk.
///
/// Invariant: accepted ≥ current, and neither ever decreases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    accepted: Epoch,
    current: Epoch,
}

impl Epochs {
    /// Reads both files of a member whose last transaction is `last`, and writes the ones that
    /// are missing or behind.
    ///
    /// A log with transactions of an epoch above `currentEpoch` is left by a crash in the middle
    /// of a sync, after the transactions and before the epoch were written. The log holds the
    /// whole initial history of its epoch then, so the epoch is raised, where the reference
    /// refuses to start unless it finds a temporary file.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or is damaged; accepted behind current.
    pub fn load<D: Disk>(disk: &D, last: Zxid) -> Result<Self, EpochError> {
        let logged = last.epoch();
        let current = read(disk, Role::CurrentEpoch)?;
        let accepted = read(disk, Role::AcceptedEpoch)?;
        let raised = current.map_or(logged, |current| current.max(logged));
        let promised = accepted.unwrap_or(raised);
        if promised < raised {
            return Err(EpochError::AcceptedBehindCurrent {
                accepted: promised,
                current: raised,
            });
        }
        // Accepted first: whichever is durable after a crash, it is not behind the other.
        if accepted.is_none() {
            write(disk, Role::AcceptedEpoch, promised)?;
        }
        if current != Some(raised) {
            write(disk, Role::CurrentEpoch, raised)?;
        }
        Ok(Self {
            accepted: promised,
            current: raised,
        })
    }

    /// Newest epoch accepted.
    pub const fn accepted(self) -> Epoch {
        self.accepted
    }

    /// Epoch of the last leader followed to the end of its sync.
    pub const fn current(self) -> Epoch {
        self.current
    }

    /// Accepts an epoch, durably.
    ///
    /// # Errors
    ///
    /// An epoch older than the one accepted; a disk that fails.
    pub fn accept<D: Disk>(&mut self, disk: &D, epoch: Epoch) -> Result<(), EpochError> {
        replace(disk, Role::AcceptedEpoch, &mut self.accepted, epoch)
    }

    /// Makes an accepted epoch the current one, durably.
    ///
    /// # Errors
    ///
    /// An epoch older than the current one, or not accepted; a disk that fails.
    pub fn establish<D: Disk>(&mut self, disk: &D, epoch: Epoch) -> Result<(), EpochError> {
        if epoch > self.accepted {
            let accepted = self.accepted;
            return Err(EpochError::AcceptedBehindCurrent {
                accepted,
                current: epoch,
            });
        }
        replace(disk, Role::CurrentEpoch, &mut self.current, epoch)
    }
}

fn replace<D: Disk>(
    disk: &D,
    file: Role,
    held: &mut Epoch,
    epoch: Epoch,
) -> Result<(), EpochError> {
    if epoch < *held {
        return Err(EpochError::Backwards {
            file,
            from: *held,
            to: epoch,
        });
    }
    if epoch > *held {
        write(disk, file, epoch)?;
        *held = epoch;
    }
    Ok(())
}

fn read<D: Disk>(disk: &D, file: Role) -> Result<Option<Epoch>, EpochError> {
    match disk.read(Name::Final(file)) {
        Ok(content) => match epoch::parse(&content) {
            Ok(epoch) => Ok(Some(epoch)),
            Err(source) => Err(EpochError::Damaged { file, source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(EpochError::Disk { file, source }),
    }
}

fn write<D: Disk>(disk: &D, file: Role, epoch: Epoch) -> Result<(), EpochError> {
    write_durably(disk, Name::Final(file), epoch::render(epoch).as_bytes())
        .map_err(|source| EpochError::Disk { file, source })
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::super::sim_disk::{Fault, SimDisk};
    use super::*;

    fn disk(accepted: Option<&str>, current: Option<&str>) -> SimDisk {
        let disk = SimDisk::new(1);
        for (role, content) in [
            (Role::AcceptedEpoch, accepted),
            (Role::CurrentEpoch, current),
        ] {
            if let Some(content) = content {
                write_durably(&disk, Name::Final(role), content.as_bytes()).expect("written");
            }
        }
        disk
    }

    fn load(
        accepted: Option<&str>,
        current: Option<&str>,
        epoch: i32,
    ) -> Result<(i32, i32), String> {
        let disk = disk(accepted, current);
        let last = Zxid::from_parts(Epoch::new(epoch), 7);
        let epochs = Epochs::load(&disk, last).map_err(|error| error.to_string())?;
        assert_eq!(Epochs::load(&disk, last).expect("again"), epochs);
        Ok((epochs.accepted().get(), epochs.current().get()))
    }

    #[test]
    fn missing_and_late_files_are_brought_up_to_the_log() {
        assert_eq!(load(None, None, 3), Ok((3, 3)));
        assert_eq!(load(Some("5"), Some("4\n"), 3), Ok((5, 4)));
        assert_eq!(load(Some("5"), Some("2"), 3), Ok((5, 3)));
        assert_eq!(load(None, Some("4"), 3), Ok((4, 4)));
        assert_eq!(load(Some("4"), None, 3), Ok((4, 3)));
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(
            load(Some("3"), Some("5"), 0),
            Err("the accepted epoch, 3 is less than the current epoch, 5".to_owned())
        );
        assert_eq!(
            load(Some("1"), Some("x"), 0),
            Err("file currentEpoch is damaged".to_owned())
        );
        assert!(load(Some("1"), Some("1"), 2).is_err());
    }

    #[test]
    fn epochs_never_go_back() {
        let disk = disk(Some("5"), Some("4"));
        let mut epochs = Epochs::load(&disk, Zxid::ZERO).expect("loaded");
        assert!(matches!(
            epochs.accept(&disk, Epoch::new(4)),
            Err(EpochError::Backwards { .. })
        ));
        assert!(epochs.establish(&disk, Epoch::new(6)).is_err());
        epochs.accept(&disk, Epoch::new(6)).expect("newer");
        epochs.establish(&disk, Epoch::new(6)).expect("accepted");
        assert_eq!(Epochs::load(&disk, Zxid::ZERO).expect("loaded"), epochs);
    }

    #[test]
    fn a_crash_anywhere_leaves_the_old_epoch_or_the_new_one() {
        for seed in 0..20 {
            for step in 1.. {
                let disk = disk(Some("5"), Some("4")).reseeded(seed);
                let mut epochs = Epochs::load(&disk, Zxid::ZERO).expect("loaded");
                let start = disk.operations();
                disk.fail_at(start + step, Fault::PowerCut);
                let accepted = epochs.accept(&disk, Epoch::new(9)).is_ok();
                let established = accepted && epochs.establish(&disk, Epoch::new(9)).is_ok();
                let done = disk.operations() - start < step;
                let after = Epochs::load(&disk.restart(), Zxid::ZERO).expect("whole files");
                let pair = (after.accepted().get(), after.current().get());
                match (accepted, established) {
                    (_, true) => assert_eq!(pair, (9, 9)),
                    (true, false) => assert!(matches!(pair, (9, 4 | 9)), "{pair:?}"),
                    (false, false) => assert!(matches!(pair, (5 | 9, 4)), "{pair:?}"),
                }
                if done {
                    break;
                }
            }
        }
    }
}
