//! A site's narrow line: what a recorder sends leaves only so fast, so that not everything is here already when it dies.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

/// Bytes that leave together.
const CHUNK: usize = 1400;
/// What a line that was idle may send at once, as time: a switch's queue.
const BURST: Duration = Duration::from_millis(300);

/// Passes on every connection to `recorder`, whose answers leave at `bytes_per_s`. Returns only with an error of accept.
pub(super) async fn narrow(
    socket: TcpListener,
    recorder: SocketAddr,
    bytes_per_s: u32,
) -> std::io::Result<()> {
    loop {
        let (client, _) = socket.accept().await?;
        client.set_nodelay(true)?;
        tokio::spawn(async move {
            if let Ok(recorder) = TcpStream::connect(recorder).await {
                let (mut questions, answers_out) = client.into_split();
                let (answers, mut questions_out) = recorder.into_split();
                // Either side's end is the end of both: the sockets close when the halves are dropped.
                tokio::select! {
                    _ = tokio::io::copy(&mut questions, &mut questions_out) => {}
                    _ = trickle(answers, answers_out, bytes_per_s) => {}
                }
            }
        });
    }
}

async fn trickle(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    bytes_per_s: u32,
) -> std::io::Result<()> {
    let mut chunk = [0; CHUNK];
    let mut free_at = Instant::now();
    loop {
        let count = from.read(&mut chunk).await?;
        let Some(bytes) = chunk.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        to.write_all(bytes).await?;
        let takes = Duration::from_secs_f64(count as f64 / f64::from(bytes_per_s.max(1)));
        free_at = free_at.max(Instant::now() - BURST) + takes;
        sleep_until(free_at).await;
    }
}
