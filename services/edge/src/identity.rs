//! Whether a device that was named may be the one that is authenticated.

use crate::{
    auth::Account,
    changes::{Changes, Marked},
    reach::Kept,
};
use platen_proto::store::v1::{Observed, Registration};
use platen_runtime::Recent;
use platen_store::{
    Error, Store,
    tables::{ObservedDevices, Registrations},
};
use std::sync::Arc;
use tokio::time::Instant;

/// Bytes of devices of proxies that are remembered: some twenty thousand.
const VOUCHED: u64 = 8 << 20;

/// What a session is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trust {
    /// The device authenticated itself.
    Own,
    /// A proxy, of this id, presents it and may do so.
    Via(String),
    /// Seen, but not trusted: no request is sent. `via`: who claimed to be it; empty: nobody that is known.
    Quarantined { via: String, reason: String },
    /// Out of service.
    Retired,
    /// The credentials of one device, which is no proxy, and the name of another that has its own, or a proxy (SEC-07).
    Impostor,
    /// It has credentials and did not use them.
    MustAuthenticate,
}

/// Judges whose sessions are whose.
#[derive(Debug)]
pub(crate) struct Identities {
    store: Store,
    changes: Arc<Changes>,
    /// Tenant, device, and the proxy's user name, where the proxy was trusted: for when the store is away.
    vouched: Recent<(String, String, String), Marked<Trust>>,
}

impl Identities {
    pub(crate) fn new(store: Store, changes: Arc<Changes>) -> Self {
        Self {
            store,
            changes,
            vouched: Recent::new(VOUCHED, |(tenant, device, username), (known, _)| {
                let via = match &known.value {
                    Trust::Via(proxy) => proxy.capacity(),
                    _ => 0,
                };
                tenant.capacity() + device.capacity() + username.capacity() + via
            }),
        }
    }

    /// Judges a session of `device` that `account` authenticated; `None`: nobody did, and strangers are welcome.
    ///
    /// A device's own session takes no look-up.
    ///
    /// # Errors
    ///
    /// The store's: nothing is known then.
    pub(crate) async fn trust(
        &self,
        tenant: &str,
        device: &str,
        account: Option<&Account>,
    ) -> Result<Trust, Error> {
        let Some(account) = account else {
            let (registration, observed) = self.rows(tenant, device).await?;
            return Ok(stranger(registration.as_ref(), observed.as_ref()));
        };
        let credential = &account.credential;
        if credential.device == device {
            return Ok(Trust::Own);
        }
        let may_present = credential.may_proxy
            && (credential.allowed_devices.is_empty()
                || credential
                    .allowed_devices
                    .iter()
                    .any(|pattern| matches(pattern, device)));
        let key = || {
            (
                tenant.to_owned(),
                device.to_owned(),
                credential.username.clone(),
            )
        };
        let (read, mark) = (Instant::now(), self.changes.mark());
        let (registration, observed) = match self.rows(tenant, device).await {
            Ok(rows) => rows,
            Err(error) => {
                let vouched = self
                    .vouched
                    .get(&key())
                    .filter(|(_, mark)| !self.changes.since(&format!("{tenant}/{device}"), *mark));
                return match vouched {
                    Some((vouched, _)) if may_present => vouched.in_place_of(error),
                    _ => Err(error),
                };
            }
        };
        if !credential.may_proxy && is_anothers(registration.as_ref(), observed.as_ref()) {
            return Ok(Trust::Impostor);
        }
        let trust = presented(
            &credential.device,
            may_present,
            registration.as_ref(),
            observed.as_ref(),
        );
        if matches!(trust, Trust::Via(_)) {
            let vouched = Kept {
                value: trust.clone(),
                read,
            };
            self.vouched.insert(key(), (vouched, mark));
        } else {
            self.vouched.remove(&key());
        }
        Ok(trust)
    }

    async fn rows(
        &self,
        tenant: &str,
        device: &str,
    ) -> Result<(Option<Registration>, Option<Observed>), Error> {
        let (registration, observed) = tokio::try_join!(
            self.store.get_edited::<Registrations>((tenant, device)),
            self.store.get::<ObservedDevices>((tenant, device))
        )?;
        Ok((registration.map(|row| row.value), observed))
    }
}

/// A device that nobody vouches for.
fn stranger(registration: Option<&Registration>, observed: Option<&Observed>) -> Trust {
    match registration {
        Some(registration) if registration.retired => Trust::Retired,
        Some(registration) if !registration.username.is_empty() => Trust::MustAuthenticate,
        // Nobody talks a proxy's device away from it: who speaks for it authenticates.
        _ if owner(observed).is_some() => Trust::MustAuthenticate,
        _ => Trust::Quarantined {
            via: String::new(),
            reason: "not registered".to_owned(),
        },
    }
}

