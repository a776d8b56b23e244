//! What a connection did last, for people who look.

use std::time::Duration;

use zk_core::conn::request::{Class, Read};
use zk_proto::{OpCode, SessionId, Xid, Zxid};

use crate::four_letter::SessionInfo;

/// Counters of a connection with a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Activity {
    established_ms: i64,
    timeout_ms: i32,
    /// Four letters of the last request.
    last_operation: &'static str,
    last_cxid: i32,
    last_zxid: Zxid,
    last_response_ms: i64,
    latency: LatencyMs,
}

#[derive(Debug, Clone, Copy, Default)]
struct LatencyMs {
    last: u32,
    min: Option<u32>,
    max: u32,
    sum: u64,
    count: u64,
}

impl Activity {
    pub(crate) fn new(established_ms: i64, timeout_ms: i32) -> Self {
        Self {
            established_ms,
            timeout_ms,
            last_operation: "SESS",
            last_cxid: 0,
            last_zxid: Zxid::ZERO,
            last_response_ms: 0,
            latency: LatencyMs::default(),
        }
    }

    /// Notes the last request that came.
    pub(crate) fn asked(&mut self, operation: &'static str, xid: Xid) {
        self.last_operation = operation;
        if xid.get() >= 0 {
            self.last_cxid = xid.get();
        }
    }

    /// Notes answers, and the last transaction they tell of.
    pub(crate) fn answered(&mut self, took: &[Duration], zxid: Zxid, now_ms: i64) {
        for took in took {
            let ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
            let latency = &mut self.latency;
            latency.last = ms;
            latency.min = Some(latency.min.map_or(ms, |min| min.min(ms)));
            latency.max = latency.max.max(ms);
            latency.sum = latency.sum.saturating_add(ms.into());
            latency.count += 1;
        }
        self.last_zxid = zxid;
        self.last_response_ms = now_ms;
    }

    /// Begins to count anew.
    pub(crate) fn reset(&mut self) {
        self.last_operation = "NA";
        self.last_cxid = -1;
        self.last_zxid = Zxid::new(-1);
        self.last_response_ms = 0;
        self.latency = LatencyMs::default();
    }

    pub(crate) fn info(&self, id: SessionId) -> SessionInfo {
        let latency = self.latency;
        SessionInfo {
            id,
            last_operation: self.last_operation,
            established_ms: self.established_ms,
            timeout_ms: self.timeout_ms,
            last_cxid: self.last_cxid,
            last_zxid: self.last_zxid,
            last_response_ms: self.last_response_ms,
            last_latency_ms: latency.last.into(),
            min_latency_ms: latency.min.unwrap_or(0).into(),
            avg_latency_ms: latency.sum / latency.count.max(1),
            max_latency_ms: latency.max.into(),
        }
    }
}

/// Four letters for a request.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `FinalRequestProcessor#processRequest`.
pub(crate) fn four_letters(class: &Class) -> &'static str {
    match class {
        Class::Write(write) => of_write(write.op()),
        Class::Auth(_) => "AUTH",
        Class::Sasl(_) => "SASL",
        Class::Read(read) => match read {
            Read::Ping => "PING",
            Read::WhoAmI => "HOMI",
            Read::Exists { .. } => "EXIS",
            Read::GetData { .. } => "GETD",
            Read::GetChildren { .. } | Read::GetChildren2 { .. } => "GETC",
            Read::GetAcl { .. } => "GETA",
            Read::GetAllChildrenNumber { .. } => "GACN",
            Read::GetEphemerals { .. } => "GETE",
            Read::MultiRead(_) => "MLTR",
            Read::CheckWatches { .. } => "CHKW",
            Read::RemoveWatches { .. } => "REMW",
            Read::AddWatch { .. } => "ADDW",
            Read::SetWatches(_) => "SETW",
            Read::Fault(_) => "NA",
        },
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "all others are no writes")]
fn of_write(op: OpCode) -> &'static str {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => "CREA",
        OpCode::Delete | OpCode::DeleteContainer => "DELE",
        OpCode::SetData => "SETD",
        OpCode::SetAcl => "SETA",
        OpCode::Multi => "MULT",
        OpCode::Reconfig => "RECO",
        OpCode::Sync => "SYNC",
        OpCode::CloseSession => "CLOS",
        _ => "NA",
    }
}
