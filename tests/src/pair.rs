//! Two sites of XProtect that know nothing of each other, the program in front of them, and one recorder that holds what both do.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    clock::{await_that, noon},
    footage::{Footage, Recipe},
    imageserver::Client,
    seamline::{Config, Seamline, free_port},
    xprotect::{CAMERA, Setup, Site},
};

/// Of a client that both the primary and the program know.
pub const TOKEN: &str = "TOKEN#00000042-0000-4000-8000-0000000000aa#vmshost//ServerConnector#";
/// The same camera at the other site.
pub const THERE: &str = "77777777-2222-3333-4444-555555555555";
const SOON: Duration = Duration::from_secs(20);
/// Clients wait ten seconds.
const PATIENCE_MS: f64 = 10_000.0;

/// Groups of a second, that begin at full seconds.
pub fn seconds() -> Footage {
    let recipe = Recipe {
        gop: 25,
        phase: 0,
        ..Recipe::default()
    };
    recipe.make()
}

/// A site that recorded only from some second to another.
pub fn holding(setup: Setup, held: &[(i32, i32)]) -> Setup {
    let (mut setup, mut from) = (setup, -20);
    for (start, end) in held {
        setup = setup.without(noon(f64::from(from)), noon(f64::from(*start)));
        from = *end;
    }
    setup.without(noon(f64::from(from)), noon(100.0))
}

/// Two sites, each behind its own management server, and the program in front of them.
#[derive(Debug)]
pub struct Pair {
    setups: [Setup; 2],
    footage: Footage,
    /// What the program was started with.
    pub config: Config,
    /// The site that clients believe to speak to.
    pub primary: Site,
    /// The other one.
    pub secondary: Site,
    /// The program.
    pub seamline: Seamline,
    /// Where it stands for the primary's recorder.
    pub port: u16,
    /// The primary's recorder itself.
    pub recorder_port: u16,
}

impl Pair {
    /// Sites that recorded from some seconds behind noon to others.
    pub fn new(primary: &[(i32, i32)], secondary: &[(i32, i32)]) -> Self {
        let sites = [primary, secondary].map(|held| holding(Setup::default(), held));
        Self::of(sites, |config| config)
    }

    /// Sites that were set up otherwise; what else the configuration says.
    pub fn of(sites: [Setup; 2], more: impl Fn(Config) -> Config) -> Self {
        let pair = Self::unawaited(sites, more);
        pair.await_primary();
        pair
    }

    /// As [`Self::of`], with other footage than [`seconds`].
    pub fn showing(footage: Footage, sites: [Setup; 2], more: impl Fn(Config) -> Config) -> Self {
        let pair = Self::started(footage, sites, more);
        pair.await_primary();
        pair
    }

    /// As [`Self::of`], whether or not the program can know where the recorder is.
    pub fn unawaited(sites: [Setup; 2], more: impl Fn(Config) -> Config) -> Self {
        Self::started(seconds(), sites, more)
    }

    fn started(footage: Footage, sites: [Setup; 2], more: impl Fn(Config) -> Config) -> Self {
        let recorders = [free_port(), free_port()];
        let mut ports = recorders.into_iter();
        let [primary, secondary] = sites.map(|setup| {
            let recorder = ports.next().unwrap_or_default();
            setup
                .user("viewer", "s3cret")
                .port(recorder)
                .server_port(free_port())
        });
        let setups = [primary.knows(TOKEN), secondary.camera(THERE)];
        let [primary, secondary] = [&setups[0], &setups[1]].map(|setup| setup.start(&footage));
        let (port, management) = (free_port(), free_port());
        let face = json!([{
            "primary": "rec-primary",
            "secondary": "rec-secondary",
            "management": format!("127.0.0.1:{management}"),
            "recorder": [{ "recorder": "Recorder", "listen": format!("127.0.0.1:{port}") }],
        }]);
        let config = Config::default()
            .xprotect("primary", &primary)
            .xprotect_of("secondary", &secondary, THERE)
            .top("xprotect", face);
        let config = more(config);
        let listen = config.face()[0]["recorder"][0]["listen"].as_str();
        let listen = listen.and_then(|listen| listen.rsplit(':').next()?.parse().ok());
        let seamline = config.serve();
        Self {
            setups,
            footage,
            config,
            recorder_port: recorders[0],
            port: listen.unwrap_or(port),
            primary,
            secondary,
            seamline,
        }
    }