/// Whether a device that is in service has credentials or a proxy. (Whoever was only edited, or seen in quarantine, has neither.)
fn is_anothers(registration: Option<&Registration>, observed: Option<&Observed>) -> bool {
    let is_retired = registration.is_some_and(|registration| registration.retired);
    let authenticates = registration.is_some_and(|registration| !registration.username.is_empty());
    !is_retired && (authenticates || owner(observed).is_some())
}

/// The proxy that a device belongs to. Who was seen with it in quarantine owns nothing.
fn owner(observed: Option<&Observed>) -> Option<&str> {
    observed
        .filter(|observed| observed.quarantine_reason.is_empty())
        .map(|observed| observed.proxied_by.as_str())
        .filter(|proxy| !proxy.is_empty())
}

/// A device that another one vouches for.
fn presented(
    by: &str,
    may_present: bool,
    registration: Option<&Registration>,
    observed: Option<&Observed>,
) -> Trust {
    if registration.is_some_and(|registration| registration.retired) {
        return Trust::Retired;
    }
    let reason = if !may_present {
        format!("presented by {by}, which may not present it")
    } else if registration.is_some_and(|registration| !registration.username.is_empty()) {
        format!("presented by {by}, but it has credentials of its own")
    } else if let Some(other) = owner(observed).filter(|other| *other != by) {
        format!("presented by {by}, but it belongs to {other}")
    } else {
        return Trust::Via(by.to_owned());
    };
    Trust::Quarantined {
        via: by.to_owned(),
        reason,
    }
}

/// Whether a device's id fits a pattern in which `*` stands for any characters.
fn matches(pattern: &str, id: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| id.strip_prefix(first)) else {
        return false;
    };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.split_once(piece) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_ids() {
        for (pattern, id, expected) in [
            ("A-B-1", "A-B-1", true),
            ("A-B-1", "A-B-12", false),
            ("A-*", "A-B-12", true),
            ("A-*", "X-A-1", false),
            ("*-1", "A-B-1", true),
            ("*-1", "A-B-12", false),
            ("A*B*C", "AxxByyC", true),
            ("A*B*C", "AxxCyyC", false),
            ("AB*BA", "ABA", false),
            ("*", "", true),
            ("", "", true),
            ("", "A", false),
        ] {
            assert_eq!(matches(pattern, id), expected, "{pattern} {id}");
        }
    }

    #[test]
    fn a_proxy_takes_over_nobody() {
        let registered = |username: &str, retired| Registration {
            username: username.into(),
            retired,
            ..Default::default()
        };
        let seen = |proxied_by: &str| Observed {
            proxied_by: proxied_by.into(),
            ..Default::default()
        };
        let quarantined =
            |trust: &Trust| matches!(trust, Trust::Quarantined { via, .. } if via == "P");
        assert_eq!(presented("P", true, None, None), Trust::Via("P".into()));
        assert_eq!(
            presented("P", true, Some(&registered("", false)), Some(&seen("P"))),
            Trust::Via("P".into())
        );
        assert_eq!(
            presented("P", true, Some(&registered("", true)), None),
            Trust::Retired
        );
        assert!(quarantined(&presented(
            "P",
            true,
            Some(&registered("own", false)),
            None
        )));
        assert!(quarantined(&presented("P", true, None, Some(&seen("Q")))));
        assert!(quarantined(&presented("P", false, None, None)));
        // Whoever claimed the device first without being trusted does not keep its proxy away.
        let squatted = Observed {
            quarantine_reason: "presented by Q, which may not present it".into(),
            ..seen("Q")
        };
        assert_eq!(
            presented("P", true, None, Some(&squatted)),
            Trust::Via("P".into())
        );
    }

    #[test]
    fn strangers_are_seen_unless_they_could_authenticate() {
        let registered = |username: &str, retired| Registration {
            username: username.into(),
            retired,
            ..Default::default()
        };
        assert!(matches!(stranger(None, None), Trust::Quarantined { .. }));
        assert!(matches!(
            stranger(Some(&registered("", false)), None),
            Trust::Quarantined { .. }
        ));
        assert_eq!(
            stranger(Some(&registered("u", false)), None),
            Trust::MustAuthenticate
        );
        assert_eq!(stranger(Some(&registered("u", true)), None), Trust::Retired);
        let proxied = Observed {
            proxied_by: "P".into(),
            ..Default::default()
        };
        assert_eq!(stranger(None, Some(&proxied)), Trust::MustAuthenticate);
        let quarantined = Observed {
            quarantine_reason: "not registered".into(),
            ..proxied
        };
        assert!(matches!(
            stranger(None, Some(&quarantined)),
            Trust::Quarantined { .. }
        ));
    }
}
