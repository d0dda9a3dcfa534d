//! Each way in which sites are built.

use std::{fs, path::Path};

use seamline_tests::{
    footage::Recipe,
    seamline::{Seamline, free_port},
    xprotect::{Client, Setup},
};
use serde_json::{Value, json};

use crate::{OURS, THEIRS};

#[test]
fn the_three_ways_in_which_sites_are_built() {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    for kind in ["single", "independent", "federated"] {
        let footage = Recipe::default().make();
        let folder = tempfile::tempdir().unwrap();
        let names = match kind {
            "single" => ["vms", "vms"],
            "independent" => ["vms-a", "vms-b"],
            _ => ["parent", "child"],
        };
        let child = Setup::default().user("seamline", "s3cret").start(&footage);
        let parent = Setup::default().user("seamline", "s3cret");
        let parent = if kind == "federated" {
            parent.child(&format!("{}/", child.url()))
        } else {
            parent
        };
        let mut parent = parent.start(&footage);
        let text = fs::read_to_string(deploy.join(format!("xprotect-{kind}.toml"))).unwrap();
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(folder.path().join("fullchain.pem"), made.cert.pem()).unwrap();
        fs::write(
            folder.path().join("key.pem"),
            made.signing_key.serialize_pem(),
        )
        .unwrap();
        let mut text = text
            .replace("/etc/seamline", &folder.path().display().to_string())
            .replace("/var/lib/seamline", &folder.path().display().to_string());
        for (name, site) in names.iter().zip([&parent, &child]) {
            fs::write(folder.path().join(format!("{name}.password")), "s3cret\n").unwrap();
            text = text.replace(&format!("https://{name}.example"), site.url());
        }
        let listened =
            ["80", "443", "7563", "8080", "8443", "7573"].map(|port| (port, free_port()));
        for (port, free) in listened {
            text = text.replace(
                &format!("\"0.0.0.0:{port}\""),
                &format!("\"127.0.0.1:{free}\""),
            );
        }
        let mut config: Value =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let port = free_port();
        config["listen"] = json!(format!("127.0.0.1:{port}"));
        let seamline = Seamline::of(&config, port, "info");
        let at = |port: &str| listened.iter().find(|(name, _)| *name == port).unwrap().1;
        let url = |port: &str| format!("http://localhost:{}", at(port));
        let mut client = Client::log_in(&url("80"), "oauth", "seamline", "s3cret");
        assert_eq!(
            client.login["token_of"], THEIRS,
            "{kind}: {:?}",
            client.login
        );
        let uri = format!("http://localhost:{}/", at("7563"));
        assert_eq!(client.told["recorders"][0]["uri"], uri, "{kind}");
        // Inside TLS it is the same.
        let sealed = Client::log_in(
            &format!("https://localhost:{}", at("443")),
            "oauth",
            "seamline",
            "s3cret",
        );
        assert_eq!(
            sealed.told["recorders"], client.told["recorders"],
            "{kind}: {:?}",
            sealed.login
        );
        assert_eq!(
            sealed.login["endpoint"],
            format!("localhost:{}", at("443")),
            "{kind}"
        );
        if kind == "federated" {
            // The child has a face of its own, with its own recorder's port.
            let below = Client::log_in(&url("8080"), "oauth", "seamline", "s3cret");
            assert_eq!(
                below.told["recorders"][0]["uri"],
                format!("http://localhost:{}/", at("7573"))
            );
        }
        parent.kill();
        assert_eq!(client.ask()["recorders"][0]["uri"], uri, "{kind}");
        // A single site has no other that could vouch for him: the primary did, a moment ago.
        let renewed = if kind == "single" {
            Client::log_in(&url("80"), "soap", "seamline", "s3cret").login
        } else {
            client.log_in_again()
        };
        if kind == "single" {
            assert!(
                renewed["token_of"].is_null(),
                "it never came by this door: {renewed:?}"
            );
        } else {
            assert_eq!(renewed["token_of"], OURS, "{kind}: {renewed:?}");
        }
        drop(seamline);
    }
}
