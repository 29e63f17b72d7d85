//! Who this process is: an id that survives restarts.

/// Returns the host's name, or `localhost` if it has none that can be used.
pub(crate) fn host_name() -> String {
    let name = system_name();
    if is_id(&name) { name } else { "localhost".to_owned() }
}

/// Whether it can name an instance: 1 to 100 bytes of printable text without spaces, and without `#`, which numbers
/// instances of the same id.
pub(super) fn is_id(id: &str) -> bool {
    (1..=100).contains(&id.len()) && id.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != '#')
}

#[cfg(target_os = "linux")]
fn system_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(target_os = "linux"))]
fn system_name() -> String {
    let variables = ["HOSTNAME", "COMPUTERNAME"];
    variables.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}
