//! One proxied connection: a client's socket, a server's socket and a pump for each way.

use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::pump::{Ending, Pump, Wants, end_of_stream};
use super::state::{Control, State, Way};

/// A connection between its accept and its end.
#[derive(Debug)]
struct Connection {
    number: u64,
    client: TcpStream,
    server: TcpStream,
    to_server: Pump,
    to_client: Pump,
}

/// Takes the accepted connection `number` to its end.
pub(super) async fn run(number: u64, client: TcpStream, control: Arc<Control>) {
    let mut changed = control.subscribe();
    let Some((client, server)) = connect(number, client, &control, &mut changed).await else {
        return;
    };
    // Without it the proxy would add delays of its own; an error means that the peer is gone.
    drop(client.set_nodelay(true));
    drop(server.set_nodelay(true));
    let (to_server, to_client) = (Pump::new(Way::ToServer), Pump::new(Way::ToClient));
    let mut connection = Connection {
        number,
        client,
        server,
        to_server,
        to_client,
    };
    let ending = connection.forward(&control, &mut changed).await;
    tracing::debug!(number, ?ending, "connection over");
    connection.close(ending).await;
}

/// Closes a connection so that the peer sees a reset.
pub(super) fn reset(stream: TcpStream) {
    // An error means that it is reset already.
    drop(stream.set_zero_linger());
    drop(stream);
}

/// Adds the server's socket to the client's; none when it cannot be had or the connection is cut
/// meanwhile.
async fn connect(
    number: u64,
    client: TcpStream,
    control: &Control,
    changed: &mut watch::Receiver<()>,
) -> Option<(TcpStream, TcpStream)> {
    let upstream = control.state().upstream;
    let connecting = TcpStream::connect(upstream);
    tokio::pin!(connecting);
    loop {
        changed.mark_unchanged();
        if !control.state().live.contains_key(&number) {
            reset(client);
            // The server may have accepted it already, and shall see a reset then.
            connecting.await.map(reset).ok();
            return None;
        }
        tokio::select! {
            connected = &mut connecting => match connected {
                Ok(server) => return Some((client, server)),
                Err(err) => {
                    tracing::debug!(%upstream, %err, "no upstream");
                    control.state().live.remove(&number);
                    reset(client);
                    return None;
                }
            },
            // The control outlives this, so an error cannot come.
            _ = changed.changed() => {}
        }
    }
}

impl Connection {
    /// Moves bytes until the connection is over and off the list.
    async fn forward(&mut self, control: &Control, changed: &mut watch::Receiver<()>) -> Ending {
        loop {
            // Marked before the state is looked at: a change after that ends the wait below.
            changed.mark_unchanged();
            let (up, down) = {
                let mut state = control.state();
                match self.step(&mut state) {
                    Ok(wants) => wants,
                    Err(ending) => {
                        state.live.remove(&self.number);
                        return ending;
                    }
                }
            };
            let wake = [up.wake, down.wake].into_iter().flatten().min();
            // Only waits; errors of the sockets come back from the next step.
            tokio::select! {
                _ = changed.changed() => {}
                _ = self.client.readable(), if up.read => {}
                _ = self.server.writable(), if up.write => {}
                _ = self.server.readable(), if down.read => {}
                _ = self.client.writable(), if down.write => {}
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }

    /// Moves what can be moved without waiting, both ways.
    fn step(&mut self, state: &mut State) -> Result<(Wants, Wants), Ending> {
        let Self {
            number,
            client,
            server,
            to_server,
            to_client,
        } = self;
        let mut up = to_server.step(*number, client, server, state)?;
        if to_server.is_dest_lost() {
            to_client.source_reset();
        }
        let down = to_client.step(*number, server, client, state)?;
        if to_client.is_dest_lost() {
            to_server.source_reset();
            // What that changes is found out now, since there may be nothing to wait for.
            up = to_server.step(*number, client, server, state)?;
        }
        if to_server.is_done() && to_client.is_done() {
            return Err(Ending::Closed);
        }
        Ok((up, down))
    }

    async fn close(self, ending: Ending) {
        match ending {
            Ending::Closed => {}
            Ending::Reset => {
                reset(self.client);
                reset(self.server);
            }
            Ending::Spent(Way::ToServer) => {
                reset(self.client);
                finish(self.server).await;
            }
            Ending::Spent(Way::ToClient) => {
                reset(self.server);
                finish(self.client).await;
            }
        }
    }
}

/// Ends our side of a connection after all that was written, and waits for the peer's end: closing
/// before that would reset it and could take the last bytes away.
async fn finish(mut stream: TcpStream) {
    end_of_stream(&stream);
    let mut ignored = [0; 1024];
    while matches!(stream.read(&mut ignored).await, Ok(1..)) {}
}
