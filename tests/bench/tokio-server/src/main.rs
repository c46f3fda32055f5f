//! A tokio server for the benchmarks: ECHO and BROADCAST over 5-byte-header frames, with one task a
//! connection, a length-delimited codec and a broadcast channel, as tokio's documentation suggests.
//!
//! It is tuned as a careful author would: one thread, so no lock is contended; TCP_NODELAY; frames
//! are slices of the read buffer, not copies; replies and broadcasts that are ready leave in one
//! flush.

use std::env;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::codec::{BytesCodec, FramedRead, FramedWrite, LengthDelimitedCodec};

const ECHO: u8 = 1;
const BROADCAST: u8 = 4;
const HEADER_LEN: usize = 5;
const FRAME_LEN_MAX: usize = 1 << 20;
/// Bytes that may wait for one write; the default of 8 KiB would split a batch of broadcasts.
const WRITE_BYTES: usize = 64 * 1024;
/// Broadcasts kept for slow receivers.
const BROADCASTS_KEPT: usize = 1024;

/// A broadcast frame and the id of its sender.
#[derive(Clone)]
struct Broadcast {
    from: u64,
    frame: Bytes,
}

type Input = FramedRead<OwnedReadHalf, LengthDelimitedCodec>;
type Output = FramedWrite<OwnedWriteHalf, BytesCodec>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port = env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let (broadcasts, _) = broadcast::channel(BROADCASTS_KEPT);
    for id in 0.. {
        let (stream, _) = listener.accept().await?;
        let broadcasts = broadcasts.clone();
        tokio::spawn(async move {
            // An error ends the connection without a message.
            let _ = serve(id, stream, broadcasts).await;
        });
    }
    Ok(())
}

async fn serve(
    id: u64,
    stream: TcpStream,
    broadcasts: broadcast::Sender<Broadcast>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (read_half, write_half) = stream.into_split();
    // The header stays on the frame, so that an echo is the frame itself.
    let codec = LengthDelimitedCodec::builder()
        .length_field_offset(1)
        .length_field_length(4)
        .length_adjustment(HEADER_LEN as isize)
        .num_skip(0)
        .max_frame_length(FRAME_LEN_MAX)
        .new_codec();
    let mut input = Input::new(read_half, codec);
    let mut output = Output::new(write_half, BytesCodec::new());
    output.set_backpressure_boundary(WRITE_BYTES);
    let mut subscription = broadcasts.subscribe();
    loop {
        tokio::select! {
            frame = input.next() => {
                let Some(frame) = frame else { return Ok(()) };
                process_frame(id, frame?, &mut output, &broadcasts).await?;
                // Pipelined requests are answered together.
                while let Some(frame) = input.next().now_or_never() {
                    let Some(frame) = frame else { return flush(&mut output).await };
                    process_frame(id, frame?, &mut output, &broadcasts).await?;
                }
            }
            item = subscription.recv() => {
                deliver(id, item, &mut output).await?;
                while let Ok(item) = subscription.try_recv() {
                    deliver(id, Ok(item), &mut output).await?;
                }
            }
        }
        flush(&mut output).await?;
    }
}

/// Flushes; `BytesCodec` encodes two types, and this names one.
async fn flush(output: &mut Output) -> io::Result<()> {
    SinkExt::<Bytes>::flush(output).await
}

async fn process_frame(
    id: u64,
    frame: BytesMut,
    output: &mut Output,
    broadcasts: &broadcast::Sender<Broadcast>,
) -> io::Result<()> {
    match frame[0] {
        ECHO => output.feed(frame.freeze()).await,
        BROADCAST => {
            let others = broadcasts.receiver_count() - 1;
            // Cannot fail: the sender itself is a receiver.
            let _ = broadcasts.send(Broadcast { from: id, frame: frame.freeze() });
            let count = others.to_string();
            let mut reply = BytesMut::with_capacity(HEADER_LEN + count.len());
            reply.put_u8(ECHO);
            reply.put_u32(count.len() as u32);
            reply.put_slice(count.as_bytes());
            output.feed(reply.freeze()).await
        }
        code => Err(io::Error::other(format!("unknown command {code}"))),
    }
}

async fn deliver(
    id: u64,
    item: Result<Broadcast, RecvError>,
    output: &mut Output,
) -> io::Result<()> {
    match item {
        Ok(item) if item.from != id => output.feed(item.frame).await,
        Ok(_) => Ok(()),
        // A receiver that has missed a broadcast is disconnected.
        Err(error) => Err(io::Error::other(error)),
    }
}
