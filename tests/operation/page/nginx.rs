//! A real nginx in front of a server, with the defaults of nginx unless a test adds lines.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::servers::folder::Folder;

/// Ends with the test, by its process id.
pub(crate) struct Nginx {
    pub(crate) port: u16,
    process: Child,
    _folder: Folder,
}

impl Nginx {
    /// Starts an nginx with the lines in its `location /`, where `UPSTREAM` stands for the address of the server.
    pub(crate) async fn start(upstream: SocketAddr, location: &str) -> Self {
        // Another process may take the port after it was found free.
        for _ in 0..5 {
            if let Some(nginx) = Self::try_start(upstream, location).await {
                return nginx;
            }
        }
        panic!("nginx does not start: run scripts/test, which installs it");
    }

    async fn try_start(upstream: SocketAddr, location: &str) -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = Folder::new();
        let location = location.replace("UPSTREAM", &upstream.to_string());
        let configuration = format!(
            "daemon off; master_process off; pid nginx.pid; events {{}}\n\
             http {{ access_log off; client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; \
             uwsgi_temp_path uwsgi; scgi_temp_path scgi;\n\
             server {{ listen 127.0.0.1:{port};\n{location}\n}} }}"
        );
        std::fs::write(folder.path().join("nginx.conf"), configuration).unwrap();
        let mut process = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "nginx", "-e", "stderr", "-c", "nginx.conf", "-p"])
            .arg(folder.path())
            // Debian keeps the program where only root looks for it.
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv is there: run scripts/test, which installs it");
        for _ in 0..500 {
            if process.try_wait().unwrap().is_some() {
                return None;
            }
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(Self { port, process, _folder: folder });
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        process.kill().ok();
        process.wait().ok();
        None
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
