//! The builder of a registry from settings, with the store of `[persistence]`.

use super::Settings;
use super::error::SettingsError;
use super::persistence::{Persistence, StoreUrl};
use crate::coordinator::RegistryBuilder;
use crate::keep::{SchemaMode, Ttl};
use crate::registry::Registry;
use crate::shown::masked;
use crate::store::{AnyStore, StoreError, TieredStore};

impl Settings {
    /// Returns the builder of a registry with the settings of `[persistence]`. If the table has neither `store` nor
    /// `enabled = true`, or has `enabled = false`, the registry has no store.
    ///
    /// This method opens no store and creates no circuit. The method needs the feature `store`, and the
    /// feature of the chosen store.
    ///
    /// ```
    /// use tower_circuit_breaker::settings::Settings;
    ///
    /// let settings = Settings::from_file("examples/config_file.toml")?;
    /// # #[cfg(feature = "full")] {
    /// let registry = settings.registry()?.build()?; // then create the circuits, and call `restore` or `start`
    /// for config in settings.circuits() {
    ///     registry.circuit(config)?;
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// * [`SettingsError`] with the key `persistence.store` or `persistence.cache`, if no store accepts the address, or
    ///   if the feature of the store is not compiled in.
    /// * [`SettingsError`] with any other key of `[persistence]`, if the table has neither `store` nor `enabled`. The
    ///   key would then have no effect.
    pub fn registry(&self) -> Result<RegistryBuilder, SettingsError> {
        let builder = Registry::builder();
        let Some(kept) = self.persistence() else {
            return Persistence::unused(&self.draft.persistence).map_or(Ok(builder), Err);
        };
        // If a table and a TTL have the same name, `roll_call` keeps only the first of the two settings. For a circuit
        // without settings, `roll_call` can suggest only tables. Therefore the tables are passed first, and the
        // registry passes the names with TTLs later.
        self.expect_circuits();
        // `Create` is the default and is not passed on. Otherwise `Create` would override the mode `Verify`, which an
        // SQLite address with `mode=ro` (read-only) sets.
        let schema = Some(kept.schema()).filter(|mode| *mode != SchemaMode::Create);
        let store = AnyStore::open_with(kept.store().as_str(), schema);
        let mut store = store.map_err(|error| self.unusable("store", kept.store(), &error))?;
        if let Some(url) = kept.cache() {
            let cache = AnyStore::open(url.as_str()).map_err(|error| self.unusable("cache", url, &error))?;
            store = AnyStore::new(TieredStore::new(cache, store));
        }
        let mut builder = builder
            .store(store)
            .sharing(kept.sharing())
            .quorum(kept.quorum_at_least(), kept.quorum_share())
            .first_call_waits(kept.first_call_waits());
        if let Some(instance) = kept.instance() {
            builder = builder.instance(instance);
        }
        if let Some(fleet) = kept.fleet() {
            builder = builder.fleet(fleet);
        }
        if let Some(audit_kept) = kept.audit_kept() {
            builder = builder.audit_kept(audit_kept);
        }
        let Ttl { open, other } = kept.ttl_of_others();
        Ok(builder.ttl(open, other).ttls(kept.ttls().clone()))
    }

    /// Returns the error for the address of a store that cannot be used. The error names the key of the address, and
    /// the file or variable that contains this key.
    fn unusable(&self, key: &str, url: &StoreUrl, error: &StoreError) -> SettingsError {
        let origin = self.draft.persistence.get(key).map_or("the default", |field| &field.origin);
        // The address is masked, because the error of a store may repeat the address with its password.
        let why = error.to_string().replace(url.as_str(), &masked(url.as_str()));
        let path = format!("persistence.{key}");
        SettingsError::of(origin, &path, format!("{path} is \"{url}\": {why}"))
    }
}
