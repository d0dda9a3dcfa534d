//! retina as a player: `retina_player <url> <tcp|udp>` writes the picture's elementary stream (Annex B) to standard output.
//!
//! Strict where other players forgive: a second SSRC, a sequence number that jumps or a NAL unit that is broken ends it with
//! an error.

use std::{env, io::Write, process::ExitCode};

use futures::StreamExt;
use retina::client::{
    PlayOptions, Session, SessionOptions, SetupOptions, TcpTransportOptions, Transport,
    UdpTransportOptions,
};
use retina::codec::{CodecItem, FrameFormat};
use url::Url;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, transport] = arguments.as_slice() else {
        eprintln!("[error] usage: retina_player <url> <tcp|udp>");
        return ExitCode::from(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made");
    match runtime.block_on(play(url, transport)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("[error] {error}");
            ExitCode::FAILURE
        }
    }
}

async fn play(url: &str, transport: &str) -> Result<(), Failure> {
    let transport = match transport {
        "udp" => Transport::Udp(UdpTransportOptions::default()),
        _ => Transport::Tcp(TcpTransportOptions::default()),
    };
    let mut session = Session::describe(Url::parse(url)?, SessionOptions::default()).await?;
    let picture = session
        .streams()
        .iter()
        .position(|stream| stream.media() == "video")
        .ok_or("no picture in the description")?;
    let options = SetupOptions::default()
        .transport(transport)
        .frame_format(FrameFormat::SIMPLE);
    session.setup(picture, options).await?;
    let mut media = session.play(PlayOptions::default()).await?.demuxed()?;
    let mut out = std::io::stdout().lock();
    while let Some(item) = media.next().await {
        match item? {
            CodecItem::VideoFrame(frame) => {
                if frame.loss() > 0 {
                    return Err(format!("{} packets lost", frame.loss()).into());
                }
                out.write_all(frame.data())?;
                out.flush()?;
            }
            CodecItem::Rtcp(rtcp) if says_goodbye(rtcp.raw()) => return Ok(()),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a compound of RTCP packets holds a BYE (RFC 3550 §6.6).
fn says_goodbye(mut compound: &[u8]) -> bool {
    while let [_, kind, high, low, ..] = compound {
        if *kind == 203 {
            return true;
        }
        let bytes = 4 + 4 * usize::from(u16::from_be_bytes([*high, *low]));
        compound = compound.get(bytes..).unwrap_or_default();
    }
    false
}
