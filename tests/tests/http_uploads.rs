//! Bodies that clients send to recorders' own HTTP services: they arrive while they are sent, wait for who reads them, and go to one
//! recorder alone.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use seamline_tests::{
    clock::await_that,
    seamline::{Config, Seamline},
};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
const PIECE_BYTES: usize = 64 * 1024;
/// What the kernel may hold on both ways, and little more.
const UNDER_WAY_BYTES_MAX: usize = 32 << 20;

/// What a recorder does with an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Reads all of it, unless told to pause, and says how much it was.
    Takes,
    /// Answers 413 once it has seen the beginning, and reads no more of it.
    Refuses,
    /// Closes once it has seen the beginning.
    Dies,
}

/// A stand-in for a recorder's HTTP service.
struct Service {
    port: u16,
    heads: Arc<AtomicUsize>,
    /// Bytes of bodies that it read.
    got: Arc<AtomicUsize>,
    paused: Arc<AtomicBool>,
}

impl Service {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
        let service = Self {
            port: listener.local_addr().expect("it is bound").port(),
            heads: Arc::default(),
            got: Arc::default(),
            paused: Arc::default(),
        };
        let state = [&service.heads, &service.got].map(Arc::clone);
        let paused = Arc::clone(&service.paused);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let ([heads, got], paused) = (state.clone(), paused.clone());
                // Who is gone in mid body is gone.
                thread::spawn(move || drop(serve(stream, manner, &heads, &got, &paused)));
            }
        });
        service
    }

    fn got(&self) -> usize {
        self.got.load(Ordering::SeqCst)
    }

    fn heads(&self) -> usize {
        self.heads.load(Ordering::SeqCst)
    }
}

fn serve(
    stream: TcpStream,
    manner: Manner,
    heads: &AtomicUsize,
    got: &AtomicUsize,
    paused: &AtomicBool,
) -> std::io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    heads.fetch_add(1, Ordering::SeqCst);
    let chunked = head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked");
    assert!(chunked, "the body was read whole first: {head}");
    let mut piece = vec![0; PIECE_BYTES];
    let mut whole = 0;
    loop {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let Ok(mut left) = usize::from_str_radix(size.trim(), 16) else {
            return Ok(());
        };
        if left == 0 {
            let text = format!("{whole} bytes");
            let length = text.len();
            return write!(
                writer,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{text}"
            );
        }
        while left > 0 {
            while paused.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(10));
            }
            let most = left.min(PIECE_BYTES);
            let read = reader.read(&mut piece[..most])?;
            if read == 0 {
                return Ok(());
            }
            left -= read;
            whole += read;
            got.fetch_add(read, Ordering::SeqCst);
        }
        reader.read_exact(&mut [0; 2])?;
        match manner {
            Manner::Takes => {}
            Manner::Dies => return Ok(()),
            Manner::Refuses => {
                writer.write_all(
                    b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 7\r\n\r\nenough\n",
                )?;
                // The connection stays until its client ends it: one that is reset may take the answer along.
                writer.set_read_timeout(Some(SOON))?;
                let _ = std::io::copy(&mut reader, &mut std::io::sink());
                return Ok(());
            }
        }
    }
}

fn house(primary: &Service, secondary: &Service) -> Seamline {
    let [first, second] =
        [primary, secondary].map(|service| format!("http://127.0.0.1:{}", service.port));
    let to = json!([
        { "recorder": "rec-primary", "url": first },
        { "recorder": "rec-secondary", "url": second },
    ]);
    let seamline = Config::default()
        .site_at("primary", "rtsp://127.0.0.1:9/{camera}", 0)
        .site_at("secondary", "rtsp://127.0.0.1:9/{camera}", 0)
        .top("passthrough", json!([{ "paths": ["/ISAPI/"], "to": to }]))
        .serve();
    // Nobody replays there. While that is known of one alone the other is asked first.
    for recorder in ["recorder=rec-primary", "recorder=rec-secondary"] {
        seamline.await_log(&["recorder health", recorder, "to=Down"], SOON);
    }
    seamline
}

/// A client that sends a body in chunks.
struct Upload {
    stream: TcpStream,
    sent: usize,
}

