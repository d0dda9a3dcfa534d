//! The program under test: started with a configuration, reached at its own port.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::{
    clock::{await_that, iso, poll},
    curl::curl,
    footage::ARCHIVE_PATTERN,
    onvif::Device,
    program::{Program, START_WITHIN, built},
    recorder::Recorder,
    vendor::Vendor,
    xprotect,
};

/// One camera with one copy at each of several sites, in priority order.
#[must_use]
#[derive(Clone, Debug, Default)]
pub struct Config {
    copies: Vec<Copy>,
    policy: Map<String, Value>,
    users: Vec<Value>,
    top: Map<String, Value>,
    tls: bool,
    aliases: Vec<String>,
    camera: Map<String, Value>,
    auth: Map<String, Value>,
    more_cameras: Vec<&'static str>,
}

#[derive(Clone, Debug)]
struct Copy {
    site: String,
    /// Its kind and the keys of that kind.
    recorder: Value,
    remote: &'static str,
    clock_offset_ms: i64,
}

impl Config {
    /// Adds a site with one recorder that holds the camera.
    pub fn site(self, name: &str, recorder: &Recorder) -> Self {
        self.site_at(name, &recorder.template(), 0)
    }

    /// As [`Self::site`], of a recorder whose clock is ahead of true time.
    pub fn site_ahead(self, name: &str, recorder: &Recorder, clock_offset_ms: i64) -> Self {
        self.site_at(name, &recorder.template(), clock_offset_ms)
    }

    /// As [`Self::site`], by address.
    pub fn site_at(self, name: &str, url: &str, clock_offset_ms: i64) -> Self {
        let recorder = json!({ "kind": "rtsp", "url": url });
        self.copy(name, recorder, "cam1", clock_offset_ms)
    }

    /// Adds a site with a folder of MP4 files, see [`Footage::archive_without`].
    ///
    /// [`Footage::archive_without`]: crate::footage::Footage::archive_without
    pub fn archive(self, name: &str, folder: &Path) -> Self {
        let recorder = json!({ "kind": "archive", "path": folder, "pattern": ARCHIVE_PATTERN });
        self.copy(name, recorder, "cam1", 0)
    }

    /// Adds a site whose recorder is another Seamline.
    pub fn behind(self, name: &str, other: &Seamline) -> Self {
        let url = format!("rtsp://127.0.0.1:{}/{{camera}}", other.port);
        let recorder = json!({ "kind": "rtsp", "url": url });
        self.copy(name, recorder, "gate", 0)
    }

    /// As [`Self::behind`], which is also asked for its timeline.
    pub fn region(self, name: &str, other: &Seamline) -> Self {
        let url = format!("http://127.0.0.1:{}", other.port);
        let recorder = json!({ "kind": "seamline", "url": url });
        self.copy(name, recorder, "gate", 0)
    }

    /// Adds a site whose recorder is asked by SOAP.
    pub fn onvif(self, name: &str, device: &Device) -> Self {
        let recorder = json!({ "kind": "onvif", "url": device.url });
        self.copy(name, recorder, "REC1", 0)
    }

    /// Adds a site whose recorder is listed by `MediaMTX` at this address.
    pub fn mediamtx(self, name: &str, url: &str) -> Self {
        let recorder = json!({ "kind": "mediamtx", "url": url });
        self.copy(name, recorder, "cam1", 0)
    }

    /// Adds a site whose recorder's playlist is at this address.
    pub fn hls(self, name: &str, url: &str) -> Self {
        let recorder = json!({ "kind": "hls", "url": url });
        self.copy(name, recorder, "cam1", 0)
    }

    /// Adds a site whose recorder is a folder of files behind a web server.
    pub fn files(self, name: &str, url: &str, pattern: &str) -> Self {
        let recorder = json!({ "kind": "files", "url": url, "pattern": pattern });
        self.copy(name, recorder, "cam1", 0)
    }

    /// Adds a site with a vendor's recorder.
    pub fn vendor(self, name: &str, vendor: &Vendor) -> Self {
        self.copy(name, vendor.recorder(), vendor.remote(), 0)
    }

