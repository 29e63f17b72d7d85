//! A `prometheus` of a test's own.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Runs until it is dropped, or until the thread that started it ends.
pub(super) struct Prometheus {
    port: u16,
    folder: PathBuf,
    server: Child,
    client: reqwest::Client,
}

/// What Prometheus thinks of a rule.
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) health: String,
    pub(super) error: String,
}

/// The labels of a target that collide with labels of the exporter.
#[derive(Debug, Clone, Copy)]
pub(super) enum TargetLabels {
    None,
    /// A label `service`, as a `ServiceMonitor` gives to each target. The label of the exporter is renamed.
    Service,
}

impl Prometheus {
    /// Starts one that scrapes that address every half second, with those rules.
    pub(super) async fn start(target: SocketAddr, labels: TargetLabels, rules: &Path) -> Self {
        let labels = match labels {
            TargetLabels::None => "",
            TargetLabels::Service => "service: orders-api, namespace: shop, pod: orders-1",
        };
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).unwrap().port();
        let folder = std::env::temp_dir().join(format!("breaker-prometheus-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 500ms }}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{ job_name: app, static_configs: [{{ targets: ['{target}'], labels: {{ {labels} }} }}] }}]\n",
            rules.display()
        );
        fs::write(folder.join("prometheus.yml"), config).unwrap();
        let server = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "prometheus"])
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv (util-linux) starts prometheus: run scripts/test, which installs both");
        let prometheus = Self { port, folder, server, client: reqwest::Client::new() };
        for _ in 0..600 {
            if prometheus.get("query", "1").await.is_ok() {
                return prometheus;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("prometheus does not answer within half a minute");
    }

    async fn get(&self, what: &str, query: &str) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}/api/v1/{what}", self.port);
        let mut url = reqwest::Url::parse(&url).unwrap();
        url.query_pairs_mut().append_pair("query", query);
        let answer = self.client.get(url).send().await.map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(text) }
    }

    /// Returns how many series a query finds.
    pub(super) async fn query(&self, query: &str) -> Result<usize, String> {
        let data = self.get("query", query).await?;
        data["result"].as_array().map(Vec::len).ok_or_else(|| data.to_string())
    }

    /// Returns how often the target was scraped.
    pub(super) async fn scrapes(&self) -> u64 {
        let data = self.get("query", "count_over_time(up{job=\"app\"}[1m])").await;
        let count = data.ok().and_then(|data| data["result"][0]["value"][1].as_str()?.parse().ok());
        count.unwrap_or(0)
    }

    pub(super) async fn rules(&self) -> Vec<Rule> {
        let data = self.get("rules", "").await.unwrap();
        let text = |rule: &Value, key: &str| rule[key].as_str().unwrap_or_default().to_owned();
        let groups = data["groups"].as_array().unwrap().iter();
        groups
            .flat_map(|group| group["rules"].as_array().unwrap())
            .map(|rule| Rule { name: text(rule, "name"), health: text(rule, "health"), error: text(rule, "lastError") })
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.server.kill().ok();
        self.server.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}
