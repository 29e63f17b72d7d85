//! A registry that keeps its circuits as the settings say.

use super::Settings;
use super::error::SettingsError;
use super::persistence::StoreUrl;
use crate::coordinator::RegistryBuilder;
use crate::keep::{SchemaMode, Ttl, masked};
use crate::registry::Registry;
use crate::store::{AnyStore, StoreError, TieredStore};

impl Settings {
    /// Returns the builder of a registry with all that `[persistence]` says: the store, its tables, sharing, the name of this
    /// instance, TTLs. Without `enabled = true` it is the builder of a registry without a store.
    ///
    /// Nothing is opened or connected yet, and no circuit is made. Needs the feature `store`, and that of the store.
    ///
    /// ```
    /// use tower_circuit_breaker::settings::Settings;
    ///
    /// let settings = Settings::from_file("examples/config_file.toml")?;
    /// # #[cfg(feature = "full")] {
    /// let registry = settings.registry()?.build()?;
    /// for config in settings.circuits() {
    ///     registry.circuit(config)?;
    /// }
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`SettingsError`] with the key `persistence.store` or `persistence.cache`, if that is no address of a store, or the
    /// feature of that store is not compiled in.
    pub fn registry(&self) -> Result<RegistryBuilder, SettingsError> {
        let builder = Registry::builder();
        let Some(kept) = self.persistence() else { return Ok(builder) };
        // The default is left to the store, because an address may say that it is read only.
        let schema = Some(kept.schema()).filter(|mode| *mode != SchemaMode::Create);
        let store = AnyStore::open_with(kept.store().as_str(), schema);
        let mut store = store.map_err(|error| self.unusable("store", kept.store(), &error))?;
        if let Some(url) = kept.cache() {
            let cache = AnyStore::open(url.as_str()).map_err(|error| self.unusable("cache", url, &error))?;
            store = AnyStore::new(TieredStore::new(cache, store));
        }
        let mut builder = builder.store(store).sharing(kept.sharing()).first_call_waits(kept.first_call_waits());
        if let Some(instance) = kept.instance() {
            builder = builder.instance(instance);
        }
        if let Some(audit_kept) = kept.audit_kept() {
            builder = builder.audit_kept(audit_kept);
        }
        let Ttl { open, other } = kept.ttl_of_others();
        builder = builder.ttl(open, other);
        for name in self.circuits.keys() {
            builder = builder.ttl_of(name, kept.ttl_open(name), kept.ttl_other(name));
        }
        Ok(builder)
    }

    /// Says which key it was, and where it stands.
    fn unusable(&self, key: &str, url: &StoreUrl, error: &StoreError) -> SettingsError {
        let origin = self.draft.persistence.get(key).map_or("the default", |field| &field.origin);
        // Some stores repeat the address, which no store but this one knows to hold a password.
        let why = error.to_string().replace(url.as_str(), &masked(url.as_str()));
        let path = format!("persistence.{key}");
        SettingsError::of(origin, &path, format!("{path} is \"{url}\": {why}"))
    }
}
