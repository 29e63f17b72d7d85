//! Who this process is: an id that survives restarts.

use crate::keep::is_instance;

/// Returns the host's name, or `localhost` if it has none that can be used.
pub(crate) fn host_name() -> String {
    let name = system_name();
    if is_instance(&name) { name } else { "localhost".to_owned() }
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
