//! nginx in front of a folder: the web server of recorders that leave files.

use std::{
    fs,
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    clock::await_that,
    program::{Program, START_WITHIN},
    seamline::free_port,
};

/// A running web server.
#[derive(Debug)]
pub struct Web {
    /// `http://host:port`
    pub url: String,
    program: Program,
    _folder: TempDir,
}

impl Web {
    /// Serves a folder, with listings of what is in it.
    pub fn of(files: &Path) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let here = folder.path().display();
        let config = format!(
            "daemon off; master_process off; pid {here}/pid; error_log stderr error;\n\
             events {{}}\n\
             http {{\n\
             access_log off; client_body_temp_path {here}/b; proxy_temp_path {here}/p; fastcgi_temp_path {here}/f; \
             uwsgi_temp_path {here}/u; scgi_temp_path {here}/s;\n\
             server {{ listen 127.0.0.1:{port}; root {}; autoindex on; }}\n\
             }}\n",
            files.display()
        );
        let file = folder.path().join("nginx.conf");
        fs::write(&file, config).expect("the temporary folder can be written");
        let mut command = Command::new("/usr/sbin/nginx");
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file);
        command.args(["-e", "stderr"]).stderr(Stdio::inherit());
        let program = Program::start("nginx", command);
        let missing = format!("nginx does not listen on {port}");
        await_that(START_WITHIN, &missing, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Self {
            url: format!("http://127.0.0.1:{port}"),
            program,
            _folder: folder,
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.program.kill();
    }
}
