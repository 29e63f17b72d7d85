//! What the versions of each tier are called outside: `f:` or `d:`, and the tier's own text.

use crate::store::{Etag, Versioned, WatchEvent};

pub(super) fn tag(tier: char, etag: &Etag) -> Etag {
    Etag::new(format!("{tier}:{}", etag.as_str()))
}

pub(super) fn tagged(tier: char, kept: Versioned) -> Versioned {
    Versioned { etag: tag(tier, &kept.etag), ..kept }
}

pub(super) fn untagged(etag: &Etag) -> (char, Etag) {
    let (tier, own) = etag.as_str().split_once(':').unwrap_or(("", etag.as_str()));
    (if tier == "d" { DURABLE } else { FAST }, Etag::new(own))
}

pub(super) const FAST: char = 'f';
pub(super) const DURABLE: char = 'd';

pub(super) fn of_fast(event: WatchEvent) -> WatchEvent {
    of(FAST, event)
}

pub(super) fn of_durable(event: WatchEvent) -> WatchEvent {
    of(DURABLE, event)
}

fn of(tier: char, event: WatchEvent) -> WatchEvent {
    match event {
        WatchEvent::Changed { name, current } => {
            WatchEvent::Changed { name, current: current.map(|(current, now)| (tagged(tier, current), now)) }
        }
        WatchEvent::Gap => WatchEvent::Gap,
    }
}
