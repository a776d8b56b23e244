//! What may happen next.

use zk_core::peer::{Attempt, Event};

/// An entry of the schedule. Members, links, connections and clients are told by their places; what
/// belongs to one life of a member says which.
#[derive(Debug)]
pub enum Happening {
    /// The fault at this place of the plan.
    Fault(usize),
    /// A member starts again.
    Start(u8),
    /// A member goes on.
    Resume(u8),
    /// A member's deadline.
    Wake(u8, u32),
    /// The log stage is done with its batch.
    Log(u8, u32),
    /// The apply stage takes its next batch.
    Apply(u8, u32),
    /// The apply stage has put a leader's tree on disk.
    Saved(u8, u32),
    /// The next piece of a member's own snapshot.
    OwnSnapshot(u8, u32),
    /// A member hears of something.
    Tell(u8, u32, Box<Event>),
    /// A vote arrives.
    Vote {
        /// Who sent it.
        from: u8,
        /// Who gets it.
        to: u8,
    },
    /// The last vote arrives once more.
    StaleVote {
        /// Who sent it.
        from: u8,
        /// Who gets it.
        to: u8,
    },
    /// A connection to a leader is accepted or refused.
    Dial {
        /// Who dials.
        learner: u8,
        /// In which life.
        life: u32,
        /// For which try.
        attempt: Attempt,
        /// Whom.
        leader: u8,
    },
    /// The next piece of a tree for a learner.
    Stream(usize),
    /// A learner that reads a tree looks whether bytes still come.
    Stalled(usize),
    /// Something arrives at the learner of a link.
    Down(usize),
    /// Something arrives at the leader of a link.
    Up(usize),
    /// A client has its next idea.
    Think(usize),
    /// Something of a client arrives at its server.
    ToServer(usize),
    /// Something arrives at the client of a connection.
    ToClient(usize),
    /// A connection executes the reads that came.
    Group(usize),
    /// A connection tells what they gave.
    Answer(usize),
}