    /// A client that is let in.
    pub fn client(&self) -> Client {
        let mut client = Client::open(self.port);
        let answer = client.connect(CAMERA, TOKEN);
        assert_eq!(answer["connected"], "yes", "{answer}");
        client
    }

    /// Until the program knows where the recorder is, and that it lives.
    fn await_primary(&self) {
        await_that(SOON, "the primary is not found", || {
            let mut client = Client::open(self.port);
            let connected = client.connect(CAMERA, TOKEN)["connected"] == "yes";
            connected && self.primary.calls().iter().any(|call| call == "connect")
        });
    }

    /// As [`Self::client`], with more said at `connect`.
    pub fn client_with(&self, more: &Value) -> Client {
        let mut order = json!({ "do": "connect", "camera": CAMERA, "token": TOKEN });
        let more = more.as_object().cloned().unwrap_or_default();
        order.as_object_mut().expect("it is one").extend(more);
        let mut client = Client::open(self.port);
        let answer = client.order(&order);
        assert_eq!(answer["connected"], "yes", "{answer}");
        client
    }

    /// The primary again, after it was killed.
    pub fn revive(&mut self) {
        self.primary = self.setups[0].start(&self.footage);
        self.await_primary();
    }

    /// The secondary again, after it was killed.
    pub fn revive_secondary(&mut self) {
        self.secondary = self.setups[1].start(&self.footage);
    }

    /// Until the primary is called so.
    pub fn await_call(&self, name: &str) {
        self.await_calls(name, 1);
    }

    /// Until the primary is called so that often.
    pub fn await_calls(&self, name: &str, count: usize) {
        let mut heard = 0;
        await_that(SOON, &format!("nobody calls {name}"), || {
            let calls = self.primary.calls();
            heard += calls.iter().filter(|call| *call == name).count();
            heard >= count
        });
    }

    /// The program anew, whatever state the sites are in.
    pub fn restart(&mut self) {
        self.seamline.kill();
        self.seamline = self.config.serve();
    }

    /// The primary again, which knows nothing of the token that it let in.
    pub fn revive_without_token(&mut self) {
        self.primary = self.setups[0].clone().forgets(TOKEN).start(&self.footage);
    }
}

/// One site that holds what both hold, and a client of it.
#[derive(Debug)]
pub struct Union {
    _site: Site,
    /// The client.
    pub client: Client,
}

impl Union {
    /// From some seconds behind noon to others.
    pub fn new(held: &[(i32, i32)]) -> Self {
        Self::of(holding(Setup::default(), held))
    }

    /// One that was set up otherwise.
    pub fn of(setup: Setup) -> Self {
        let port = free_port();
        let setup = setup.knows(TOKEN).port(port);
        let site = setup.start(&seconds());
        let mut client = Client::open(port);
        assert_eq!(client.connect(CAMERA, TOKEN)["connected"], "yes");
        Self {
            _site: site,
            client,
        }
    }
}

/// Current, Prev and Next of an answer, in seconds from noon.
pub fn place(answer: &Value) -> (i64, i64, i64) {
    let of = |name: &str| {
        let ms = answer[name].as_i64();
        (ms.unwrap_or_else(|| panic!("{answer}")) - noon(0.0)) / 1000
    };
    let took = answer["took_ms"].as_f64();
    assert!(took.is_none_or(|took| took < PATIENCE_MS), "{answer}");
    (of("current"), of("prev"), of("next"))
}
