//! What is left when there is no API: frames encoded beforehand, replies counted by their lengths.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use zk_proto::connect::{ConnectRequest, PASSWORD_LEN};
use zk_proto::header::RequestHeader;
use zk_proto::request::{GetDataRequest, Request, SetDataRequest};
use zk_proto::{OpCode, Version, Xid, frame};

use super::{DATA, Meter, Op, PATH, Sample, Workload};

/// Bytes asked of the socket at once.
const READ_CHUNK: usize = 64 * 1024;

/// A connection with a session, driven by blocking calls on this thread.
pub(super) struct Raw {
    stream: TcpStream,
    /// Starts with what was received and is not complete.
    input: Vec<u8>,
    filled: usize,
    /// The frame of the request, as often as requests are in flight.
    frames: Vec<u8>,
    window: usize,
}

impl Raw {
    pub(super) fn connect(address: &str, workload: Workload) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut raw = Self {
            stream,
            input: vec![0; READ_CHUNK],
            filled: 0,
            frames: frames(workload),
            window: workload.window,
        };
        let handshake = ConnectRequest {
            timeout_ms: 10_000,
            password: Some(Bytes::from_static(&[0; PASSWORD_LEN])),
            read_only: Some(false),
            ..ConnectRequest::default()
        };
        raw.send(&|wire| frame::write(wire, &[&handshake]))?;
        raw.receive()?;
        Ok(raw)
    }

    /// Keeps the window full for so long.
    pub(super) fn run(&mut self, span: Duration) -> anyhow::Result<Sample> {
        let frame_len = self.frames.len() / self.window;
        let mut meter = Meter::start()?;
        let mut sent = Instant::now();
        self.stream.write_all(&self.frames)?;
        loop {
            let count = self.receive()?;
            let now = Instant::now();
            if self.window == 1 {
                meter.answered(sent, now);
            } else {
                meter.counted(count);
            }
            if meter.has_run(span, now) {
                break self.drain(count, meter);
            }
            sent = now;
            let frames = self.frames.get(..count * frame_len);
            self.stream
                .write_all(frames.context("more replies than requests")?)?;
        }
    }

    /// Takes what is in flight, after `count` replies that were not followed by new requests.
    fn drain(&mut self, mut count: usize, meter: Meter) -> anyhow::Result<Sample> {
        let sample = meter.stop()?;
        while count < self.window {
            count += self.receive()?;
        }
        Ok(sample)
    }

    /// Ends the session.
    pub(super) fn close(mut self) -> anyhow::Result<()> {
        self.send(&|wire| {
            let header = RequestHeader::new(Xid::new(2), OpCode::CloseSession);
            frame::write(wire, &[&header]);
        })?;
        self.receive().map(|_| ())
    }

    fn send(&mut self, write: &dyn Fn(&mut BytesMut)) -> anyhow::Result<()> {
        let mut wire = BytesMut::new();
        write(&mut wire);
        Ok(self.stream.write_all(&wire)?)
    }

    /// Waits for replies. Returns how many came.
    fn receive(&mut self) -> anyhow::Result<usize> {
        let mut count = 0;
        while count == 0 {
            let free = self.input.get_mut(self.filled..).unwrap_or_default();
            let read = self.stream.read(free)?;
            ensure!(read > 0, "the server closed the connection");
            self.filled += read;
            let mut taken = 0;
            while let Some(rest) = self.input.get(taken..self.filled)
                && let Some(len) = frame::payload_len(rest, frame::DEFAULT_FRAME_MAX)?
                && rest.len() >= frame::LENGTH_LEN + len
            {
                taken += frame::LENGTH_LEN + len;
                count += 1;
            }
            self.input.copy_within(taken..self.filled, 0);
            self.filled -= taken;
        }
        Ok(count)
    }
}

/// All with one xid: servers return it and do not look at it.
fn frames(Workload { op, window }: Workload) -> Vec<u8> {
    let path = Some(PATH.into());
    let request = match op {
        Op::Get => Request::GetData(GetDataRequest { path, watch: false }),
        Op::Set => Request::SetData(SetDataRequest {
            path,
            data: Some(Bytes::from_static(&DATA)),
            version: Version::ANY,
        }),
    };
    let mut wire = BytesMut::new();
    frame::write(
        &mut wire,
        &[&RequestHeader::new(Xid::new(1), request.op()), &request],
    );
    wire.repeat(window)
}
