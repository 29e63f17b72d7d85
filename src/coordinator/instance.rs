//! The default id of this instance, which is the name of the host. The name survives restarts, so that evidence can be
//! restored.

use crate::keep::is_instance;

/// Returns the name of the host, or `localhost` if the name is no valid id.
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
    // The standard library cannot query the name. Many shells export the first variable, and Windows sets the second.
    let variables = ["HOSTNAME", "COMPUTERNAME"];
    variables.iter().find_map(|name| std::env::var(name).ok()).unwrap_or_default()
}
