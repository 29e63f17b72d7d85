//! The store of the nights, and the names in the store.

use std::fs::DirBuilder;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use tower_circuit_breaker::BoxError;
use tower_circuit_breaker::coordinator::Sharing;
use tower_circuit_breaker::store::{AnyStore, Store};

/// The store, which all instances open by its address.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) url: String,
    store: AnyStore,
    /// Different for each run, so that an earlier run in the same store has no effect.
    run: String,
    _folder: Option<Folder>,
}

impl Place {
    /// Opens the store of that address, or SQLite in a new folder, and loads from the store, so that a wrong address is an
    /// error before the first night.
    pub(crate) async fn open(url: Option<String>) -> Result<Self, BoxError> {
        let run = format!("{}-{}", std::process::id(), SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
        let (url, folder) = match url {
            Some(url) => (url, None),
            None => {
                let folder = Folder::create(&run)?;
                (format!("sqlite://{}", folder.0.join("circuit_breaker.db").display()), Some(folder))
            }
        };
        let store = AnyStore::open(&url)?;
        store.load_many(std::slice::from_ref(&run)).await?;
        Ok(Self { store, url, run, _folder: folder })
    }

    pub(crate) fn kind(&self) -> &'static str {
        self.store.kind()
    }

    /// Returns the name of the circuit of a night, which is also the name of its fleet.
    pub(crate) fn circuit(&self, sharing: Sharing) -> String {
        format!("orders-{}-{sharing}", self.run)
    }

    /// Deletes the records of a night. The rows of the audit stay.
    pub(crate) async fn forget(&self, sharing: Sharing) -> Result<(), BoxError> {
        let circuit = self.circuit(sharing);
        let names = [circuit.clone(), format!("@fleet:{circuit}")];
        let loaded = self.store.load_many(&names).await?;
        for (name, entry) in names.iter().zip(loaded.entries) {
            if let Some(entry) = entry {
                self.store.delete(name, &entry.etag).await?;
            }
        }
        Ok(())
    }
}

/// A folder that is removed with its files.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create(run: &str) -> Result<Self, BoxError> {
        let path = std::env::temp_dir().join(format!("circuit-breaker-fleet-{run}"));
        // Fails if the path exists, so that no file of another user is opened.
        DirBuilder::new().create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
