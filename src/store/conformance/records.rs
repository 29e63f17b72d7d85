//! The cases of a single writer, which loads, writes and deletes one record after the other.

use super::Failure;
use super::trial::{Trial, insist, record, writing};
use crate::record::CircuitRecord;
use crate::store::{Store, StoreErrorKind};

pub(super) async fn absent(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let name = trial.name("a");
    trial.nothing("before the first write", trial.load(store, &name).await?.as_ref())?;
    let [first, second, third] = [1, 2, 3].map(|number| record(&name, number));
    let etag = trial.create(store, &name, &first).await?;
    trial.holds("after the first write", trial.load(store, &name).await?, &first)?;
    // The store must accept both the etag that a write returned and the etag that a load returned.
    let written = trial.write(store, &name, Some(&etag), &second).await?;
    trial.applied("on the etag of the first write", written)?;
    let etag = trial.holds("after the second write", trial.load(store, &name).await?, &second)?;
    let written = trial.write(store, &name, Some(&etag), &third).await?;
    trial.applied("on the etag that was loaded", written)?;
    trial.holds("after the third write", trial.load(store, &name).await?, &third)?;
    Ok(())
}

pub(super) async fn conflict(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let name = trial.name("a");
    let [first, second, third] = [1, 2, 3].map(|number| record(&name, number));
    let old = trial.create(store, &name, &first).await?;
    let written = trial.write(store, &name, Some(&old), &second).await?;
    trial.applied("on the etag of the first write", written)?;
    for (expected, what) in [(Some(&old), "on an old etag"), (None, "expecting None where a value is")] {
        let written = trial.write(store, &name, expected, &third).await?;
        trial.holds(what, trial.conflict(what, written)?, &second)?;
        trial.holds("after that conflict", trial.load(store, &name).await?, &second)?;
    }
    let written = trial.write(store, &name, None, &third).await?;
    let current = trial.conflict("expecting None", written)?;
    let etag = trial.holds("in that conflict", current, &second)?;
    let written = trial.write(store, &name, Some(&etag), &third).await?;
    trial.applied("on the etag that a conflict returned", written)?;
    Ok(())
}

pub(super) async fn vanished(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let (here, gone) = (trial.name("here"), trial.name("gone"));
    let etag = trial.create(store, &here, &record(&here, 1)).await?;
    let written = trial.write(store, &gone, Some(&etag), &record(&gone, 2)).await?;
    let what = "on an etag where no value is";
    trial.nothing(what, trial.conflict(what, written)?.as_ref())?;
    trial.nothing("after that conflict", trial.load(store, &gone).await?.as_ref())
}

pub(super) async fn load_many(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let none = trial.run("load_many of no names", || store.load_many(&[])).await?;
    trial.same("the entries for no names", &none.entries.len(), &0)?;
    let [c, a, b] = ["c", "a", "b"].map(|part| trial.name(part));
    for name in [&c, &a, &b] {
        trial.create(store, name, &record(name, 1)).await?;
    }
    // The load has 300 more names, because an application with a circuit for each customer loads many records at once.
    let strangers = (0..300).map(|number| trial.name(&format!("stranger-{number}")));
    let mut names = vec![b.clone(), trial.name("absent"), c.clone(), b.clone(), a.clone(), trial.name("absent")];
    names.extend(strangers);
    names.push(c.clone());
    let loaded = trial.run("load_many", || store.load_many(&names)).await?;
    trial.same("the number of entries", &loaded.entries.len(), &names.len())?;
    for (at, (name, found)) in names.iter().zip(loaded.entries).enumerate() {
        let what = format!("at place {at}, for `{name}`");
        if [&a, &b, &c].contains(&name) {
            trial.holds(&what, found, &record(name, 1))?;
        } else {
            trial.nothing(&what, found.as_ref())?;
        }
    }
    Ok(())
}

