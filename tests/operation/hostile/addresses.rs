//! Addresses of stores with a password in them.

use tower_circuit_breaker::store::AnyStore;

use super::{Dice, SECRET, attack, is_fit_to_show, reached};

/// Without files and SQLite, whose addresses are paths and have no passwords.
const SCHEMES: [&str; 15] = [
    "postgres",
    "postgresql",
    "redis",
    "rediss",
    "valkey",
    "valkeys",
    "unix",
    "redis+unix",
    "redis-sentinel",
    "redis-cluster",
    "valkeys-cluster",
    "valkeys-sentinel",
    "mysql",
    "http",
    "postgrs",
];
const QUERIES: [&str; 11] = [
    "sslmode=verify-full",
    "sslMode=require",
    "sslrootcert=/etc/ca.crt",
    "ca=/etc/ca.crt",
    "prefix=a:",
    "db=7",
    "sentinel_user=ana",
    "host=h",
    "password=",
    "user=ana",
    "options=-c%20x",
];

fn address(dice: &mut Dice) -> String {
    let junk = |dice: &mut Dice| dice.text().chars().filter(|c| !"@/:?#".contains(*c)).take(20).collect::<String>();
    let (before, after) = (
        if dice.once_in(4) { junk(dice) } else { String::new() },
        if dice.once_in(4) { junk(dice) } else { String::new() },
    );
    let user = dice.pick(&["", "ana", "a%40b"]);
    let host = if dice.once_in(3) {
        junk(dice)
    } else {
        dice.pick(&["db", "127.0.0.1", "[::1]", "db.internal", "a:1,b,[::1]:2"]).to_owned()
    };
    let port = dice.pick(&["", ":5432", ":0", ":99999", ":x"]);
    let path =
        if dice.once_in(3) { dice.text() } else { dice.pick(&["", "/", "/0", "/circuits", "/a/b", "/m/1"]).to_owned() };
    let query = if dice.once_in(2) { format!("?{}", dice.pick(&QUERIES)) } else { String::new() };
    format!("{}://{user}:{before}{SECRET}{after}@{host}{port}{path}{query}", dice.pick(&SCHEMES))
}

/// Rules: neither an error, nor its sources, nor the store that was opened shows the password, and each error is bounded.
#[test]
fn hostile_addresses_show_no_password() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut opened, mut refused) = (0, 0);
    attack("addresses", 1, |dice| {
        let address = address(dice);
        let _entered = runtime.enter();
        match AnyStore::open(&address) {
            Ok(store) => {
                opened += 1;
                is_fit_to_show(&format!("{store:?}"), 100_000)
            }
            Err(error) => {
                refused += 1;
                is_fit_to_show(&error.to_string(), 2_000)?;
                is_fit_to_show(&format!("{error:?}"), 4_000)?;
                let mut source = std::error::Error::source(&error);
                while let Some(error) = source {
                    is_fit_to_show(&error.to_string(), 4_000)?;
                    source = error.source();
                }
                Ok(())
            }
        }
    });
    reached(opened > 0 && refused > 0, &format!("{opened} stores were opened, and {refused} addresses refused"));
}
