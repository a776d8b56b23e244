//! Lives in short sessions, each with an ephemeral, that end in every way there is.

use std::collections::BTreeSet;
use std::time::Duration;

use zk_client::{ErrorKind, Session};

use super::{Hand, pause};
use crate::sim::rng::Rng;
use crate::torture::history::{Ephemeral, Listing, NEVER};
use crate::torture::stage::{LIVE, OWNERS, Stage};

/// Milliseconds between two steps, about.
const PACE: u64 = 150;
/// Steps of thousand after which a client closes its session, and just goes away.
const CLOSES: u64 = 15;
const GOES: u64 = 15;
/// How long closing may take.
const CLOSE: Duration = Duration::from_secs(3);

/// An owner of an ephemeral.
struct Owner {
    number: usize,
    hand: Hand,
    /// The ephemeral, and the session that it was created in.
    own: Option<(String, Session)>,
}

pub(super) async fn run(stage: &Stage, connect: &str, mut rng: Rng, number: usize) {
    let mut owner = None;
    while !stage.is_over() {
        let ground = stage.enter().await;
        let mut one = if let Some(one) = owner.take() {
            one
        } else {
            let timeout = Duration::from_millis(rng.between((1_500, 5_000)));
            let Ok(hand) = Hand::start(connect, timeout, &mut rng) else {
                return;
            };
            stage.owners().insert(number, hand.client.clone());
            Owner {
                number,
                hand,
                own: None,
            }
        };
        if one.step(stage, &mut rng).await {
            owner = Some(one);
        } else {
            stage.owners().remove(&number);
        }
        drop(ground);
        pause(&mut rng, PACE).await;
    }
}

impl Owner {
    /// Whether it goes on.
    async fn step(&mut self, stage: &Stage, rng: &mut Rng) -> bool {
        let Some(session) = self.hand.session(stage).await else {
            return true;
        };
        let Some((name, of)) = &self.own else {
            self.settle(stage, session).await;
            return true;
        };
        if of.id() != session.id() {
            self.own = None;
            return true;
        }
        self.look(stage, &session, name).await;
        self.write(stage, &session).await;
        let chance = rng.below(1000);
        if chance >= CLOSES + GOES {
            return true;
        }
        if let Some(ephemeral) = stage.residents().get_mut(name) {
            ephemeral.released = stage.tick();
        }
        if chance < CLOSES {
            self.hand.client.close(CLOSE).await;
        } else {
            self.hand.client.detach().await;
            let count = &stage.counts.left;
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        false
    }

    /// Creates the ephemeral of this session.
    async fn settle(&mut self, stage: &Stage, session: Session) {
        let name = format!("o{}-{:x}-{}", self.number, session.id().get(), stage.tick());
        let path = format!("{LIVE}/{name}");
        let begin = stage.tick();
        match session.create(&path, "").ephemeral().await {
            Ok(created) => {
                let end = stage.tick();
                let id = session.id().get();
                let zxid = created.stat.map_or(0, |stat| stat.czxid.get());
                stage.wrote(id, begin, end, zxid);
                let ephemeral = Ephemeral {
                    name: name.clone(),
                    session: id,
                    end,
                    released: NEVER,
                };
                stage.residents().insert(name.clone(), ephemeral);
                self.own = Some((name, session));
            }
            Err(error) => stage.failed(error.outcome()),
        }
    }

    /// Looks whether the ephemeral is there.
    async fn look(&self, stage: &Stage, session: &Session, name: &str) {
        let path = format!("{LIVE}/{name}");
        let begin = stage.tick();
        let Ok(node) = session.get(&path).await else {
            return;
        };
        stage.read();
        let names = node.map(|_| name.to_owned());
        let listing = Listing {
            begin,
            end: stage.tick(),
            only: Some(name.to_owned()),
            names: names.into_iter().collect::<BTreeSet<_>>(),
        };
        stage.journal().listings.push(listing);
    }

    /// Writes, to show that the session is alive.
    async fn write(&self, stage: &Stage, session: &Session) {
        let path = format!("{OWNERS}/{}", self.number);
        let (id, begin) = (session.id().get(), stage.tick());
        match session.set(&path, stage.value().to_string()).await {
            Ok(stat) => stage.wrote(id, begin, stage.tick(), stat.mzxid.get()),
            Err(error) if error.kind() == ErrorKind::NoNode => {
                // The first of all owners creates it, and nobody deletes it.
                drop(session.create(&path, "").await);
            }
            Err(error) => stage.failed(error.outcome()),
        }
    }
}