pub(super) async fn delete(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let (name, other) = (trial.name("a"), trial.name("b"));
    let [first, second] = [1, 2].map(|number| record(&name, number));
    let kept = trial.create(store, &other, &record(&other, 1)).await?;
    let old = trial.create(store, &name, &first).await?;
    let written = trial.write(store, &name, Some(&old), &second).await?;
    let etag = trial.applied("on the etag of the first write", written)?;
    trial.same("deleting on an old etag", &trial.delete(store, &name, &old).await?, &false)?;
    trial.holds("after that", trial.load(store, &name).await?, &second)?;
    trial.same("deleting on the right etag", &trial.delete(store, &name, &etag).await?, &true)?;
    trial.nothing("after that", trial.load(store, &name).await?.as_ref())?;
    trial.same("deleting again", &trial.delete(store, &name, &etag).await?, &false)?;
    let unused = trial.name("unused");
    trial.same("deleting a name that never had a value", &trial.delete(store, &unused, &kept).await?, &false)?;
    // A store must not use an etag again for other bytes, for example by a counter that begins again. Otherwise a write
    // with the old etag would replace the other bytes.
    let etag = trial.create(store, &name, &first).await?;
    trial.same("deleting the first version", &trial.delete(store, &name, &etag).await?, &true)?;
    trial.create(store, &name, &second).await?;
    trial.same("deleting on the etag of the deleted version", &trial.delete(store, &name, &etag).await?, &false)?;
    trial.holds("after that", trial.load(store, &name).await?, &second)?;
    trial.holds("under another name", trial.load(store, &other).await?, &record(&other, 1))?;
    Ok(())
}

pub(super) async fn reopen(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let name = trial.name("a");
    for number in 0..3 {
        let store = &trial.open().await;
        let expected = match number {
            0 => None,
            _ => Some(trial.holds("opened again", trial.load(store, &name).await?, &record(&name, number - 1))?),
        };
        let written = trial.write(store, &name, expected.as_ref(), &record(&name, number)).await?;
        trial.applied("on the etag that was loaded", written)?;
    }
    Ok(())
}

pub(super) async fn foreign(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let texts =
        ["not a record", "", "{}", "[1, 2", "null", " {\"state\":\"ajar\"}\n", "{\"version\":99}", "ä\u{1f980}"];
    for (number, text) in texts.iter().enumerate() {
        let name = trial.name(&number.to_string());
        let write = writing(&name, None, text.as_bytes());
        let written = match insist(|| store.compare_and_set(&write)).await {
            Err(error) if matches!(error.kind(), StoreErrorKind::Corrupt | StoreErrorKind::Refused) => {
                trial.nothing("after it was refused", trial.load(store, &name).await?.as_ref())?;
                continue;
            }
            Err(error) => return Err(trial.failure(format!("writing {text:?}: expected an answer, found {error}"))),
            Ok(written) => written,
        };
        trial.applied(&format!("writing {text:?}"), written)?;
        let etag = trial.holds("that is no record", trial.load(store, &name).await?, text.as_bytes())?;
        // An instance replaces a corrupt record that it finds, so a store must allow the write.
        let written = trial.write(store, &name, Some(&etag), &record(&name, 1)).await?;
        trial.applied(&format!("replacing {text:?}"), written)?;
        trial.holds("after that", trial.load(store, &name).await?, &record(&name, 1))?;
    }
    Ok(())
}

pub(super) async fn length(trial: &Trial<'_, '_>) -> Result<(), Failure> {
    let store = &trial.open().await;
    let (name, longer) = (trial.name("longest"), trial.name("longer"));
    let longest = padded(&name, CircuitRecord::MAX_BYTES);
    let etag = trial.create(store, &name, &longest).await?;
    trial.holds("of the greatest length", trial.load(store, &name).await?, &longest)?;
    for (name, expected) in [(&name, Some(&etag)), (&longer, None)] {
        let write = writing(name, expected, &padded(name, CircuitRecord::MAX_BYTES + 1));
        match store.compare_and_set(&write).await {
            Err(error) => trial.same("the error for a longer one", &error.kind(), &StoreErrorKind::Refused)?,
            Ok(_) => return Err(trial.failure("a longer one: expected Refused, found an answer")),
        }
    }
    trial.holds("after a longer one", trial.load(store, &name).await?, &longest)?;
    trial.nothing("after a longer one", trial.load(store, &longer).await?.as_ref())
}

/// Returns a record of exactly `length` bytes.
fn padded(name: &str, length: usize) -> Vec<u8> {
    let mut record = CircuitRecord::unknown(name);
    let filled = |record: &CircuitRecord| serde_json::to_vec(record).expect("a record can be written");
    record.extra.insert("padding".to_owned(), "".into());
    let missing = length - filled(&record).len();
    record.extra.insert("padding".to_owned(), "x".repeat(missing).into());
    filled(&record)
}