    /// Adds a site of XProtect.
    pub fn xprotect(self, name: &str, site: &xprotect::Site) -> Self {
        self.copy(name, site.recorder(), xprotect::CAMERA, 0)
    }

    /// As [`Self::xprotect`], where the camera has another GUID.
    pub fn xprotect_of(self, name: &str, site: &xprotect::Site, camera: &'static str) -> Self {
        self.copy(name, site.recorder(), camera, 0)
    }

    /// The clock of the latest site's recorder is so far ahead.
    pub fn ahead(mut self, ms: i64) -> Self {
        let copy = self.copies.last_mut();
        copy.expect("a site comes before what is said of its clock")
            .clock_offset_ms = ms;
        self
    }

    /// A key of the latest site's recorder.
    pub fn recorder(mut self, name: &str, value: impl Into<Value>) -> Self {
        let copy = self
            .copies
            .last_mut()
            .expect("a site comes before what is said of its recorder");
        copy.recorder[name] = value.into();
        self
    }

    fn copy(
        mut self,
        site: &str,
        recorder: Value,
        remote: &'static str,
        clock_offset_ms: i64,
    ) -> Self {
        self.copies.push(Copy {
            site: site.to_owned(),
            recorder,
            remote,
            clock_offset_ms,
        });
        self
    }

    /// The latest site's recorder wants these.
    pub fn credentials(mut self, user: &str, password: &str) -> Self {
        let copy = self
            .copies
            .last_mut()
            .expect("a site comes before its credentials");
        copy.recorder["username"] = json!(user);
        copy.recorder["password"] = json!(password);
        self
    }

    /// An entry of the policy section, such as `failback` and `at-seam`.
    pub fn policy(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.policy.insert(name.to_owned(), value.into());
        self
    }

    /// The camera's name in a vendor's URLs, such as `hikvision:101`.
    pub fn alias(mut self, name: &str) -> Self {
        self.aliases.push(name.to_owned());
        self
    }

    /// A key of the camera's own.
    pub fn camera(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.camera.insert(name.to_owned(), value.into());
        self
    }

    /// A client that may play.
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users
            .push(json!({ "name": name, "password": password }));
        self
    }

    /// A key outside of every table, such as `udp` and `false`.
    pub fn top(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.top.insert(name.to_owned(), value.into());
        self
    }

    /// Speaks TLS too, with a certificate of its own making.
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// A client that may play: a whole `[[user]]`.
    pub fn user_as(mut self, user: Value) -> Self {
        self.users.push(user);
        self
    }

    /// An entry of the auth section, such as `sha256` and `true`.
    pub fn auth(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.auth.insert(name.to_owned(), value.into());
        self
    }

    /// Another camera with the copies of `gate`.
    pub fn another_camera(mut self, id: &'static str) -> Self {
        self.more_cameras.push(id);
        self
    }

    /// What was said of clients of XProtect.
    pub fn face(&self) -> &Value {
        &self.top["xprotect"]
    }

    fn toml(&self, port: u16, folder: &Path) -> String {
        let recorders: Vec<Value> = self.copies.iter().map(Copy::recorder).collect();
        let copies: Vec<Value> = self.copies.iter().map(Copy::copy).collect();
        let sites: Vec<Value> = self
            .copies
            .iter()
            .map(|copy| json!({ "name": copy.site }))
            .collect();
        let mut camera = self.camera.clone();
        camera.insert("id".to_owned(), json!("gate"));
        camera.insert("copies".to_owned(), json!(copies));
        camera.insert("aliases".to_owned(), json!(self.aliases));
        let more = self.more_cameras.iter();
        let cameras: Vec<Value> = std::iter::once(Value::Object(camera))
            .chain(more.map(|id| json!({ "id": id, "copies": copies })))
            .collect();
        let mut config = json!({
            "listen": format!("127.0.0.1:{port}"),
            "site": sites,
            "recorder": recorders,
            "camera": cameras,
            "policy": self.policy,
            "user": self.users,
            "auth": self.auth,
        });
        for (name, value) in &self.top {
            config[name] = value.clone();
        }
        if self.tls {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])
                .expect("a certificate can be made");
            let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
            fs::write(&certificate, made.cert.pem()).expect("the folder can be written");
            fs::write(&key, made.signing_key.serialize_pem()).expect("the folder can be written");
            config["tls"] = json!({ "certificate": certificate, "key": key });
        }
        toml::to_string(&config).expect("every part has a TOML form")
    }

    /// What `seamline <command>` with this configuration prints.
    pub fn run(&self, command: &[&str]) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = folder.path().join("seamline.toml");
        fs::write(&file, self.toml(0, folder.path())).expect("the temporary folder can be written");
        let output = Command::new(binary())
            .args(command)
            .arg("-c")
            .arg(&file)
            .output()
            .expect("the program can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {errors}");
        String::from_utf8(output.stdout).expect("the program prints UTF-8")
    }

    /// `seamline <command>` with this configuration; what it writes goes into `folder`.
    pub fn command(&self, command: &[&str], folder: &Path) -> Output {
        let file = folder.join("seamline.toml");
        fs::write(&file, self.toml(0, folder)).expect("the temporary folder can be written");
        let mut program = Command::new(binary());
        program.args(command).arg("-c").arg(&file);
        program.current_dir(folder);
        program.output().expect("the program can be started")
    }

    /// Starts `seamline serve` and waits until it accepts connections.
    pub fn serve(&self) -> Seamline {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let text = self.toml(port, folder.path());
        Seamline::start(&text, port, folder, "info")
    }

    /// As [`Self::serve`], with no more file descriptors than these.
    pub fn serve_within(&self, descriptors: usize) -> Seamline {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let text = self.toml(port, folder.path());
        let mut command = Command::new("sh");
        let limit = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        command.args(["-c", &limit]).arg(binary());
        Seamline::start_by(command, &text, port, folder, "info")
    }
}

