//! From the start of the process to its first acknowledged write.

use std::time::Instant;

use zk_proto::request::{CreateFlags, CreateRequest, Request};
use zk_proto::{Acl, Id, Perms};

use crate::Plan;
use crate::subject::{Settings, Subject};
use crate::table::{Goal, Table};

/// Starts in a round: one is over soon.
const STARTS: usize = 3;

pub(crate) fn measure(plan: &Plan, table: &mut Table) -> anyhow::Result<()> {
    for round in 0..plan.rounds {
        for which in plan.in_round(round) {
            let mut subject = Subject::start(which, &Settings::default())?;
            for _ in 0..STARTS {
                subject.kill()?;
                let begun = Instant::now();
                subject.launch()?;
                acknowledged(&subject)?;
                let ms = begun.elapsed().as_secs_f64() * 1e3;
                let name = "start to first acknowledged write";
                table.add(which, name, ("ms", ms), Goal::AtMost(15.0));
                println!("{which:?}: {ms:.1} ms from the start to the first acknowledged write");
            }
        }
    }
    Ok(())
}

/// Gets a write acknowledged by a server that starts.
pub(crate) fn acknowledged(subject: &Subject) -> anyhow::Result<()> {
    let mut session = subject.first_session()?;
    let create = Request::Create(CreateRequest {
        path: Some("/first-".into()),
        data: None,
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: CreateFlags::PersistentSequential.code(),
    });
    session.call(&create)?;
    session.close()?;
    Ok(())
}
