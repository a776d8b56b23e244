//! What is left when there is no API: frames encoded beforehand, replies counted by their lengths.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use zk_proto::connect::{ConnectRequest, PASSWORD_LEN};
use zk_proto::header::RequestHeader;
use zk_proto::request::{GetDataRequest, Request, SetDataRequest};
use zk_proto::{OpCode, Version, Xid, frame};

use super::{DATA, Meter, Op, PATH, SPAN, Sample, WARM_UP, Workload};

/// Bytes asked of the socket at once.
const READ_CHUNK: usize = 64 * 1024;

/// By blocking calls of this thread.
pub(super) fn blocking(workload: Workload, address: &str) -> anyhow::Result<Sample> {
    let mut stream = connect(address)?;
    let mut load = Load::new(workload)?;
    stream.write_all(&load.frames)?;
    loop {
        let read = stream.read(load.free())?;
        match load.next(read)? {
            Next::Send(requests) => stream.write_all(requests)?,
            Next::Wait => {}
            Next::End(sample) => {
                stream.write_all(&close())?;
                return Ok(sample);
            }
        }
    }
}

/// By a task of a tokio runtime.
pub(super) async fn task(workload: Workload, address: String) -> anyhow::Result<Sample> {
    let stream = connect(&address)?;
    stream.set_nonblocking(true)?;
    let mut stream = tokio::net::TcpStream::from_std(stream)?;
    let mut load = Load::new(workload)?;
    stream.write_all(&load.frames).await?;
    loop {
        let read = stream.read(load.free()).await?;
        match load.next(read)? {
            Next::Send(requests) => stream.write_all(requests).await?,
            Next::Wait => {}
            Next::End(sample) => {
                stream.write_all(&close()).await?;
                return Ok(sample);
            }
        }
    }
}

/// Opens a session.
fn connect(address: &str) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let request = ConnectRequest {
        timeout_ms: 10_000,
        password: Some(Bytes::from_static(&[0; PASSWORD_LEN])),
        read_only: Some(false),
        ..ConnectRequest::default()
    };
    let mut wire = BytesMut::new();
    frame::write(&mut wire, &[&request]);
    stream.write_all(&wire)?;
    let mut len = [0; frame::LENGTH_LEN];
    stream.read_exact(&mut len)?;
    let mut response = vec![0; u32::from_be_bytes(len).try_into()?];
    stream.read_exact(&mut response)?;
    Ok(stream)
}

/// Ends the session.
fn close() -> BytesMut {
    let mut wire = BytesMut::new();
    let header = RequestHeader::new(Xid::new(2), OpCode::CloseSession);
    frame::write(&mut wire, &[&header]);
    wire
}

/// Keeps the window full for the time of the warm-up, and for as long as it is measured.
struct Load {
    /// Starts with what was received and is not complete.
    input: Vec<u8>,
    filled: usize,
    /// The frame of the request, as often as requests are in flight.
    frames: Vec<u8>,
    window: usize,
    in_flight: usize,
    sent: Instant,
    is_warm: bool,
    meter: Meter,
    sample: Option<Sample>,
}

/// What to do after a read.
enum Next<'a> {
    Send(&'a [u8]),
    Wait,
    End(Sample),
}

impl Load {
    fn new(workload: Workload) -> anyhow::Result<Self> {
        Ok(Self {
            input: vec![0; READ_CHUNK],
            filled: 0,
            frames: frames(workload),
            window: workload.window,
            in_flight: workload.window,
            sent: Instant::now(),
            is_warm: false,
            meter: Meter::start()?,
            sample: None,
        })
    }

    /// Where to read to.
    fn free(&mut self) -> &mut [u8] {
        self.input.get_mut(self.filled..).unwrap_or_default()
    }

    /// Takes in what was read.
    fn next(&mut self, read: usize) -> anyhow::Result<Next<'_>> {
        let count = self.take(read)?;
        let now = Instant::now();
        let left = self.in_flight.checked_sub(count);
        self.in_flight = left.context("more replies than requests")?;
        if self.sample.is_none() {
            self.count(count, now)?;
        }
        if let Some(sample) = self.sample {
            return Ok(match self.in_flight {
                0 => Next::End(sample),
                _ => Next::Wait,
            });
        }
        self.in_flight += count;
        self.sent = now;
        let len = count * self.frames.len() / self.window;
        let requests = self.frames.get(..len).unwrap_or_default();
        Ok(match requests {
            [] => Next::Wait,
            _ => Next::Send(requests),
        })
    }

    fn count(&mut self, count: usize, now: Instant) -> anyhow::Result<()> {
        if self.window == 1 && count == 1 {
            self.meter.answered(self.sent, now);
        } else {
            self.meter.counted(count);
        }
        if !self.is_warm && self.meter.has_run(WARM_UP, now) {
            self.is_warm = true;
            self.meter = Meter::start()?;
        } else if self.is_warm && self.meter.has_run(SPAN, now) {
            self.sample = Some(self.meter.stop()?);
        }
        Ok(())
    }

    /// Returns how many replies are complete now.
    fn take(&mut self, read: usize) -> anyhow::Result<usize> {
        ensure!(read > 0, "the server closed the connection");
        self.filled += read;
        let (mut count, mut taken) = (0, 0);
        while let Some(rest) = self.input.get(taken..self.filled)
            && let Some(len) = frame::payload_len(rest, frame::DEFAULT_FRAME_MAX)?
            && rest.len() >= frame::LENGTH_LEN + len
        {
            taken += frame::LENGTH_LEN + len;
            count += 1;
        }
        self.input.copy_within(taken..self.filled, 0);
        self.filled -= taken;
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