impl Copy {
    fn recorder(&self) -> Value {
        let mut recorder = self.recorder.clone();
        recorder["name"] = json!(format!("rec-{}", self.site));
        recorder["site"] = json!(self.site);
        recorder
    }

    fn copy(&self) -> Value {
        let mut copy = json!({ "recorder": format!("rec-{}", self.site), "remote": self.remote });
        if self.clock_offset_ms != 0 {
            copy["clock_offset_ms"] = json!(self.clock_offset_ms);
        }
        copy
    }
}

/// The running program.
#[derive(Debug)]
pub struct Seamline {
    program: Program,
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
    folder: TempDir,
}

impl Seamline {
    /// Serves a configuration of the test's own, which listens on `port`; logs from `level` on.
    pub fn of(config: &Value, port: u16, level: &str) -> Self {
        let text = toml::to_string(config).expect("a configuration has a TOML form");
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        Self::start(&text, port, folder, level)
    }

    fn start(config: &str, port: u16, folder: TempDir, level: &str) -> Self {
        Self::start_by(Command::new(binary()), config, port, folder, level)
    }

    fn start_by(
        mut command: Command,
        config: &str,
        port: u16,
        folder: TempDir,
        level: &str,
    ) -> Self {
        let file = folder.path().join("seamline.toml");
        fs::write(&file, config).expect("the temporary folder can be written");
        command
            .arg("serve")
            .arg("-c")
            .arg(&file)
            .env("RUST_LOG", level)
            .stderr(Stdio::piped());
        let mut program = Program::start("seamline", command);
        let log = Arc::new(Mutex::new(Vec::new()));
        let errors = program.take_errors();
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                eprintln!("seamline: {line}");
                kept.lock()
                    .expect("no test panics while it logs")
                    .push(line);
            }
        });
        let missing = format!("seamline does not listen on {port}");
        await_that(START_WITHIN, &missing, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Seamline {
            program,
            port,
            log,
            folder,
        }
    }

    /// The camera, for players that seek by `Range`.
    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/gate", self.port)
    }

    /// A path and query of a vendor's at our host.
    pub fn url_of(&self, path: &str) -> String {
        format!("rtsp://127.0.0.1:{}/{path}", self.port)
    }

    /// The camera from `start` on, for players that cannot seek by time (milliseconds since 1970).
    pub fn url_from(&self, start: i64, end: Option<i64>) -> String {
        let end = end
            .map(|end| format!("&end={}", iso(end)))
            .unwrap_or_default();
        format!("{}?start={}{end}", self.url(), iso(start))
    }

    /// Reads another configuration in place of the one it was started with, and a new certificate where it has one.
    pub fn reload(&self, config: &Config) {
        self.reload_text(&config.toml(self.port, self.folder()));
    }

    /// As [`Self::reload`], whatever the file says.
    pub fn reload_text(&self, text: &str) {
        let file = self.folder().join("seamline.toml");
        fs::write(file, text).expect("the temporary folder can be written");
        self.program.hang_up();
    }

    /// Where its configuration and its certificate are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What `seamline coverage --json` says of the camera between two instants.
    pub fn coverage_json(&self, from: &str, to: &str) -> Value {
        let output = Command::new(binary())
            .args(["coverage", "-c"])
            .arg(self.folder.path().join("seamline.toml"))
            .args(["gate", "--json", "--from", from, "--to", to])
            .output()
            .expect("the program runs");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// Waits until it has logged a line with all of these; panics when it does not `within` that time.
    pub fn await_log(&self, words: &[&str], within: Duration) -> String {
        let said = |line: &String| words.iter().all(|word| line.contains(word));
        let missing = || format!("no line with {words:?}");
        poll(within, || {
            self.log().into_iter().find(said).ok_or_else(missing)
        })
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.id());
        fs::read_dir(folder)
            .expect("our own child has a folder in /proc")
            .count()
    }

    /// Resident memory, bytes.
    pub fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that its resident memory ever was, bytes.
    pub fn resident_most(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))
            .expect("our own child has a folder in /proc");
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix(field))
            .and_then(|rest| rest.trim().strip_suffix(" kB"))
            .and_then(|text| text.trim().parse::<u64>().ok());
        1024 * kib.expect("the kernel tells resident memory")
    }

    /// A figure that it tells of itself; `name` is all that stands before it.
    pub fn figure(&self, name: &str) -> usize {
        let metrics = curl(&format!("http://127.0.0.1:{}/metrics", self.port), &[]);
        let metrics = String::from_utf8(metrics.body).expect("the figures are text");
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let figure = line.and_then(|figure| figure.trim().parse().ok());
        figure.unwrap_or_else(|| panic!("no {name} in {metrics}"))
    }

    /// What it logged so far.
    pub fn log(&self) -> Vec<String> {
        self.log
            .lock()
            .expect("no test panics while it logs")
            .clone()
    }

    /// Ends it as an operator would and gives its exit code.
    pub fn shut_down(&mut self) -> Option<i32> {
        self.program.terminate();
        self.program.wait()
    }

    /// Kills it without a warning.
    pub fn kill(&mut self) {
        self.program.kill();
    }

    /// Kills it without a warning, and starts it with the same configuration at the same port.
    #[must_use]
    pub fn killed_and_started_again(self) -> Self {
        let Self {
            mut program,
            port,
            folder,
            ..
        } = self;
        program.kill();
        let config = fs::read_to_string(folder.path().join("seamline.toml"))
            .expect("the configuration is where it was");
        Self::start(&config, port, folder, "info")
    }

    /// The process id, for `/proc`.
    pub fn id(&self) -> u32 {
        self.program.id()
    }
}

/// `seamline <command>` in a folder, without a configuration.
pub fn seamline(command: &[&str], folder: &Path) -> Output {
    let mut program = Command::new(binary());
    program.args(command).current_dir(folder);
    program.output().expect("the program can be started")
}

/// As [`seamline`], while it runs.
pub fn started(command: &[&str], folder: &Path) -> Program {
    let mut program = Command::new(binary());
    program.args(command).current_dir(folder);
    program.stderr(Stdio::null());
    Program::start("seamline", program)
}

/// A TCP port that nothing listens on.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// `SEAMLINE_BIN`, or what a build left beside the tests.
fn binary() -> PathBuf {
    if let Some(path) = env::var_os("SEAMLINE_BIN") {
        return path.into();
    }
    built("seamline")
}
