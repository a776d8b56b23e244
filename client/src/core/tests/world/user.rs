//! What the user does.

use std::cell::Cell;
use std::rc::Rc;

use bytes::Bytes;
use bytestring::ByteString;
use zk_proto::Version;
use zk_proto::request::{
    AddWatchRequest, CreateFlags, CreateRequest, DeleteRequest, ExistsRequest, GetChildren2Request,
    GetDataRequest, MultiOp, MultiRequest, Request as Record, SetDataRequest, SyncRequest,
};

use super::{Ask, Asked, Do, Fact, Held, Ticket, World};
use crate::core::{Event, Frame, Request, Secret, Time, WatchId, WatchKind, WatchRequest};

impl World {
    pub(super) fn ask(&mut self, ask: &Ask) {
        let id = u32::try_from(self.asked.len()).unwrap();
        let path = Some(ByteString::from_static(ask.path));
        let data = Some(Bytes::from(id.to_string()));
        let (version, acl) = (Version::new(-1), Some(Vec::new()));
        let create = |flags: CreateFlags| CreateRequest {
            path: path.clone(),
            data: data.clone(),
            acl: acl.clone(),
            flags: flags.code(),
        };
        let set = || SetDataRequest {
            path: path.clone(),
            data: data.clone(),
            version,
        };
        let (record, kind, is_watch) = match ask.what {
            Do::Create { ephemeral: true } => {
                (Record::Create(create(CreateFlags::Ephemeral)), None, false)
            }
            Do::Create { ephemeral: false } => {
                (Record::Create(create(CreateFlags::Persistent)), None, false)
            }
            Do::Set => (Record::SetData(set()), None, false),
            Do::Delete => {
                let path = path.clone();
                (Record::Delete(DeleteRequest { path, version }), None, false)
            }
            Do::Multi => {
                let ops = vec![
                    MultiOp::SetData(set()),
                    MultiOp::Create(create(CreateFlags::Persistent)),
                ];
                (Record::Multi(MultiRequest { ops }), None, false)
            }
            Do::Sync => {
                let path = path.clone();
                (Record::Sync(SyncRequest { path }), None, false)
            }
            Do::Read(kind, watch) => {
                let path = path.clone();
                let record = match kind {
                    WatchKind::Data => Record::GetData(GetDataRequest { path, watch }),
                    WatchKind::Exists => Record::Exists(ExistsRequest { path, watch }),
                    WatchKind::Children => {
                        Record::GetChildren2(GetChildren2Request { path, watch })
                    }
                    WatchKind::Added(mode) => {
                        let mode = mode.code();
                        Record::AddWatch(AddWatchRequest { path, mode })
                    }
                };
                (record, Some(kind), watch)
            }
        };
        let resend = kind.is_some() || ask.what == Do::Sync;
        let is_gone = Rc::new(Cell::new(false));
        let pinned = self.session.filter(|_| ask.is_pinned);
        let epoch = pinned.map(|_| self.core.epoch());
        let watch = kind.filter(|_| is_watch).map(|kind| {
            let path = ByteString::from_static(ask.path);
            self.held.insert(
                id,
                Held {
                    path: path.clone(),
                    kind,
                    is_live: false,
                },
            );
            Box::new(WatchRequest {
                id: WatchId(u64::from(id)),
                kind,
                path,
                sink: id,
                epoch,
            })
        });
        self.asked.push(Asked {
            kind,
            path: ask.path,
            is_read: kind.is_some(),
            is_watch,
            is_gone: Rc::clone(&is_gone),
            is_resolved: false,
        });
        self.see(&Fact::Submitted {
            id,
            deadline: self.now + ask.timeout,
            pinned,
            resend,
        });
        self.handle(Event::Submit(Request {
            frame: Frame::of(record.op(), &record),
            epoch,
            timeout: ask.timeout,
            resend,
            watch,
            waiter: Some(Ticket { id, is_gone }),
        }));
    }

    pub(super) fn add_auth(&mut self) {
        let id = u32::try_from(self.asked.len()).unwrap();
        let is_gone = Rc::new(Cell::new(false));
        self.asked.push(Asked {
            kind: None,
            path: "",
            is_read: false,
            is_watch: false,
            is_gone: Rc::clone(&is_gone),
            is_resolved: false,
        });
        self.see(&Fact::Submitted {
            id,
            deadline: Time::NEVER,
            pinned: None,
            resend: true,
        });
        self.handle(Event::AddAuth {
            scheme: "digest".into(),
            auth: Secret::new(Bytes::from(id.to_string())),
            waiter: Some(Ticket { id, is_gone }),
        });
    }

    pub(super) fn abandon(&mut self, id: u32) {
        let asked = &self.asked[id as usize];
        asked.is_gone.set(true);
        let is_watch = asked.is_watch;
        self.see(&Fact::Abandoned { id });
        if is_watch {
            self.unsubscribe(id);
        }
    }

    pub(super) fn unsubscribe(&mut self, watch: u32) {
        if self.held.remove(&watch).is_some() {
            self.see(&Fact::Disarmed { watch });
        }
        self.handle(Event::Unsubscribe(WatchId(u64::from(watch))));
    }
}