impl Upload {
    fn begin(seamline: &Seamline, method: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", seamline.port())).expect("it listens");
        stream
            .set_read_timeout(Some(SOON))
            .expect("a socket takes a timeout");
        write!(
            stream,
            "{method} /ISAPI/System/firmware HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        .expect("it reads");
        Self { stream, sent: 0 }
    }

    fn piece(&mut self) -> std::io::Result<()> {
        let mut piece = format!("{PIECE_BYTES:x}\r\n").into_bytes();
        piece.resize(piece.len() + PIECE_BYTES, b'x');
        piece.extend_from_slice(b"\r\n");
        self.stream.write_all(&piece)?;
        self.sent += PIECE_BYTES;
        Ok(())
    }

    /// The status that is answered, and all behind it that comes within the length it names.
    fn answer(&mut self) -> (u16, String) {
        let mut reader = BufReader::new(&self.stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = reader.read_line(&mut head).expect("an answer comes");
            assert!(read > 0, "it ends with {head:?}");
        }
        let length = head.to_ascii_lowercase();
        let length = length
            .split("content-length: ")
            .nth(1)
            .and_then(|rest| rest.lines().next()?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).expect("the body comes");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (
            status.expect("it has a status"),
            String::from_utf8_lossy(&body).into_owned(),
        )
    }
}

#[test]
fn an_upload_arrives_while_it_is_sent_and_waits_for_who_reads_it() {
    let (primary, secondary) = (Service::start(Manner::Takes), Service::start(Manner::Takes));
    let seamline = house(&primary, &secondary);
    let mut upload = Upload::begin(&seamline, "POST");
    upload.piece().expect("it reads");
    // Nothing more is sent before this much has arrived.
    await_that(SOON, "nothing arrives", || primary.got() == PIECE_BYTES);
    let before = seamline.resident();
    primary.paused.store(true, Ordering::SeqCst);
    let sender = thread::spawn(move || {
        for _ in 0..(4 * UNDER_WAY_BYTES_MAX / PIECE_BYTES) {
            upload.piece().expect("it is taken in the end");
        }
        upload
    });
    // A recorder that takes nothing keeps the client waiting, and is held in the kernel, not here.
    let mut most = before;
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(100));
        most = most.max(seamline.resident());
    }
    assert!(!sender.is_finished(), "all of it is somewhere");
    assert!(most < before + (4 << 20), "{most} after {before}");
    primary.paused.store(false, Ordering::SeqCst);
    let mut upload = sender.join().expect("it does not panic");
    upload.stream.write_all(b"0\r\n\r\n").expect("it reads");
    let whole = upload.sent;
    assert_eq!(upload.answer(), (200, format!("{whole} bytes")));
    assert_eq!((primary.got(), secondary.heads()), (whole, 0));
    println!("{whole} bytes, resident {before} before and at most {most} while nobody read");
}

#[test]
fn who_refuses_an_upload_before_its_end_is_heard() {
    let (primary, secondary) = (
        Service::start(Manner::Refuses),
        Service::start(Manner::Takes),
    );
    let seamline = house(&primary, &secondary);
    for method in ["POST", "PUT"] {
        let mut upload = Upload::begin(&seamline, method);
        upload.piece().expect("it reads");
        assert_eq!(upload.answer(), (413, "enough\n".to_owned()), "{method}");
        drop(upload.stream.shutdown(Shutdown::Both));
    }
    assert_eq!(secondary.heads(), 0);
}

/// PUT may be done twice, but what was sent of it is gone.
#[test]
fn a_body_that_is_not_at_hand_goes_to_one_recorder_alone() {
    let (primary, secondary) = (Service::start(Manner::Dies), Service::start(Manner::Takes));
    let seamline = house(&primary, &secondary);
    let mut upload = Upload::begin(&seamline, "PUT");
    upload.piece().expect("it reads");
    assert_eq!(upload.answer().0, 502);
    assert_eq!((primary.heads(), secondary.heads()), (1, 0));
    // The next one, whoever gets it, is whole.
    let mut upload = Upload::begin(&seamline, "PUT");
    upload.piece().expect("it reads");
    upload.stream.write_all(b"0\r\n\r\n").expect("it reads");
    assert_eq!(upload.answer(), (200, format!("{PIECE_BYTES} bytes")));
    assert_eq!((primary.heads(), secondary.heads()), (1, 1));
}
